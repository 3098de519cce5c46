# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every fenced block of every page is run as printed, read by its real reader, or named here with a reason."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.describe.command_tree import Command, read_tree
from sourcepulse.cli.main import build_parser
from sourcepulse.config import load
from sourcepulse.testing import system_event
from sourcepulse_web.settings import web_settings
from support.brokers.embedded_log import publish_events, wait_until
from support.fenced_blocks import LIMIT_SECONDS, PAGES, ROOT, Block, Machine, block, blocks
from support.streams.relays import relays
from support.web.gateway import EXCHANGE

#: Blocks of commands that a test below runs.
RUN = (
    "README.md: python3 -m venv",
    "shared/docs/operating.md: $ sourcepulse status",
    "shared/docs/monitoring.md: $ sourcepulse status --check",
    "shared/docs/monitoring.md: $ sourcepulse files",
    "shared/docs/operating.md: source <(sourcepulse completion bash)",
    "shared/docs/operating.md: mkdir -p ~/.local/share/man/man1",
    "shared/docs/backup.md: sourcepulse outbox backup",
    "shared/docs/backup.md: sourcepulse outbox restore",
    "shared/docs/backup.md: sourcepulse outbox export",
    "shared/docs/publishing.md: sourcepulse emit",
    "shared/docs/subscribing.md: sourcepulse tail --broker URL",
    "shared/docs/subscribing.md: sourcepulse dead-letters list QUEUE",
    "shared/docs/library.md: sourcepulse emit system.hg.down",
    "hghook/README.md: hg -R /srv/hg/repo sourcepulse-check",
    "hghook/README.md: $ hg -R /srv/hg/repo treestatus",
)
#: The others, and why; their commands of ours are parsed by the real parser.
NOT_RUN = {
    "shared/docs/brokers.md: (umask 077": "needs an admin of a RabbitMQ: test_deploy_policies runs it at one",
    "README.md: make demo": "builds .venv and runs all tests; `make -n` finds the targets, and test_demo runs the demo",
    "README.md: ln -s $(sourcepulse bugzilla-path)": "needs a Bugzilla: test_real_bugzilla",
    "buildbot_status/README.md: $ sourcepulse tail": "needs a master: test_buildbot_page compares what it shows",
    "bugzilla_extension/README.md: sourcepulse bugzilla-sidecar": "needs a Bugzilla: test_sidecar starts one",
    "shared/docs/examples/README.md: sourcepulse web": "runs until it is ended: test_example_page starts both",
    "shared/docs/examples/README.md: python3 sheriff.py": "runs until it is ended: test_example_sheriff starts it",
    "shared/docs/subscribing.md: sourcepulse tail --broker-file FILE --expect": "waits 90 s: test_tail",
    "shared/docs/subscribing.md: sourcepulse tail --broker-file FILE --since": "test_tail runs it with stored events",
    "shared/docs/examples/README.md: python3 webhook_receiver.py": "runs until it is ended: test_receivers starts it",
    "shared/docs/examples/README.md: perl webhook_receiver.pl": "runs until it is ended: test_receivers starts it",
    "shared/docs/examples/README.md: python3 webhook_gitlab.py": "runs until it is ended: test_receivers starts it",
    "shared/docs/webhooks.md: sourcepulse webhook add": "needs a gateway: test_webhooks_page runs it at one",
    "shared/docs/web.md: pip install": "runs until it is ended: test_gateway_process starts one",
    "shared/docs/web.md: mkdir -p ~/.local/state": "runs until it is ended: test_gateway_bridge starts one",
    "shared/docs/web.md: curl -sN": "needs a gateway: test_events_page runs it at one",
    "shared/docs/web.md: cp $(sourcepulse files": "needs systemd: test_packaging verifies the unit",
}
#: Pages whose every block is run as printed, in a bare Debian, by a test behind `make soak`.
INSTALLATION = {
    "shared/docs/install-mercurial.md": "test_mercurial_page.py",
    "shared/docs/install-buildbot.md": "test_buildbot_page.py",
    "shared/docs/install-bugzilla.md": "test_bugzilla_page.py",
}
LANGUAGES = {"sh", "console", "python", "ini", "toml", "json", "text", "apache", "nginx", "ruby"}
COMMANDS = blocks("sh", "console")


def ids(found: list[Block]) -> list[str]:
    return [each.name for each in found]


def test_every_block_has_a_language_and_text_holds_no_command() -> None:
    assert {each.language for each in blocks()} == LANGUAGES
    assert [each.name for each in blocks("text") if re.search(r"^\$? ?sourcepulse ", each.text, re.MULTILINE)] == []


def test_no_block_is_indented_in_place_of_a_fence() -> None:
    found = []
    for page in PAGES:
        outside = re.sub(r"^( *)```.*?^\1```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
        found += [f"{page}: {line.strip()}" for line in re.findall(r"^\n {4,}\S.*", outside, re.MULTILINE)]
    assert found == []


def test_every_block_of_commands_is_run_or_there_is_a_reason() -> None:
    known = [*RUN, *NOT_RUN]
    for page, test in INSTALLATION.items():
        assert f'PAGE = "{page}"' in (ROOT / "tests" / "installation" / test).read_text(encoding="utf-8")
    assert [each.name for each in COMMANDS if each.page in INSTALLATION and each.name in known] == []
    elsewhere = [each.name for each in COMMANDS if each.page not in INSTALLATION]
    assert [name for name in elsewhere if sum(map(name.startswith, known)) != 1] == []
    assert [name for name in known if not any(map(str.startswith, ids(COMMANDS), [name] * len(COMMANDS)))] == []


@pytest.mark.parametrize("printed", COMMANDS, ids=ids(COMMANDS))
def test_the_shell_reads_a_block_and_our_parser_its_commands(printed: Block) -> None:
    subprocess.run(["bash", "-n", "-c", printed.script], check=True, timeout=LIMIT_SECONDS)
    for program, *arguments in printed.commands():
        if Path(program).name == "sourcepulse":
            build_parser(arguments).parse_args(arguments)
        elif program == "make":
            subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=LIMIT_SECONDS)


def test_every_command_in_a_line_of_text_exists() -> None:
    tree = read_tree(build_parser())
    wrong = []
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
        for span in re.findall(r"`((?:\S*/)?sourcepulse [^`]+)`", text):
            wrong += [f"{page}: {span}: {word}" for word in unknown_words(tree, span.split()[1:])]
    assert wrong == []


def unknown_words(at: Command, words: list[str]) -> list[str]:
    """Return the options and the names of commands that do not exist."""
    wrong = []
    for word in words:
        child = [command for command in at.commands if command.words[-1] == word]
        if child:
            at = child[0]
        elif word.startswith("--"):
            wrong += [] if any(word in option.flags for option in at.options) else [word]
        elif at.commands and re.fullmatch("[a-z-]+", word):
            wrong.append(word)
    return wrong


@pytest.mark.parametrize("printed", blocks("python"), ids=ids(blocks("python")))
def test_a_block_of_python_compiles_and_finds_what_it_imports(printed: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend((ROOT / printed.page).parent)
    tree = ast.parse(printed.text)
    compile(tree, printed.name, "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                assert hasattr(import_module(node.module), alias.name)


@pytest.mark.parametrize("page", ["README.md", "buildbot_status/README.md"])
def test_what_is_pasted_into_a_master_cfg_makes_what_it_says(page: str) -> None:
    from buildbot.plugins import util

    c: dict[str, list[object]] = {"services": []}
    factory = util.BuildFactory()
    for printed in blocks("python"):
        if printed.page == page and "buildbot" in printed.text:
            exec(compile(printed.text, printed.name, "exec"), {"c": c, "f": factory})
    assert [type(service).__name__ for service in c["services"]] == ["PulseStatusPush"]
    assert len(factory.steps) == (3 if page.startswith("buildbot_status") else 0)


@pytest.mark.parametrize("printed", blocks("json", "toml"), ids=ids(blocks("json", "toml")))
def test_a_block_of_json_or_toml_is_read(printed: Block, tmp_path: Path) -> None:
    if printed.language == "json":
        assert isinstance(json.loads(printed.text), dict)
        return
    (tmp_path / "broker").write_text("amqp://host\n", encoding="utf-8")
    file = tmp_path / "config.toml"
    file.write_text(printed.text.replace("/etc/sourcepulse/broker", f"{tmp_path}/broker"), encoding="utf-8")
    config = load(file=file, environ={})
    web, trees = config.table("web"), config.table("trees")
    web_settings(web, trees, {}, exchange=EXCHANGE, restricted=False, webhooks=config.values.get("webhooks"))
    assert web or trees or config.broker() is not None


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which sourcepulse was installed as README.md says, with a repository and settings of the pages."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.run(block("README.md: python3 -m venv").script + "sourcepulse --version\n")
    (machine.folder / "etc" / "broker").write_text(f"{machine.url}\n", encoding="utf-8")
    (machine.home / "reader").write_text(f"{machine.url}\n", encoding="utf-8")
    settings = machine.home / ".config" / "sourcepulse" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(machine.here(block("shared/docs/operating.md: outbox =").text), encoding="utf-8")
    write_hgrc(machine, block("shared/docs/install-mercurial.md: [extensions]").text)
    machine.run("hg init /srv/hg/repo; hg clone -q /srv/hg/repo ~/work")
    yield machine
    for relay in relays(machine.folder / "var" / "outbox.db"):
        os.kill(relay, signal.SIGTERM)


def write_hgrc(machine: Machine, *texts: str) -> None:
    (machine.folder / "hgrc").write_text("\n".join(map(machine.here, texts)), encoding="utf-8")


def push(machine: Machine) -> None:
    machine.run("cd ~/work; echo more >> file; hg commit -qA -m 'a change' -u alice; hg push -q")


def test_what_is_installed_has_the_pages_the_examples_and_the_extension(machine: Machine) -> None:
    listed = machine.run("sourcepulse files").split()
    assert {Path(path).relative_to(machine.venv).parts[-3:-1] for path in listed} == {
        ("files", "deploy"),
        ("files", "docs"),
        ("docs", "examples"),
    }
    assert json.loads(machine.run("sourcepulse schema --example hg.push"))["type"] == "hg.push.v1"
    printed = block("shared/docs/install-mercurial.md: $ /opt/sourcepulse/bin/sourcepulse hg-path")
    assert machine.run(printed.script) == machine.here(printed.output)


@pytest.mark.parametrize("page", ["shared/docs/install-mercurial.md", "shared/docs/install-bugzilla.md"])
def test_the_installation_for_root_is_the_same_in_another_folder(page: str) -> None:
    first, second, _ = block("README.md: python3 -m venv").commands()
    as_printed = [" ".join(words).replace("/opt/sourcepulse", "~/sourcepulse-venv") for words in (first, second)]
    (printed,) = [each for each in blocks("sh") if each.page == page and "python3 -m venv" in each.text]
    commands = [words for words in printed.commands() if words[0] != "apt-get"]
    assert [" ".join(words).replace("/opt/sourcepulse", "~/sourcepulse-venv") for words in commands] == as_printed


@pytest.mark.parametrize("printed", blocks("ini"), ids=ids(blocks("ini")))
def test_an_hgrc_of_a_page_is_read_without_a_complaint(machine: Machine, printed: Block) -> None:
    enable = "" if "[extensions]" in printed.text else "[extensions]\nsourcepulse_hg =\n"
    write_hgrc(machine, enable, printed.text)
    try:
        process = machine.start("hg -R /srv/hg/repo sourcepulse-check")
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        write_hgrc(machine, block("shared/docs/install-mercurial.md: [extensions]").text)
    assert err == ""
    assert "ok extension" in out
    assert "settings" not in out


def test_a_push_is_checked_watched_and_shown_as_the_pages_say(machine: Machine) -> None:
    checked = machine.run(block("hghook/README.md: hg -R").script)
    assert "ok broker" in checked or "ok public broker" in checked
    printed = [
        block("shared/docs/install-mercurial.md: /opt/sourcepulse/bin/sourcepulse tail").script,
        block("shared/docs/subscribing.md: sourcepulse tail --broker URL").script.replace("URL", machine.url),
    ]
    tails = [machine.start(f"exec {script}") for script in printed]
    try:
        for tail in tails:
            assert tail.stderr is not None
            assert "subscribed" in tail.stderr.readline()
        push(machine)
        for tail in tails:
            assert tail.stdout is not None
            # On a slow machine the relay may report itself before.
            lines = takewhile(bool, iter(tail.stdout.readline, ""))
            assert "alice pushed 1 changeset" in next(line for line in lines if "relay" not in line)
            tail.terminate()
            assert tail.wait(LIMIT_SECONDS) == 0
    finally:
        for tail in tails:
            tail.kill()
            tail.communicate()
    status = machine.run(block("shared/docs/operating.md: $ sourcepulse status").script)
    assert f"outbox     {machine.folder}/var/outbox.db" in status
    # By the default configuration, which the page shows.
    assert machine.run("sourcepulse status").splitlines()[1:3] == status.splitlines()[1:3]
    assert status.startswith("well: nothing waits, the last event was confirmed ")
    check = block("shared/docs/monitoring.md: $ sourcepulse status --check")
    number = re.compile(r"delivered=\d+c")
    assert number.sub("", machine.run(check.script)) == number.sub("", check.output)
    assert Path(machine.run(block("shared/docs/monitoring.md: $ sourcepulse files").script).strip()).is_file()
    closing = block("hghook/README.md: $ hg -R /srv/hg/repo treestatus")
    assert machine.run(closing.script) == closing.output
    assert machine.run("hg -R /srv/hg/repo treestatus --open")


def test_dead_letters_are_listed_shown_requeued_and_dropped_as_the_page_says(machine: Machine) -> None:
    queue = "reader.page"
    with Consumer(machine.url, topics=["system.#"], queue=queue, durable=True, state=":memory:") as consumer:
        publish_events(BrokerUrl.parse(machine.url), system_event(1))
        event = consumer.receive(LIMIT_SECONDS)
        assert event is not None
        consumer.reject("not today")
        for line in block("shared/docs/subscribing.md: sourcepulse dead-letters list").script.splitlines():
            action = line.split()[2]
            if action == "drop":
                assert consumer.receive(LIMIT_SECONDS) is not None
                consumer.reject("not today")
            script = line.replace("QUEUE", queue).replace("ID", event.id).replace("FILE", "/etc/sourcepulse/broker")
            assert event.id in machine.run(script)
            machine.run(f"sourcepulse dead-letters list {queue}", code=3 if action in ("requeue", "drop") else 0)


def test_the_completion_and_the_man_page_are_where_the_page_puts_them(machine: Machine) -> None:
    completion = block("shared/docs/operating.md: source <(").script
    assert "_sourcepulse" in machine.run(f"{completion}complete -p sourcepulse")
    machine.run(block("shared/docs/operating.md: mkdir").script)
    assert (
        (machine.home / ".local/share/man/man1/sourcepulse.1").read_text(encoding="utf-8").startswith(".TH SOURCEPULSE")
    )


def test_an_event_of_your_own_reaches_a_consumer_of_an_embedded_log(machine: Machine) -> None:
    script = block("shared/docs/library.md: sourcepulse emit").script.replace("/tmp/", f"{machine.folder}/")
    machine.run(script)
    with Consumer(f"file://{machine.folder}/my-test-log.db", from_start=True, timeout=1) as consumer:
        assert [event.data["message"] for event in consumer] == ["disk"]


def test_an_outbox_is_backed_up_restored_exported_and_imported_as_the_page_says(machine: Machine) -> None:
    for folder in ("backups", "other"):
        (machine.folder / folder).mkdir()
    push(machine)
    for running in relays(machine.folder / "var" / "outbox.db"):
        os.kill(running, signal.SIGTERM)
    wait_until(lambda: not relays(machine.folder / "var" / "outbox.db"))

    def run(beginning: str) -> list[str]:
        printed = block(f"shared/docs/backup.md: {beginning}").script
        for folder, here in (("/var/backups", "backups"), ("/srv/other", "other")):
            printed = printed.replace(folder, f"{machine.folder}/{here}")
        return machine.run(printed).splitlines()

    (made,) = run("sourcepulse outbox backup")
    assert made.endswith("it is sound")
    assert "in the new epoch" in run("sourcepulse outbox restore")[-1]
    exported, shown, imported = run("sourcepulse outbox export")
    counts = map(int, re.findall(r"(\d+) (?:delivered|pending)", imported))
    assert sum(counts) == int(exported.split()[2])
    assert (shown.replace("would be", "were"), imported.endswith("there already: 0")) == (imported, True)
