# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse webhook`, on a real store and a real log, without a sender: what it prints, refuses and changes."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from sourcepulse.catalogue import schema_for
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore
from support.brokers.embedded_log import log_url, publish_events, push_event
from support.webhooks.hook_site import HookSite

URL = "http://127.0.0.1:9/in/7"
TABLE = 'allow = ["127.0.0.1:9"]\nowner_hooks_max = 2\nhooks_max = 4'
SECRET = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture
def site(tmp_path: Path) -> HookSite:
    return HookSite(tmp_path, TABLE)


def refuse(site: HookSite, name: str, *positions: int) -> None:
    """Set events aside as the sender does."""
    with HookQueues(site.log, "sourcepulse") as queues, HookStore(site.store) as store:
        for held in queues.look(name, 100):
            if held.position not in positions:
                continue
            attempt = Attempt(
                hook=name, at=1_800_000_000.0, position=held.position, webhook_id=f"msg_{held.position:032}",
                source=held.source, id=held.id, type=held.type, routing_key=held.routing_key, tries=5,
                outcome="refused", status=422, reason="", took_s=0.25, headers="content-type: text/plain",
                excerpt="no such\nroom \x1b[31m",
            )  # fmt: skip
            store.attempts.record([attempt])
            assert queues.set_aside(name, held.position, "refused with 422")


def publish(site: HookSite, *numbers: int) -> None:
    publish_events(log_url(site.folder), *map(push_event, numbers))


def test_add_prints_the_secret_alone_on_stdout_and_what_is_next(site: HookSite) -> None:
    publish(site, 1, 2)
    ran = site.ok("add", "chat-room", URL, "--topic", "hg.push.#", "bugzilla.#", "--topic", "build.#")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", ran.stdout)
    assert "chat-room would have matched 2 events in the last 24 hours" in ran.stderr
    assert "sourcepulse webhook test chat-room" in ran.stderr
    assert "the sender does not run" in ran.stderr
    secret = ran.stdout.strip()
    assert secret not in ran.stderr
    for action in (("list",), ("list", "--json"), ("show", "chat-room"), ("show", "chat-room", "--json")):
        assert secret not in str(site.ok(*action))
    assert json.loads(site.ok("list", "--json").stdout)["topics"] == ["hg.push.#", "bugzilla.#", "build.#"]


def test_a_secret_that_a_receiver_knows_already_is_kept_and_not_printed(site: HookSite) -> None:
    file = site.folder / "secret"
    file.write_text(f"{SECRET}\n", encoding="ascii")
    file.chmod(0o600)
    ran = site.ok("add", "chat", URL, "--topic", "#", "--secret-file", str(file))
    assert ran.stdout == ""
    assert SECRET not in ran.stderr
    with HookStore(site.store) as store:
        assert [each.value for each in store.secrets("chat")] == [SECRET]
    file.write_text("hunter2\n", encoding="ascii")
    ran = site.run("add", "other", URL, "--topic", "#", "--secret-file", str(file))
    assert ran.returncode == 2
    assert "hunter2" not in ran.stderr
    assert f"the secret file {file} must contain one line: whsec_ and 24 to 64 random bytes" in ran.stderr
    assert "rotate" not in ran.stderr, "there is no webhook yet"
    assert site.run("add", "other", URL, "--topic", "#", "--secret-file", "/none").returncode == 2


def test_what_is_wrong_is_named_with_what_to_do(site: HookSite) -> None:
    site.ok("add", "chat-room", URL, "--topic", "#", "--owner", "alice@example.org")
    site.ok("add", "second", URL, "--topic", "#", "--owner", "alice@example.org")
    for arguments, code, words in (
        (("add", "chat-room", URL, "--topic", "#"), 2, "choose another name"),
        (("add", "third", URL, "--topic", "#", "--owner", "alice@example.org"), 2, "owner_hooks_max"),
        (("add", "third", "https://10.1.2.3/", "--topic", "#"), 2, "not a public address"),
        (("add", "third", URL, "--topic", "hg.*x"), 2, "hg.*x"),
        (("show", "chat-rom"), 3, "did you mean 'chat-room'?"),
        (("pause", "nothing"), 3, "`sourcepulse webhook list` shows those that there are"),
        (("redeliver", "chat-room"), 2, "name an event by its ID, or use --failed or --since"),
        (("redeliver", "chat-room", "1", "--failed"), 2, "name an event by its ID"),
        (("redeliver", "chat-room", "--since", "2231-01-01T00:00:00Z"), 2, "name an earlier one"),
        (("redeliver", "chat-room", "1"), 3, "no attempt for '1'"),
        (("drop", "chat-room", "1"), 3, "has set aside no event"),
        (("edit", "chat-room"), 2, "name what to change"),
        (("edit", "chat-room", "--no-bearer", "--bearer-file", "x"), 2, "exclude each other"),
        (("edit", "chat-room", "--bearer-file", "/none"), 2, "bearer token"),
        (("test", "chat-room"), 3, "the sender does not run"),
    ):
        ran = site.run(*arguments)
        assert (ran.returncode, words in ran.stderr) == (code, True), ran.stderr
        assert ran.stdout == ""
    assert len(site.ok("list", "--json").stdout.splitlines()) == 2


def test_where_webhooks_are_off_or_there_is_no_store_the_error_says_what_to_add(site: HookSite) -> None:
    ran = site.run("list")
    assert (ran.returncode, "`sourcepulse webhook add` creates it" in ran.stderr) == (3, True)
    site.ok("add", "chat", URL, "--topic", "#")
    # The log was moved aside, or the store is from another machine.
    site.log.unlink()
    assert "chat" in site.ok("list").stdout
    assert "waiting    0" in site.ok("show", "chat").stdout
    assert "0 events" in site.ok("add", "other", URL, "--topic", "#").stderr
    site.configure(None)
    ran = site.run("add", "chat", URL, "--topic", "#")
    assert (ran.returncode, "[webhooks]" in ran.stderr) == (2, True)
    site.configure("hooks_max = 0")
    assert "hooks_max in [webhooks]" in site.run("list").stderr
    site.configure("alow = []")
    assert "did you mean 'allow'?" in site.run("list").stderr


def test_a_store_that_others_can_read_is_refused(site: HookSite) -> None:
    site.ok("add", "chat", URL, "--topic", "#")
    site.store.chmod(0o640)
    ran = site.run("list")
    assert (ran.returncode, "chmod 600" in ran.stderr) == (6, True)
    site.store.chmod(0o600)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_the_store_of_another_user_is_not_opened_and_the_user_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = HookSite(folder, TABLE)
        site.ok("add", "chat", URL, "--topic", "#")
        os.chown(site.store, 1, 1)
        os.seteuid(65_534)
        try:
            ran = site.run("list")
        finally:
            os.seteuid(0)
    assert ran.returncode == 6
    owner, this = pwd.getpwuid(1).pw_name, pwd.getpwuid(65_534).pw_name
    assert f"belongs to {owner}, and this is {this}; run the command as {owner} or as root" in ran.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could do that")
def test_root_creates_no_store_that_would_lock_the_gateway_out(site: HookSite) -> None:
    os.chown(site.folder, 1, 1)
    ran = site.run("add", "chat", URL, "--topic", "#")
    assert (ran.returncode, ran.stdout) == (6, "")
    assert f"would lock {pwd.getpwuid(1).pw_name} out; start `sourcepulse web` first" in ran.stderr
    assert [each.name for each in site.folder.iterdir()] == ["config.toml"]


def test_list_and_show_print_how_a_hook_stands_in_lines_and_by_the_schema(site: HookSite) -> None:
    assert site.run("list").returncode == 3
    site.ok("add", "chat", URL, "--topic", "#", "--owner", "alice@example.org", "--handshake", "try")
    site.ok("add", "other", "http://127.0.0.1:9/x", "--topic", "bugzilla.#")
    publish(site, 1, 2, 3)
    refuse(site, "chat", 2)
    header, chat, other = site.ok("list").stdout.splitlines()
    assert header.split()[:3] == ["NAME", "STATE", "WAITING"]
    assert re.match(r"chat +working +2 +\d+ s +1 +422 +alice@example.org +# +http://127", chat)
    assert re.match(r"other +not tried yet +0 +- +0 +- +- +bugzilla.# +http://127", other)
    assert [json.loads(line)["name"] for line in site.ok("list", "--json").stdout.splitlines()] == ["chat", "other"]
    assert len(site.ok("list", "--owner", "alice@example.org", "--json").stdout.splitlines()) == 1
    assert site.ok("list", "--owner", "bob").stdout == "no webhook of bob\n"
    shown = site.ok("show", "chat").stdout
    assert "\x1b" not in shown
    for words in (
        f"url        {URL}",
        "waiting    2, the oldest for",
        "1 set aside",
        "no such\n  room",
        "handshake  try",
    ):
        assert words in shown
    assert push_event(2).id in shown
    for line in (*site.ok("list", "--json").stdout.splitlines(), site.ok("show", "chat", "--json").stdout):
        jsonschema.validate(json.loads(line), schema_for("webhooks.v1"))
    whole = json.loads(site.ok("show", "chat", "--json", "--attempts", "1").stdout)
    assert (len(whole["attempts"]), len(whole["set_aside_events"])) == (1, 1)
    assert whole["last"]["excerpt"].startswith("no such\nroom")


def test_pause_resume_edit_and_rotate_change_one_hook(site: HookSite) -> None:
    first = site.ok("add", "chat", URL, "--topic", "#").stdout
    publish(site, 1)
    assert "sourcepulse webhook resume chat" in site.ok("pause", "chat").stdout
    shown = site.ok("show", "chat").stdout
    assert re.search(
        r"state +paused for \d+ s, because an admin paused it\nway back +sourcepulse webhook resume chat\n", shown
    )
    assert site.ok("resume", "chat").stdout == "chat is on again, 1 event waiting\n"
    token = site.folder / "token"
    token.write_text("abc\n", encoding="ascii")
    token.chmod(0o600)
    site.ok("edit", "chat", "--topic", "hg.#", "--owner", "bob@example.org", "--bearer-file", str(token))
    changed = json.loads(site.ok("list", "--json").stdout)
    assert (changed["topics"], changed["owner"], changed["bearer_file"]) == (["hg.#"], "bob@example.org", str(token))
    assert changed["url"] == URL
    site.ok("edit", "chat", "--no-bearer")
    assert json.loads(site.ok("list", "--json").stdout)["bearer_file"] == ""
    rotated = site.ok("rotate", "chat")
    assert rotated.stdout != first
    assert "signs as well for 24 hours" in rotated.stderr
    assert "the former one signs until" in site.ok("show", "chat").stdout
    site.ok("rotate", "chat", "--now")
    assert "secrets" not in site.ok("show", "chat").stdout


def test_redeliver_counts_what_is_sent_again_and_drop_deletes(site: HookSite) -> None:
    site.ok("add", "chat", URL, "--topic", "#")
    publish(site, 1, 2, 3)
    refuse(site, "chat", 1, 2, 3)
    ran = site.ok("redeliver", "chat", push_event(1).id)
    assert ran.stdout == "1 event will be POSTed again to chat\n"
    assert "the sender does not run" in ran.stderr
    ran = site.ok("redeliver", "chat", push_event(1).id)
    assert ran.stdout.endswith("1 event is waiting to be POSTed anyway\n")
    assert site.ok("drop", "chat", push_event(2).id).stdout == f"{push_event(2).id} of chat is dropped\n"
    site.ok("pause", "chat")
    ran = site.ok("redeliver", "chat", "--failed")
    assert ran.stdout == "1 event will be POSTed again to chat\n"
    assert "chat is paused; first: sourcepulse webhook resume chat" in ran.stderr
    # Those that wait already are not counted.
    assert site.ok("redeliver", "chat", "--since", "1h").stdout.startswith("1 event will be POSTed again")
    assert "neither a duration" in site_usage(site, "redeliver", "chat", "--since", "yesterday")


def site_usage(site: HookSite, *arguments: str) -> str:
    """Return what wrong usage prints."""
    run = [sys.executable, "-m", "sourcepulse.cli", "webhook", *arguments, "--config", str(site.file)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    return done.stderr


def test_each_action_after_which_something_is_to_be_sent_warns_while_the_sender_does_not_run(site: HookSite) -> None:
    assert "does not run" in site.ok("add", "chat", URL, "--topic", "#").stderr
    publish(site, 1)
    (site.folder / "hooks.json").write_text(site.ok("list", "--json").stdout, encoding="utf-8")
    for action in (
        ("list",),
        ("list", "--json"),
        ("show", "chat"),
        ("show", "chat", "--json"),
        ("edit", "chat", "--topic", "hg.#"),
        ("rotate", "chat"),
        ("redeliver", "chat", "--since", "1h"),
        ("redeliver", "chat", "--failed"),
        ("import", str(site.folder / "hooks.json"), "--replace"),
        ("resume", "chat"),
    ):
        ran = site.ok(*action)
        assert ("the sender does not run" in ran.stderr, "does not run" in ran.stdout) == (True, False), action
    assert "does not run" not in site.ok("pause", "chat").stderr, "nothing is to be sent"
    with HookStore(site.store) as store:
        store.touch_sender(time.time())
        assert "does not run" not in site.ok("list").stderr + site.ok("show", "chat").stderr


def test_a_hook_to_which_nothing_was_sent_is_called_so_in_the_list_in_json_and_in_show(site: HookSite) -> None:
    site.ok("add", "chat", URL, "--topic", "#")
    assert "chat  not tried yet  0 " in site.ok("list").stdout
    assert "\nstate      not tried yet\n" in site.ok("show", "chat").stdout
    assert json.loads(site.ok("list", "--json").stdout)["state"] == "not tried yet"
    test = Attempt(
        hook="chat", at=1_800_000_000.0, position=0, webhook_id="msg_1", source="system://tree/webhooks", id="1",
        type="system.webhook.test.v1", routing_key="system.webhook.test.chat", tries=1, outcome="retry", status=503,
        reason="", took_s=0.25,
    )  # fmt: skip
    with HookStore(site.store) as store:
        store.attempts.record([test])
        assert "\nstate      not tried yet; the last test failed: 503\n" in site.ok("show", "chat").stdout
        assert json.loads(site.ok("show", "chat", "--json").stdout)["state"] == "not tried yet"
        # An event was tried before that test, and its owner had it tried again.
        store.attempts.record([replace(test, position=1, type="hg.push.v1"), test])
        assert json.loads(site.ok("list", "--json").stdout)["state"] == "working"


def test_remove_shows_what_is_lost_and_does_it_with_apply(site: HookSite) -> None:
    site.ok("add", "chat", URL, "--topic", "#")
    publish(site, 1, 2)
    refuse(site, "chat", 1)
    ran = site.ok("remove", "chat")
    assert ran.stdout == "chat would be removed, with 1 event waiting and 1 set aside\n"
    assert "with --apply it is" in ran.stderr
    assert site.ok("list").stdout.count("chat") > 0
    assert site.ok("remove", "chat", "--apply").stdout == "chat is removed, with 1 event waiting and 1 set aside\n"
    assert site.ok("list").stdout == "no webhook\n"
    assert site.run("remove", "chat", "--apply").returncode == 3


def test_options_name_another_store_and_another_log(site: HookSite) -> None:
    store, log = site.folder / "other.db", site.folder / "other-log.db"
    place = ("--file", str(store), "--log", str(log))
    site.ok("add", "chat", URL, "--topic", "#", *place)
    publish(site, 1)
    assert site.run("list").returncode == 3
    assert json.loads(site.ok("list", "--json", *place).stdout)["waiting"] == 0
    assert json.loads(site.ok("list", "--json", "--file", str(store)).stdout)["name"] == "chat"
    assert log.exists()


def test_a_test_is_awaited_as_long_as_the_settings_allow_it_to_last(site: HookSite) -> None:
    site.configure(f"{TABLE}\npost_seconds = 0.5")
    site.ok("add", "chat-room", URL, "--topic", "#", "--handshake", "try")
    with HookStore(site.store) as store:
        # It is there, and does nothing.
        store.touch_sender(time.time() + 3600)
    ran = site.run("test", "chat-room")
    # A question for consent, a POST, and 5 s for the sender to begin.
    assert (ran.returncode, "the sender did not answer within 6 s" in ran.stderr) == (3, True), ran.stderr
