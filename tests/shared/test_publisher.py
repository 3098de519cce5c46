# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A script publishes a state of a service or a type of its site, checked against its schema, in about ten lines."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer, Publisher
from sourcepulse.catalogue.own_types import FILE_MAX_BYTES, read_own_types
from sourcepulse.errors import ConfigError, EventBuriedError, EventError, OutboxWriteError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.gaps import Gap
from sourcepulse.operations.copies.backup import backup
from sourcepulse.operations.copies.restore import restore
from sourcepulse.outbox import queries
from sourcepulse.outbox.outbox import Outbox
from support.fenced_blocks import ROOT, block
from support.in_process import run_command

REVISION = "2bd1fd7d59aa7d4b6fde58ca3b1d3a06bb4e4c39"
DATA = {"service": "web", "revision": REVISION, "outcome": "success"}
TYPE = "site.deploy.finished.v1"


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """A folder with the schema that the page shows."""
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / f"{TYPE}.json").write_text(block("shared/docs/publishing.md: {").text, encoding="utf-8")
    return folder


def events_in(path: Path) -> list[Event]:
    with Outbox.open(path, create=False) as outbox:
        found = queries.rows(outbox, queries.Selection())
        return [decode(queries.body(outbox, row["position"]), routing_key=row["routing_key"]) for row in found]


def test_a_state_of_a_service_is_stored_with_what_is_left_out(tmp_path: Path) -> None:
    with Publisher(tmp_path / "o.db") as publisher:
        id_ = publisher.emit("system.backup.failed", {"message": "disk full"})
    (event,) = events_in(tmp_path / "o.db")
    assert (event.id, event.type, event.subject) == (id_, "system.backup.failed.v1", "backup")
    assert event.data == {"message": "disk full", "until": None, "url": None, "figures": None}
    assert event.source == f"system://{socket.gethostname()}"


def test_the_same_key_is_one_event_and_no_key_is_another_each_time(tmp_path: Path) -> None:
    with Publisher(tmp_path / "o.db", source="system://backup1") as publisher:
        same = {publisher.emit("system.backup.failed", key=key) for key in ("night 7", ["night 7"])}
        others = {publisher.emit("system.backup.failed") for _ in range(2)}
    command = run_command(
        *("emit", "system.backup.failed", "--key", "night 7", "--source", "system://backup1"),
        *("--outbox", str(tmp_path / "o.db")),
    )
    assert {command.stdout.strip()} == same
    assert len(events_in(tmp_path / "o.db")) == 3 == len(same | others)


@pytest.mark.parametrize(
    ("emit", "said"),
    [
        (lambda publisher: publisher.emit("nonsense"), "unknown"),
        (lambda publisher: publisher.emit("system.backup.failed", {"message": 7}), "/message"),
        (lambda publisher: publisher.emit("hg.push", {"repo": "a"}), "name a source of your own, such as my-tool://"),
        (lambda publisher: publisher.emit("site.deploy.finished", {}), "lacks the member 'service'"),
        (lambda publisher: publisher.emit("site.deploy.finished", {**DATA, "outcome": "maybe"}), "/outcome"),
        (lambda publisher: publisher.emit("site.deploy.finished", {**DATA, "more": 1}), "has the member 'more'"),
        (lambda publisher: publisher.emit("site.deploy.begun", DATA), "unknown"),
    ],
)
def test_what_is_not_an_event_is_refused_and_no_outbox_is_made(
    tmp_path: Path, schemas: Path, emit: Callable[[Publisher], object], said: str
) -> None:
    with Publisher(tmp_path / "o.db", schemas=schemas) as publisher, pytest.raises(EventError, match=said):
        emit(publisher)
    assert not (tmp_path / "o.db").exists()


def test_an_event_that_is_too_large_and_an_outbox_that_cannot_be_are_named(tmp_path: Path) -> None:
    with (
        Publisher(tmp_path / "o.db", max_bytes=16_384) as publisher,
        pytest.raises(EventBuriedError, match="is buried: too large"),
    ):
        publisher.emit("system.backup.failed", {"message": "x" * 20_000})
    with Publisher(tmp_path / "no" / "o.db") as publisher, pytest.raises(OutboxWriteError, match="does not exist"):
        publisher.emit("system.backup.failed")


def test_a_type_of_the_site_arrives_in_its_order_and_no_consumer_needs_its_schema(
    tmp_path: Path, schemas: Path
) -> None:
    outbox, log = tmp_path / "o.db", f"file://{tmp_path}/log.db"
    with Publisher(outbox, schemas=schemas) as publisher:
        for number in range(3):
            publisher.emit("site.deploy.finished", DATA, key=str(number), subject="web", words=["web", "eu.1"])
            publisher.emit("system.backup.started", key=str(number))
    gaps: list[Gap] = []
    consumers = [
        Consumer(log, topics=[topic], queue=topic[:4], durable=True, state=":memory:", on_gap=gaps.append)
        for topic in ("site.#", "system.#")
    ]
    for consumer in consumers:
        consumer.open()
    assert run_command("relay", "--once", "--outbox", str(outbox), "--broker", log).returncode == 0
    received: list[list[Event]] = []
    for consumer in consumers:
        received.append([])
        for _ in range(3):
            event = consumer.receive(10)
            assert event is not None
            received[-1].append(event)
            consumer.acknowledge()
    for consumer in consumers:
        consumer.close()
    site = received[0][0]
    assert (site.type, site.source, site.data) == (TYPE, f"site://{socket.gethostname()}", DATA)
    assert site.routing_key == "site.deploy.finished.web.eu_2E1"
    assert [[event.numbers and event.numbers.sequence for event in each] for each in received] == [[1, 2, 3]] * 2
    assert gaps == []


def test_a_type_of_the_site_is_not_counted_among_the_events_of_our_sources(tmp_path: Path, schemas: Path) -> None:
    for source in ("system://backup1", "hg://host/repo", "buildbot://host", "bugzilla://host"):
        with (
            Publisher(tmp_path / "o.db", source=source, schemas=schemas) as publisher,
            pytest.raises(EventError, match=f"such as site://{socket.gethostname()}"),
        ):
            publisher.emit("site.deploy.finished", DATA)


def test_the_command_emits_and_lists_types_of_the_site(
    tmp_path: Path, schemas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCEPULSE_SCHEMAS_DIR", str(schemas))
    (schemas / "site.deploy.finished.v2.json").write_text('{"type": "object"}', encoding="utf-8")
    ran = run_command("emit", "site.deploy.finished.v1", "--data", json.dumps(DATA), "--outbox", str(tmp_path / "o.db"))
    assert ran.returncode == 0, ran.stderr
    assert run_command("emit", "site.deploy.finished", "--outbox", str(tmp_path / "o.db")).returncode == 0
    assert [event.type for event in events_in(tmp_path / "o.db")] == [TYPE, "site.deploy.finished.v2"]
    listed = run_command("schema").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in listed[-2:]] == [
        [TYPE, "A deployment has finished"],
        ["site.deploy.finished.v2", "An event of this site"],
    ]
    assert json.loads(run_command("schema", TYPE).stdout) == json.loads((schemas / f"{TYPE}.json").read_text())
    assert "its examples are in its schema" in run_command("schema", TYPE, "--example").stderr


@pytest.mark.parametrize("way", ["restored", "removed"])
def test_a_publisher_that_stays_open_goes_on_in_the_file_that_replaced_its_outbox(tmp_path: Path, way: str) -> None:
    path = tmp_path / "o.db"
    with Publisher(path) as publisher:
        publisher.emit("system.backup.failed", key="1")
        if way == "restored":
            with Outbox.open(path, create=False) as outbox:
                backup(outbox, tmp_path / "backup.db")
        publisher.emit("system.backup.failed", key="2")
        if way == "restored":
            # Another process would be found; this one is not looked for.
            restore(path, tmp_path / "backup.db")
        else:
            for file in tmp_path.glob("o.db*"):
                file.unlink()
        later = [publisher.emit("system.backup.failed", key=key) for key in ("3", "4")]
    assert [event.id for event in events_in(path)][-2:] == later
    assert len(events_in(path)) == (3 if way == "restored" else 2)


WRONG: dict[str, tuple[str, str]] = {
    "is not JSON": ("{", "cannot be used"),
    "is a list": ("[]", "an object is expected"),
    "is no object of data": ('{"type": "string"}', 'its "type" is not "object"'),
    "an unknown keyword": (
        '{"type": "object", "properties": {"a": {"oneOf": []}}}',
        "at /properties/a it has the keyword",
    ),
    "a boolean schema": ('{"type": "object", "properties": {"a": true}}', "at /properties/a an object is expected"),
    "a text where names are": ('{"type": "object", "required": "a"}', "'required' is not a list of names"),
    "a pattern that is none": ('{"type": "object", "properties": {"a": {"pattern": "("}}}', "not a regular expression"),
    "an unknown type": ('{"type": "object", "properties": {"a": {"type": "text"}}}', "'type' is not a type"),
    "a reference to nothing": ('{"type": "object", "items": {"$ref": "#/$defs/a"}}', "leads to no schema in this file"),
    "a reference elsewhere": ('{"type": "object", "items": {"$ref": "other.json"}}', "is not like #/"),
    "a reference to itself": (
        '{"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}',
        "leads to itself",
    ),
    "too deep": ('{"items": ' * 100_000, "cannot be used"),
    "too large": (" " * (FILE_MAX_BYTES + 1), "has more than"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_schema_that_is_wrong_is_named_with_the_place(schemas: Path, wrong: str) -> None:
    content, said = WRONG[wrong]
    file = schemas / "site.wrong.v1.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{re.escape(str(file))} .*{re.escape(said)}"):
        Publisher("o.db", schemas=schemas)


@pytest.mark.parametrize(
    "name", ["hg.own.v1", "system.backup.report.daily.v1", "buildbot.x.v1", "site.v1", "Site.a.v1", "site.a"]
)
def test_a_file_that_is_not_named_like_a_type_of_the_site_is_an_error(schemas: Path, name: str) -> None:
    (schemas / f"{name}.json").write_text('{"type": "object"}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"its name is not that of a type|are not a site's own"):
        read_own_types(schemas)


def test_a_folder_of_schemas_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_own_types(tmp_path / "no")


def test_a_schema_may_refer_to_itself_within_its_data(schemas: Path, tmp_path: Path) -> None:
    tree: dict[str, Any] = {"type": "object", "properties": {"child": {"$ref": "#/$defs/node"}}}
    (schemas / "site.tree.v1.json").write_text(json.dumps({**tree, "$defs": {"node": tree}}), encoding="utf-8")
    with Publisher(tmp_path / "o.db", schemas=schemas) as publisher:
        assert publisher.emit("site.tree", {"child": {"child": {}}})
        with pytest.raises(EventError, match="/child/child"):
            publisher.emit("site.tree", {"child": {"child": 7}})
        deep: dict[str, Any] = {}
        for _ in range(5_000):
            deep = {"child": deep}
        with pytest.raises(EventError, match="nested too deeply"):
            publisher.emit("site.tree", deep)


def test_a_writer_wakes_a_running_relay(tmp_path: Path) -> None:
    outbox, log = tmp_path / "o.db", f"file://{tmp_path}/log.db"
    program = [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", str(outbox), "--broker", log]
    with (
        Publisher(outbox) as publisher,
        Consumer(log, topics=["system.backup.#"], queue="q", durable=True, state=":memory:") as consumer,
    ):
        publisher.emit("system.backup.started")
        with subprocess.Popen(program, stderr=subprocess.DEVNULL) as relay:
            try:
                assert consumer.receive(30) is not None
                consumer.acknowledge()
                id_ = publisher.emit("system.backup.finished")
                event = consumer.receive(30)
                assert event is not None
                assert event.id == id_
            finally:
                relay.terminate()
                relay.wait(30)


def page(beginning: str, tmp_path: Path) -> str:
    """Return a block of the page with the paths of the test."""
    text = block(f"shared/docs/publishing.md: {beginning}").script
    return text.replace("/var/lib/sourcepulse", str(tmp_path)).replace("/etc/sourcepulse", str(tmp_path))


def test_the_programs_of_the_page_emit_what_it_says(tmp_path: Path, schemas: Path) -> None:
    assert schemas == tmp_path / "schemas"
    whole = (ROOT / "shared/docs/publishing.md").read_text(encoding="utf-8")
    first, own, nagios = re.findall(r"```python\n(.*?)```", whole, re.DOTALL)
    for program, arguments in (
        (first, []),
        (own, []),
        (nagios, ["CRITICAL", "SOFT", "web", "1795345170", "no answer"]),
        (nagios, ["CRITICAL", "HARD", "web", "1795345170", 'no "answer"']),
        (nagios, ["CRITICAL", "HARD", "web", "1795345170", 'no "answer"']),
        (nagios, ["OK", "HARD", "web", "1795345270", "fine"]),
    ):
        text = program.replace("/var/lib/sourcepulse", str(tmp_path)).replace("/etc/sourcepulse", str(tmp_path))
        subprocess.run([sys.executable, "-c", text, *arguments], check=True, timeout=60)
    command = page("sourcepulse emit", tmp_path)
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", command], check=True, timeout=60, env=environ)
    events = events_in(tmp_path / "outbox.db")
    assert [(event.type, event.data.get("message")) for event in events] == [
        ("system.backup.failed.v1", "the disk is full"),
        (TYPE, None),
        ("system.web.down.v1", 'no "answer"'),
        ("system.web.up.v1", "fine"),
    ]


def test_the_unit_emits_once_that_a_service_failed(tmp_path: Path) -> None:
    unit = (ROOT / "shared/deploy/sourcepulse-failed@.service").read_text(encoding="utf-8")
    # What systemd does with the line: continuations, %i, words and quotes, then variables.
    start = re.search(r"^ExecStart=(.*)$", unit.replace("\\\n", " "), re.MULTILINE)
    assert start is not None
    words = shlex.split(start[1].replace("%i", "backup"))
    monitored = {
        "MONITOR_INVOCATION_ID": "0f5ef4c6a8dd4b7aa0e8d0a3bd1f7a11",
        "MONITOR_UNIT": "backup.service",
        "MONITOR_SERVICE_RESULT": "exit-code",
        "MONITOR_EXIT_STATUS": "3",
    }
    words = [re.sub(r"\$\{(\w+)\}", lambda match: monitored[match[1]], word) for word in words]
    program, *arguments = [word.replace("/var/lib/sourcepulse", str(tmp_path)) for word in words]
    assert program == "/opt/sourcepulse/bin/sourcepulse"
    for _ in range(2):
        assert run_command(*arguments).returncode == 0
    (event,) = events_in(tmp_path / "outbox.db")
    assert (event.type, event.data["message"]) == (
        "system.backup.failed.v1",
        "backup.service: exit-code, exit status 3",
    )
