# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Maintenance, full disks, dying processes: the sidecar waits them out, says so once, and loses nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import OutboxError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse_bugzilla.errors import SetupError
from sourcepulse_bugzilla.lifecycle import service
from sourcepulse_bugzilla.lifecycle.service import Service
from sourcepulse_bugzilla.lifecycle.session import Work
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.perl.requests import SCRIPT, command_for
from support.bugzilla.rows import bug_update, comment, row
from support.bugzilla.standin import StandIn
from support.events.outbox_contents import stored_events

PATIENCE_SECONDS = 40.0


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "STATS_SECONDS", "PAUSED_SECONDS", "LOCKED_SECONDS"):
        monkeypatch.setattr(service, name, 0.05)


@contextmanager
def serving(bugzilla: StandIn, outbox: Path) -> Iterator[list[BaseException]]:
    """Serve in a thread; yields what ended it, and checks that it ends on request."""
    ended_by: list[BaseException] = []
    work = Work(command_for(bugzilla.folder), bugzilla.folder, outbox, 256 * 1024)
    with Stop() as stop:
        made = Service(work, group=None, stop=stop, manager=ServiceManager({}), jitter=lambda: 0.0)

        def serve() -> None:
            try:
                made.run()
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                ended_by.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield ended_by
        finally:
            stop.set()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def add(bugzilla: StandIn, *numbers: int) -> None:
    bugzilla.add(*[row("bug.update", bug_update(comments=[comment(number)])) for number in numbers])


def comment_ids(outbox: Path) -> list[int]:
    return [event.data["comment"]["id"] for event in stored_events(outbox)]


def test_maintenance_is_waited_for(bugzilla: StandIn, outbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    bugzilla.say("shutdown", "<html>back in five minutes</html>\n")
    add(bugzilla, 1)
    with caplog.at_level(logging.INFO), serving(bugzilla, outbox):
        until(lambda: "paused" in caplog.text)
        (bugzilla.folder / "shutdown").unlink()
        until(lambda: comment_ids(outbox) == [1])
        bugzilla.say("fault", "stats paused")
        add(bugzilla, 2)
        until(lambda: comment_ids(outbox) == [1, 2])
        until(lambda: caplog.text.count("events flow again") == 2)
    assert caplog.text.count("Bugzilla is paused: drain.pl answered") == 1
    assert bugzilla.rows() == []


FAULTS = (
    *("hello die", "lock database", "next kill", "next database", "next sense", "next garbage", "next half"),
    *("ack kill", "ack after", "ack database", "stats die", "recover kill", "tips after", "bury die"),
)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_failure_of_the_child_loses_or_repeats_anything(
    bugzilla: StandIn, outbox: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RECONCILE_SECONDS", 0.05)
    add(bugzilla, 1)
    (bad,) = bugzilla.add(row("bug.update", bug_update(), v=9))
    bugzilla.say("fault", fault)
    with serving(bugzilla, outbox):
        until(lambda: not (bugzilla.folder / "fault").exists())
        add(bugzilla, 2, 3)
        until(lambda: comment_ids(outbox) == [1, 2, 3] and [number for number, _ in bugzilla.rows()] == [bad])


def test_a_history_that_cannot_be_compared_does_not_stop_the_rows(
    bugzilla: StandIn, outbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bugzilla.say("fault", "tips database always")
    with serving(bugzilla, outbox):
        until(lambda: "Bugzilla's history cannot be compared: drain.pl cannot do 'tips'" in caplog.text)
        add(bugzilla, 1)
        until(lambda: comment_ids(outbox) == [1])
    assert bugzilla.asked().count("hello") == 1


def test_missed_changes_bring_the_next_comparison_forward(bugzilla: StandIn, outbox: Path) -> None:
    with serving(bugzilla, outbox):
        until(lambda: "tips" in bugzilla.asked())
        found = row("bug.update", bug_update(comments=[comment(7)]), number=None, activity=None, recovered=True)
        bugzilla.say("pages.json", [[found | {"activities": []}]])
        bugzilla.say("missed", "1")
        until(lambda: comment_ids(outbox) == [7])
        compared = bugzilla.asked().count("recover")
        seen = bugzilla.asked().count("stats")
        until(lambda: bugzilla.asked().count("stats") > seen + 3)
        assert bugzilla.asked().count("recover") == compared


def test_an_extension_that_writes_nothing_is_logged_once_each_time(
    bugzilla: StandIn, outbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def is_shown() -> bool:
        with Outbox.open(outbox) as opened:
            return [problem["name"] for problem in figures(opened)["problems"]] == ["bugzilla-silent"]

    def looks_again() -> None:
        seen = bugzilla.asked().count("stats")
        until(lambda: bugzilla.asked().count("stats") > seen + 2)

    said = "has written no row since 2026-11-22T11:09:40.000000Z, though Bugzilla has recorded public changes"
    with serving(bugzilla, outbox):
        for times in (1, 2):
            bugzilla.say("silent", "1795345780")
            looks_again()
            assert is_shown()
            assert caplog.text.count(said) == times
            (bugzilla.folder / "silent").unlink()
            looks_again()
            assert not is_shown()


def test_an_outbox_that_was_removed_is_made_again(bugzilla: StandIn, outbox: Path) -> None:
    with serving(bugzilla, outbox):
        add(bugzilla, 1)
        until(lambda: comment_ids(outbox) == [1])
        for left in outbox.parent.glob("outbox.db*"):
            if "bugzilla-" not in left.name:
                left.unlink()
        add(bugzilla, 2)
        until(lambda: comment_ids(outbox) == [2])
        assert outbox.stat().st_mode & 0o777 == 0o600


def test_rows_wait_while_the_outbox_cannot_be_written(
    bugzilla: StandIn, outbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(bugzilla, outbox):
        add(bugzilla, 1)
        until(lambda: comment_ids(outbox) == [1])
        # As on a full disk: nothing that is stored can be committed.
        with Outbox.open(outbox) as other, other.writing() as db:
            db.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        add(bugzilla, 2)
        until(lambda: "events wait" in caplog.text)
        assert len(bugzilla.rows()) == 1
        with Outbox.open(outbox) as other, other.writing() as db:
            db.execute("DROP TRIGGER full")
        until(lambda: comment_ids(outbox) == [1, 2])
        until(lambda: bugzilla.rows() == [])


def test_what_is_wrong_from_the_beginning_is_not_waited_for(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.say("fault", "hello setup")
    with serving(bugzilla, outbox) as ended_by:
        until(lambda: ended_by)
    assert [type(error) for error in ended_by] == [SetupError]
    with serving(bugzilla, outbox.parent / "missing" / "outbox.db") as ended_by:
        until(lambda: ended_by)
    assert isinstance(ended_by[0], OutboxError)


def test_what_goes_wrong_later_is_waited_for(bugzilla: StandIn, outbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    # The extension is taken out and linked again, as an upgrade does.
    with serving(bugzilla, outbox) as ended_by:
        until(lambda: "stats" in bugzilla.asked())
        script = bugzilla.folder / SCRIPT
        script.rename(script.with_suffix(".aside"))
        bugzilla.say("fault", "next kill")
        until(lambda: "drain.pl cannot work" in caplog.text)
        script.with_suffix(".aside").rename(script)
        add(bugzilla, 1)
        until(lambda: comment_ids(outbox) == [1])
    assert ended_by == []
