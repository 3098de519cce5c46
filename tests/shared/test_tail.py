# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""tail: events as they come, for the eye and for programs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.catalogue import schema_for
from sourcepulse.cli.lines import line
from sourcepulse.cli.main import main
from sourcepulse.events.event import Event, format_time
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
from support.brokers.embedded_log import publish_events
from support.events.recorded import recorded_events


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return f"file://{tmp_path}/log.db"


def deliver(tmp_path: Path, log: str, *events: Event) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append(events)
    assert main(["relay", "--once", "--outbox", str(tmp_path / "o.db"), "--broker", log]) == 0


def tailing(log: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a tail and wait until it listens."""
    tail = subprocess.Popen(
        [sys.executable, "-m", "sourcepulse.cli", "tail", "--broker", log, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tail.stderr is not None
    assert "subscribed" in tail.stderr.readline()
    return tail


def test_only_what_comes_after_the_start_and_fits_is_shown(tmp_path: Path, log: str) -> None:
    deliver(tmp_path, log, system_event(1))
    tail = tailing(log, "--json", "--count", "2", "--timeout", "30", "system.*.up")
    deliver(tmp_path, log, system_event(2, state="up"), system_event(3), system_event(4, state="up"))
    out, _ = tail.communicate(timeout=40)
    assert tail.returncode == 0
    events = [json.loads(text) for text in out.splitlines()]
    assert [event["data"]["message"] for event in events] == ["event 2", "event 4"]
    for event in events:
        jsonschema.validate(event, schema_for("envelope.v1"))


def test_from_start_shows_what_the_log_holds(
    tmp_path: Path, log: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    deliver(tmp_path, log, *(system_event(n) for n in range(3)))
    capsysbinary.readouterr()
    assert main(["tail", "--broker", log, "--from-start", "--json", "--count", "3", "--timeout", "20"]) == 0
    assert [json.loads(text)["data"]["message"] for text in capsysbinary.readouterr().out.splitlines()] == [
        "event 0",
        "event 1",
        "event 2",
    ]


def test_a_durable_tail_goes_on_where_it_was_left(
    tmp_path: Path, log: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    durable = ["tail", "--broker", log, "--durable", "me", "--from-start", "--json", "--timeout", "20"]
    deliver(tmp_path, log, *(system_event(n) for n in range(5)))
    capsysbinary.readouterr()
    assert main([*durable, "--count", "2"]) == 0
    assert main([*durable, "--count", "3"]) == 0
    messages = [json.loads(text)["data"]["message"] for text in capsysbinary.readouterr().out.splitlines()]
    assert messages == [f"event {n}" for n in range(5)]


def test_the_time_that_is_up_is_exit_code_3(log: str) -> None:
    assert main(["tail", "--broker", log, "--timeout", "0.3"]) == 3


def test_an_expected_relay_that_is_silent_is_a_warning_and_no_event(log: str) -> None:
    tail = tailing(log, "--expect", "system://hg1=1", "--timeout", "1.6", "hg.#")
    out, err = tail.communicate(timeout=40)
    assert (tail.returncode, out) == (3, "")
    assert "system://hg1 is silent: nothing came within 1 s" in err


def test_since_shows_what_a_log_stored_from_then_on_and_goes_on(tmp_path: Path, log: str) -> None:
    deliver(tmp_path, log, system_event(1), system_event(2))
    time.sleep(0.05)
    then = format_time(time.time())
    deliver(tmp_path, log, system_event(3), system_event(4))
    tail = tailing(log, "--json", "--since", then, "--count", "3", "--timeout", "30")
    deliver(tmp_path, log, system_event(5))
    out, _ = tail.communicate(timeout=40)
    assert [json.loads(text)["data"]["message"] for text in out.splitlines()] == ["event 3", "event 4", "event 5"]


def test_since_shows_what_an_outbox_stored_and_then_what_comes(tmp_path: Path, log: str) -> None:
    deliver(tmp_path, log, *(system_event(number) for number in range(1, 4)))
    with Outbox.open(tmp_path / "o.db") as outbox:
        # It waits for the relay.
        outbox.append([system_event(4)])
    tail = tailing(
        log, "--json", "--since", "1h", "--outbox", str(tmp_path / "o.db"), "--count", "5", "--timeout", "30"
    )
    deliver(tmp_path, log, system_event(5))
    out, err = tail.communicate(timeout=40)
    events = [json.loads(text) for text in out.splitlines()]
    assert [event["data"]["message"] for event in events] == [f"event {number}" for number in range(1, 6)]
    assert [event["replayed"] for event in events[:4]] == [True] * 4
    assert err == ""


def test_stored_events_that_no_check_can_judge_are_not_shown(
    log: str, capsysbinary: pytest.CaptureFixture[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    # What the log itself withdraws is shown as its stand-in, which says nothing.
    kept = [event for event in recorded_events("bugzilla") if not event.type.endswith((".hidden.v1", ".deleted.v1"))]
    publish_events(BrokerUrl.parse(log), *kept, system_event(2))
    assert main(["tail", "--broker", log, "--since", "1d", "--json", "--timeout", "0.3"]) == 0
    out, _ = capsysbinary.readouterr()
    assert [json.loads(text)["source"].partition(":")[0] for text in out.splitlines()] == ["system"]
    assert caplog.text.count("stored events of bugzilla:// are not shown") == 1


@pytest.mark.parametrize("text", ["yesterday", "2x", "-1h", "h", "2026-13-01"])
def test_what_is_not_a_time_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["tail", f"--since={text}"])
    assert raised.value.code == 2
    assert "is neither a duration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("system://hg1", "is not SOURCE=SECONDS"), ("system://hg1=soon", "is not a number of seconds")],
)
def test_what_is_not_a_source_and_its_seconds_is_refused(
    capsys: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["tail", "--expect", text])
    assert raised.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--broker", "file:///tmp/l.db", "--expect", "hg1=90"], 2, "is not a source"),
        (["--broker", "amqp://127.0.0.1:1/", "--since", "1h"], 2, "add --outbox FILE"),
        (["--broker", "file:///tmp/l.db", "--outbox", "o.db"], 2, "add --since TIME"),
        (["--broker", "file:///tmp/l.db", "--since", "1h", "--from-start"], 2, "leave out --durable"),
        (["--broker", "file:///tmp/l.db", "--since", "1h", "--durable", "q"], 2, "leave out --durable"),
        (["--broker", "file:///nowhere/l.db", "--since", "1h", "--outbox", "/nowhere/o.db"], 4, "nowhere"),
        (["--broker", "file:///nowhere/log.db"], 4, "nowhere"),
        (["--broker", "amqp://127.0.0.1:1/"], 4, "127.0.0.1"),
        (["--broker", "amqp://127.0.0.1:1/", "--from-start"], 2, "--from-start"),
        ([], 2, "no broker is set"),
        (["--broker", "file:///tmp/l.db", "a..b"], 2, "a..b"),
    ],
)
def test_what_cannot_be_watched_is_reported(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    arguments: list[str],
    code: int,
    complaint: str,
) -> None:
    assert main(["tail", "--timeout", "5", *arguments]) == code
    assert complaint in capsys.readouterr().err + caplog.text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_at_once_and_without_a_traceback(log: str, number: signal.Signals, code: int) -> None:
    tail = tailing(log)
    tail.send_signal(number)
    _, err = tail.communicate(timeout=20)
    assert tail.returncode == code
    assert "Traceback" not in err


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path, log: str) -> None:
    tail = tailing(log)
    assert tail.stdout is not None
    tail.stdout.close()
    for number in range(3):
        deliver(tmp_path, log, system_event(number))
    assert tail.stderr is not None
    err = tail.stderr.read()
    assert tail.wait(20) == 0
    assert "Traceback" not in err
    assert "Error" not in err


def test_a_line_shows_time_type_source_and_summary() -> None:
    event = system_event(1, message="disk is full")
    assert line(event) == "2026-11-22 10:59:31Z  system.test.degraded  system://test  disk is full"


def test_nothing_in_an_event_can_steer_the_terminal() -> None:
    text = line(system_event(1, message="\x1b[2Jgone\r\n\u202e"))
    assert text.isprintable()
    assert "\\x1b[2Jgone\\r\\n\\u202e" in text


def test_a_long_summary_is_cut() -> None:
    assert len(line(system_event(1, message="x" * 5_000))) < 200


def test_lines_of_builds_name_step_outcome_duration_and_reason() -> None:
    lines = {event.type: line(event) for event in recorded_events("buildbot")}
    begin, build = "2026-11-22 10:59:30Z", "buildbot://ci  builder/linux64/builds/57"
    end = "2026-11-22 11:07:05Z"
    assert lines["build.step.started.v1"] == f"{begin}  build.step.started  {build}: step tests"
    assert (
        lines["build.step.finished.v1"] == f"{end}  build.step.finished  {build}: step tests: failure in 455 s: failed"
    )
    assert lines["build.log.finished.v1"] == f"{end}  build.log.finished  {build}: step tests: log stdio, 12 lines"
    assert lines["build.finished.v1"] == f"{end}  build.finished  {build}: failure in 455 s: failed tests (failure)"
    assert lines["change.added.v1"].endswith("  Jörg <joerg@example.org>: Bug 1234 - handle empty input")


def test_lines_of_references_name_the_first_one_and_its_node() -> None:
    lines = {event.type: line(event).split("  ", 3)[3] for event in recorded_events("hg")}
    assert lines["hg.head.closed.v1"] == "stable: dc1a052bae06"
    assert lines["hg.bookmark.deleted.v1"] == "release: gone"
    assert lines["hg.tree.closed.v1"] == "closed: build bustage"
    assert lines["hg.phase.changed.v1"] == "public: dc504cae1881 and 1 more"


def test_a_line_of_a_bug_names_it_and_who_changed_it() -> None:
    changed = [event for event in recorded_events("bugzilla") if event.type == "bugzilla.bug.changed.v1"]
    assert line(changed[0]).endswith("bug 1234 Crash on empty input, by alice")


@pytest.mark.parametrize("record", ["hg", "buildbot", "bugzilla", "system"])
def test_an_event_whose_data_is_not_as_its_schema_says_is_a_line_as_well(record: str) -> None:
    for event in recorded_events(record):
        whole = dict(event.data)
        for data in ({}, *({**whole, name: None} for name in whole), *({**whole, name: [7]} for name in whole)):
            assert line(event._replace(data=data)).isprintable()
