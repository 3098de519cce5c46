# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What commands list has a header, and the same as JSON; every event type has an example."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from sourcepulse.catalogue import check, example_of, known_types, schema_for
from sourcepulse.catalogue.page import pages
from sourcepulse.cli.main import main
from sourcepulse.errors import EventError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import set_problem
from sourcepulse.relay.on_demand import identity, write_settings
from sourcepulse.testing import system_event
from support.events.recorded import recorded_events
from support.fenced_blocks import ROOT

RECORDS = ("bugzilla", "buildbot", "hg", "system")


@pytest.fixture
def outbox(tmp_path: Path) -> str:
    with Outbox.open(tmp_path / "o.db") as opened:
        opened.append([system_event(n) for n in range(3)])
    return str(tmp_path / "o.db")


def out(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> str:
    assert main(command) == code
    return capsys.readouterr().out


def test_every_type_has_a_recorded_event_as_its_example() -> None:
    recorded = [event for name in RECORDS for event in recorded_events(name)]
    for type_ in known_types():
        event = example_of(type_)
        assert event.type == type_
        check(type_, event.data)
        if type_ != "system.relay.heartbeat.v1":
            assert event._replace(numbers=None) in recorded
            assert event.numbers is not None
    assert example_of("system.hg.up").type == "system.hg.up.v1"
    # Another service has an example of its kind.
    assert example_of("system.broker.full").data.keys() == {"message", "until", "url", "figures"}
    assert example_of("system.hg.heartbeat").data["interval_s"] == 30
    with pytest.raises(EventError, match=r"did you mean hg\.push\.v1"):
        example_of("hg.pusch")


def test_the_pages_of_the_catalogue_are_what_the_schemas_and_the_recorded_events_make() -> None:
    stale = [
        name
        for name, text in pages().items()
        if (ROOT / "shared" / "docs" / "catalogue" / f"{name}.md").read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run: .venv/bin/python -m sourcepulse.catalogue.generate"


def test_schema_prints_an_example_and_the_list_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    event = json.loads(out(capsys, "schema", "--example", "hg.push"))
    jsonschema.validate(event, schema_for("envelope.v1"))
    assert (event["type"], event["sequence"]) == ("hg.push.v1", f"{1:020}")
    header, *lines = out(capsys, "schema").splitlines()
    assert header.split() == ["TYPE", "MEANING"]
    rows = [json.loads(line) for line in out(capsys, "schema", "--json").splitlines()]
    assert [line.split()[0] for line in lines] == [row["type"] for row in rows]
    assert {"type": "hg.push.v1", "title": "Changesets were added"} in rows
    assert main(["schema", "--example"]) == 2


def test_the_list_of_an_outbox_has_a_header_and_names_the_zone_of_its_times(
    outbox: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["outbox", "bury", "--outbox", outbox, "2", "--reason", "too \x1b[2J loud"])
    capsys.readouterr()
    header, *lines = out(capsys, "outbox", "list", "--outbox", outbox).splitlines()
    assert re.split("  +", header) == ["POSITION", "STATE", "TIME (UTC)", "ID", "SOURCE", "ROUTING KEY", "REASON"]
    assert [line.index("system://test") for line in lines] == [header.index("SOURCE")] * 3
    assert lines[1].endswith("system.test.degraded  too \\x1b[2J loud")
    assert out(capsys, "outbox", "list", "--outbox", outbox, "--state", "delivered") == ""


def test_what_was_done_to_events_is_a_line_each_in_both_forms(outbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    id_ = system_event(0).id
    line = {"id": id_, "position": 1}
    assert out(capsys, "outbox", "bury", "1", "--outbox", outbox) == f"{id_}  system.test.degraded  buried\n"
    assert json.loads(out(capsys, "outbox", "retry", "1", "--json", "--outbox", outbox)) == line
    with Outbox.open(outbox) as opened:
        opened.acknowledge("public", [1])
    assert out(capsys, "outbox", "replay", "1", "--outbox", outbox).endswith("to be replayed\n")
    said = out(capsys, "outbox", "repair", "--force", "--apply", "--outbox", outbox)
    assert re.fullmatch(rf"{outbox} is a new file with .*3 events, .*; the former file is kept as {outbox}\..*\n", said)
    assert out(capsys, "collect", "--outbox", outbox) == "0 events were stored\n"
    assert json.loads(out(capsys, "collect", "--json", "--outbox", outbox)) == {"collected": 0}
    paths = [json.loads(line)["path"] for line in out(capsys, "files", "--json").splitlines()]
    assert paths == out(capsys, "files").splitlines()


def test_the_times_of_the_log_are_in_utc_and_say_so(outbox: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sourcepulse.cli", "emit", "system.hg.up", "--outbox", outbox],
        env={"TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=True,
    )
    ids = {event["id"]: event["stored_at"] for event in map(json.loads, _listed(outbox))}
    stored_at = ids[done.stdout.strip()]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ WARNING ", done.stderr)
    assert done.stderr[:15] == stored_at[:15].replace("T", " ")


def _listed(outbox: str) -> list[str]:
    command = [sys.executable, "-m", "sourcepulse.cli", "outbox", "list", "--json", "--outbox", outbox]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_timeout_of_tail_is_that_of_a_consumer_a_time_without_an_event(
    outbox: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = f"file://{outbox}.log"
    with caplog.at_level(logging.ERROR):
        assert main(["relay", "--once", "--outbox", outbox, "--broker", log]) == 0
        tail = ["tail", "--broker", log, "--from-start", "--timeout", "0.5"]
        assert len(out(capsys, *tail).splitlines()) == 3
        assert out(capsys, *tail, "--count", "4", code=3).count("\n") == 3
        assert out(capsys, *tail, "hg.#", code=3) == ""


def test_the_relay_that_a_push_starts_is_not_missing_and_failures_are_marked_as_trouble(
    outbox: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "relay      not running, and events wait\n" in out(capsys, "status", "--outbox", outbox)
    write_settings(outbox, identity(broker="amqp://127.0.0.1:1", broker_file=None))
    assert main(["relay", "--once", "--outbox", outbox, "--broker", "amqp://127.0.0.1:1"]) == 4
    shown = out(capsys, "status", "--outbox", outbox)
    assert "relay      not running; a push starts it\n" in shown
    assert re.search(r"^ +trouble: 1 failure since then, the last .* ago: ", shown, re.MULTILINE)


def test_the_page_on_operating_explains_every_line_of_status(outbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "shared" / "docs" / "operating.md").read_text(encoding="utf-8")
    table = page.partition("| line | |")[2].partition("\n\n")[0]
    with Outbox.open(outbox) as opened:
        set_problem(opened, "bugzilla-silent", "since", place="b")
        opened.remember_origin("hg", "/srv/hg/repo/.hg")
    names = {line.split()[0] for line in out(capsys, "status", "--outbox", outbox).splitlines() if line[0] != " "}
    assert {"degraded:", "outbox", "epoch", "relay", "kept", "public", "source", "origin"} == names
    assert all(f"`{name}`" in table for name in names)
