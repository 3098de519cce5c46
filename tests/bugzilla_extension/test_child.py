# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""drain.pl ends, hangs, talks nonsense or too much: each has an error of its own, and none is waited for too long."""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import EXIT_OUTBOX, EXIT_USAGE, ConfigError
from sourcepulse_bugzilla.errors import DrainerError, DrainerGoneError, LockedError, PausedError, SetupError
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.perl.child import Child, minimal_environment
from sourcepulse_bugzilla.perl.requests import Drainer, Hello, Judged, command_for
from sourcepulse_bugzilla.perl.stderr import LINES_PER_PERIOD, StderrLines
from support.bugzilla.rows import SITE, SOURCE, bug_update, comment, row
from support.bugzilla.standin import StandIn


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


def hello_of(bugzilla: StandIn) -> Hello:
    with Drainer(bugzilla.child()) as drainer:
        return drainer.hello()


def failure(bugzilla: StandIn, fault: str, *, wait_s: float = 20.0, most: int = 10_000_000) -> DrainerError:
    """Return the error of the fault in `next`."""
    bugzilla.say("fault", f"next {fault}")
    with closing(bugzilla.child(wait_s=wait_s, answer_max_bytes=most)) as child:
        drainer = Drainer(child)
        drainer.lock()
        with pytest.raises(DrainerError) as caught:
            drainer.next()
        if fault not in ("database", "paused", "sense"):
            assert_gone(child.pid)
            with pytest.raises(DrainerGoneError):
                drainer.next()
    return caught.value


def assert_gone(pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_rows_come_and_go_through_the_requests(bugzilla: StandIn) -> None:
    first, second, third = bugzilla.add(*[row("bug.update", bug_update(comments=[comment(n)])) for n in (1, 2, 3)])
    with Drainer(bugzilla.child()) as drainer:
        hello = drainer.hello()
        assert (hello.site, hello.enabled, hello.group) == (SITE, True, None)
        assert hello.socket == bugzilla.socket
        drainer.lock()
        given = drainer.next(2)
        assert ([found["id"] for found in given.rows], given.depth) == ([first, second], 3)
        assert drainer.ack([first]) == 1
        drainer.bury(second, "it is broken")
        assert bugzilla.rows() == [(second, "it is broken"), (third, None)]
        stats = drainer.stats()
        assert (stats.depth, stats.buried, stats.missed, stats.silent_since) == (1, 1, 0, None)
        assert drainer.retry() == 1
        assert [found["id"] for found in drainer.next().rows] == [second, third]


def test_only_one_drainer_has_the_lock_until_it_ends(bugzilla: StandIn) -> None:
    with bugzilla.drainer(), Drainer(bugzilla.child()) as second:
        with pytest.raises(LockedError) as caught:
            second.lock()
        assert caught.value.exit_code == EXIT_OUTBOX
    with bugzilla.drainer() as third:
        assert third.next().rows == []


@pytest.mark.parametrize(
    ("fault", "kind", "part"),
    [
        ("die", DrainerGoneError, "ended with exit code 7: drain.pl: the reason"),
        ("kill", DrainerGoneError, "killed by signal 9"),
        ("setup", SetupError, "cannot work: drain.pl: link the extension"),
        ("half", DrainerGoneError, "ended with exit code 1"),
        ("twice", DrainerGoneError, "more than one answer"),
        ("maintenance", PausedError, "paused"),
        ("garbage", PausedError, "paused"),
        ("list", PausedError, "paused"),
        ("database", DrainerError, "the database says no"),
        ("paused", PausedError, "the paused says no"),
        ("sense", DrainerError, "invalid answer"),
    ],
)
def test_each_way_to_fail_has_its_error(bugzilla: StandIn, fault: str, kind: type[DrainerError], part: str) -> None:
    error = failure(bugzilla, fault)
    assert type(error) is kind
    assert part in str(error)
    assert str(error).isprintable()


def test_a_refusal_does_not_end_the_process(bugzilla: StandIn) -> None:
    bugzilla.say("fault", "next database")
    with bugzilla.drainer() as drainer:
        with pytest.raises(DrainerError):
            drainer.next()
        assert drainer.next().rows == []


@pytest.mark.parametrize("fault", ["hang", "close"])
def test_a_process_that_does_not_answer_is_killed_in_time(bugzilla: StandIn, fault: str) -> None:
    begun = time.monotonic()
    error = failure(bugzilla, fault, wait_s=1.0)
    assert isinstance(error, DrainerGoneError)
    assert time.monotonic() - begun < 15


def test_a_process_that_shall_end_does_not_wait_until_the_limit(bugzilla: StandIn) -> None:
    bugzilla.say("fault", "next hang")
    end = time.monotonic() + 600
    steps = []

    def step() -> None:
        nonlocal end
        steps.append(time.monotonic())
        if len(steps) > 4:
            end = 0.0

    with bugzilla.drainer(step=step, give_up_at=lambda: end) as drainer, pytest.raises(DrainerGoneError):
        drainer.next()
    assert len(steps) > 4


def test_an_answer_without_end_is_cut_off(bugzilla: StandIn) -> None:
    error = failure(bugzilla, "endless", most=1_000_000)
    assert "more than 1000000 bytes" in str(error)


def test_much_talk_on_standard_error_neither_blocks_nor_fills_the_log(
    bugzilla: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    bugzilla.say("fault", "next chatter")
    with caplog.at_level(logging.WARNING), bugzilla.drainer() as drainer:
        assert drainer.next().rows == []
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == LINES_PER_PERIOD + 1
    assert said[-1].endswith(f"and {2000 - LINES_PER_PERIOD} more lines")
    assert max(map(len, said)) < 600


def test_lines_are_logged_again_in_the_next_minute_and_control_characters_are_shown() -> None:
    now, logged = 0.0, list[str]()
    lines = StderrLines(logged.append, clock=lambda: now)
    lines.add(b"one\ntw")
    lines.add(b"o \x1b[2J \xff\n\n" + b"x\n" * 100)
    assert logged[:2] == ["one", "two \\x1b[2J \ufffd"]
    assert len(logged) == LINES_PER_PERIOD
    now = 61.0
    lines.add(b"again\nno end")
    assert logged[LINES_PER_PERIOD:] == ["... and 52 more lines", "again"]
    lines.end()
    assert logged[-1] == "no end"
    assert lines.last == ["again", "no end"]


def test_settings_of_ours_are_not_handed_down(bugzilla: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCEPULSE_BROKER", "amqp://u:s3cret@h")
    monkeypatch.setenv("AWS_SECRET", "s3cret")
    child = bugzilla.child()
    with closing(child):
        given = Path(f"/proc/{child.pid}/environ").read_bytes()
        command = Path(f"/proc/{child.pid}/cmdline").read_bytes()
    assert b"s3cret" not in given + command
    assert minimal_environment({"PATH": "/bin", "TZ": "UTC", "SOURCEPULSE_X": "1"}) == {"PATH": "/bin", "TZ": "UTC"}


def test_the_process_ends_with_the_child_and_may_be_closed_twice(bugzilla: StandIn) -> None:
    child = bugzilla.child()
    pid = child.pid
    child.close()
    child.close()
    assert_gone(pid)
    with pytest.raises(DrainerGoneError):
        child.ask({"do": "hello"})


def test_another_version_of_the_protocol_is_refused(tmp_path: Path) -> None:
    bugzilla = StandIn(tmp_path / "bugzilla", protocol=1)
    with pytest.raises(SetupError, match="does not speak version 2"):
        hello_of(bugzilla)


@pytest.mark.parametrize("secret", [None, "", 7, "ab" * 15, "xy" * 20, "ab" * 20 + "\n", ["ab" * 20]])
def test_a_secret_that_protects_nothing_is_refused_and_not_shown(tmp_path: Path, secret: Any) -> None:
    bugzilla = StandIn(tmp_path / "bugzilla", secret=secret)
    with pytest.raises(SetupError) as caught:
        hello_of(bugzilla)
    assert str(caught.value) == "the parameter sourcepulse_secret must have 32 hex digits; run checksetup.pl"
    assert caught.value.exit_code == EXIT_USAGE


def test_a_missing_secret_is_refused(bugzilla: StandIn) -> None:
    hello = json.loads((bugzilla.folder / "hello.json").read_text())
    del hello["secret"]
    bugzilla.say("hello.json", hello)
    with pytest.raises(SetupError, match=r"run checksetup\.pl"):
        hello_of(bugzilla)


def test_the_secret_is_known_and_never_shown(tmp_path: Path) -> None:
    secret = "c0ffee" * 11
    with Drainer(StandIn(tmp_path / "bugzilla", secret=secret).child()) as drainer:
        hello = drainer.hello()
        assert hello.secret == secret
        emitter = Emitter(SOURCE, hello.secret)
        for shown in (hello, [hello], {"a": hello}, drainer, emitter):
            assert secret not in f"{shown} {shown!r}"


def test_verdicts_come_with_what_is_left_of_the_data_or_with_the_bug(bugzilla: StandIn) -> None:
    events = [{"type": f"bugzilla.bug.{fact}.v1", "data": {"bug": {"id": 7}}} for fact in ("a", "b", "c", "d")]
    bugzilla.say("verdicts.json", {
        "bugzilla.bug.b.v1 7": {"send": True, "data": {"bug": {}}},
        "bugzilla.bug.c.v1": {"send": False, "bug": 7},
        "bugzilla.bug.d.v1": {"send": False, "bug": None},
    })  # fmt: skip
    with bugzilla.drainer() as drainer:
        assert drainer.check(events) == [
            Judged(send=True),
            Judged(send=True, data={"bug": {}}),
            Judged(send=False, bug=7),
            Judged(send=False),
        ]
        assert drainer.check([]) == []


def test_the_time_of_the_last_row_comes_if_the_extension_is_silent(bugzilla: StandIn) -> None:
    bugzilla.say("silent", "1795345780")
    with bugzilla.drainer() as drainer:
        assert drainer.stats().silent_since == 1_795_345_780


def test_a_folder_that_is_not_a_bugzilla_is_named(tmp_path: Path, bugzilla: StandIn) -> None:
    with pytest.raises(ConfigError, match="not the folder of a Bugzilla"):
        command_for(tmp_path)
    (tmp_path / "Bugzilla.pm").touch()
    with pytest.raises(ConfigError, match="link the folder SourcePulse into"):
        command_for(tmp_path)
    with pytest.raises(ConfigError, match="--perl") as caught:
        command_for(bugzilla.folder, "/no/perl")
    assert caught.value.exit_code == EXIT_USAGE


def test_the_error_names_the_exit_code_of_a_program_that_is_not_perl(bugzilla: StandIn) -> None:
    with closing(Child(command_for(bugzilla.folder, "/bin/false"))) as child, pytest.raises(DrainerGoneError) as caught:
        child.ask({"do": "hello"})
    assert "ended with exit code 1" in str(caught.value)
