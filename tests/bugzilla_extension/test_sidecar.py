# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The command `bugzilla-sidecar`: what it fetches, stores, buries and says, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import EXIT_BROKER, EXIT_OK, EXIT_OUTBOX, EXIT_REFUSED, EXIT_USAGE
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, figures, rows
from support.bugzilla.rows import CHANGES, ID_SECRET, SOURCE, bug_update, comment, row
from support.bugzilla.standin import StandIn
from support.in_process import Ran, run_command

#: Longer than anything here takes, so that only what never comes is missed.
PATIENCE_SECONDS = 40.0


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def command(bugzilla: Path, outbox: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "sourcepulse.cli", "bugzilla-sidecar"),
        *("--bugzilla", str(bugzilla), "--outbox", str(outbox), *options),
    ]


def sidecar(bugzilla: Path, outbox: Path, *options: str) -> Ran:
    """Run it to its end, in this process."""
    return run_command("bugzilla-sidecar", "--bugzilla", str(bugzilla), "--outbox", str(outbox), *options)


def sidecar_process(bugzilla: Path, outbox: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end as users do."""
    return subprocess.run(
        command(bugzilla, outbox, *options), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


@contextmanager
def serving(
    bugzilla: StandIn, outbox: Path, *options: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a sidecar that serves; it is killed at the end if it still runs."""
    process = subprocess.Popen(
        command(bugzilla.folder, outbox, "--no-relay", *options),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """End it by a signal, and return its exit code and what it printed."""
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, said


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def comments(*numbers: int) -> list[dict[str, Any]]:
    return [row("bug.update", bug_update(comments=[comment(number)])) for number in numbers]


def types(path: Path) -> list[str]:
    if not path.exists():
        return []
    with Outbox.open(path) as opened:
        return [found["type"].removeprefix("bugzilla.").removesuffix(".v1") for found in rows(opened, Selection())]


def broken() -> dict[str, Any]:
    return dict(row("bug.update", bug_update(), v=9))


# -- once


def test_rows_become_events_in_their_order_and_are_gone_from_the_table(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.add(row("bug.update", bug_update(changes=CHANGES, was_open=True)), *comments(*range(1, 450)))
    ran = sidecar_process(bugzilla.folder, outbox, "--once")
    assert ran.returncode == EXIT_OK, ran.stderr
    assert types(outbox) == ["bug.changed", "bug.closed"] + ["comment.created"] * 449
    assert bugzilla.rows() == []
    # Two batches of rows are full, the third is what is left.
    assert bugzilla.asked().count("ack") == 3
    with Outbox.open(outbox) as opened:
        numbers = [(found["sequence"], found["source"]) for found in rows(opened, Selection())]
        origins = figures(opened)["origins"]
    assert numbers == [(number, SOURCE) for number in range(1, 452)]
    assert [(origin["kind"], origin["location"]) for origin in origins] == [("bugzilla", str(bugzilla.folder))]
    assert outbox.stat().st_mode & 0o777 == 0o600


def test_a_row_that_cannot_be_published_is_buried_and_the_rest_goes_on(bugzilla: StandIn, outbox: Path) -> None:
    first, bad, last = bugzilla.add(*comments(1), broken(), *comments(2))
    ran = sidecar(bugzilla.folder, outbox, "--once")
    assert ran.returncode == EXIT_REFUSED
    assert types(outbox) == ["comment.created"] * 2
    assert bugzilla.rows() == [(bad, "its payload is not of version 1: upgrade sourcepulse")]
    assert f"row {bad} of Bugzilla's table is buried: its payload is not of version 1" in ran.stderr
    assert first < bad < last
    with Outbox.open(outbox) as opened:
        assert figures(opened)["collect_errors"] == {"bugzilla": 1}


def test_buried_rows_are_tried_again_on_request(bugzilla: StandIn, outbox: Path) -> None:
    (bad,) = bugzilla.add(broken())
    sidecar(bugzilla.folder, outbox, "--once")
    assert sidecar(bugzilla.folder, outbox, "--once").returncode == EXIT_OK
    ran = sidecar(bugzilla.folder, outbox, "--once", "--retry-buried")
    assert ran.returncode == EXIT_REFUSED
    assert "1 buried rows are tried again" in ran.stderr
    assert [number for number, _ in bugzilla.rows()] == [bad]


def test_events_go_to_the_broker_in_the_same_run(bugzilla: StandIn, outbox: Path, tmp_path: Path) -> None:
    bugzilla.add(*comments(1, 2))
    ran = sidecar(bugzilla.folder, outbox, "--once", "--broker", f"file://{tmp_path}/log.db")
    assert ran.returncode == EXIT_OK, ran.stderr
    assert "delivered 2" in ran.stderr
    with Outbox.open(outbox) as opened:
        assert {found["state"] for found in rows(opened, Selection())} == {"delivered"}


def test_the_exit_code_reports_a_broker_that_cannot_be_reached(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.add(*comments(1))
    ran = sidecar(bugzilla.folder, outbox, "--once", "--broker", "amqp://guest@127.0.0.1:1/")
    assert ran.returncode == EXIT_BROKER, ran.stderr
    assert types(outbox) == ["comment.created"]


def test_the_sweep_of_a_relay_has_nothing_to_complain_of(bugzilla: StandIn, outbox: Path, tmp_path: Path) -> None:
    sidecar(bugzilla.folder, outbox, "--once")
    ran = run_command("relay", "--once", "--outbox", str(outbox), "--broker", f"file://{tmp_path}/log.db")
    assert ran.returncode == EXIT_OK
    assert "WARNING" not in ran.stderr


@pytest.mark.parametrize(
    ("fault", "left"),
    [("ack kill", 2), ("ack after", 0), ("next kill", 2), ("next after", 2), ("ack database", 2)],
)
def test_a_crash_between_the_outbox_and_the_table_makes_no_second_event(
    bugzilla: StandIn, outbox: Path, fault: str, left: int
) -> None:
    bugzilla.add(*comments(1, 2))
    bugzilla.say("fault", fault)
    assert sidecar(bugzilla.folder, outbox, "--once").returncode == 1
    assert len(bugzilla.rows()) == left
    bugzilla.add(*comments(3))
    assert sidecar(bugzilla.folder, outbox, "--once").returncode == EXIT_OK
    assert types(outbox) == ["comment.created"] * 3
    assert bugzilla.rows() == []


# -- what an administrator may have wrong


def test_a_wrong_folder_is_named(tmp_path: Path, outbox: Path) -> None:
    ran = sidecar(tmp_path / "nowhere", outbox, "--once")
    assert ran.returncode == EXIT_USAGE
    assert ran.stderr.splitlines()[-1] == (
        f"sourcepulse: {tmp_path}/nowhere is not the folder of a Bugzilla: there is no Bugzilla.pm in it"
    )
    assert not outbox.exists()


def test_a_wrong_perl_is_named(bugzilla: StandIn, outbox: Path) -> None:
    ran = sidecar(bugzilla.folder, outbox, "--once", "--perl", "/no/such/perl")
    assert (ran.returncode, ran.stderr.count("\n")) == (EXIT_USAGE, 1)
    assert "there is no Perl at '/no/such/perl'" in ran.stderr


@pytest.mark.parametrize("options", [("--once",), ()])
def test_an_extension_that_is_not_set_up_ends_it(bugzilla: StandIn, outbox: Path, options: tuple[str, ...]) -> None:
    bugzilla.say("fault", "hello setup")
    ran = sidecar(bugzilla.folder, outbox, "--no-relay", *options)
    assert ran.returncode == EXIT_USAGE
    assert ran.stderr.splitlines()[-1] == "sourcepulse: drain.pl cannot work: drain.pl: link the extension"


@pytest.mark.parametrize("options", [("--once",), ()])
def test_an_outbox_that_cannot_be_written_ends_it(bugzilla: StandIn, tmp_path: Path, options: tuple[str, ...]) -> None:
    bugzilla.add(*comments(1))
    ran = sidecar(bugzilla.folder, tmp_path / "missing" / "outbox.db", "--no-relay", *options)
    assert ran.returncode == EXIT_OUTBOX
    assert "does not exist; create it" in ran.stderr.splitlines()[-1]
    assert len(bugzilla.rows()) == 1


def test_a_group_that_does_not_exist_is_named(bugzilla: StandIn, outbox: Path) -> None:
    ran = sidecar(bugzilla.folder, outbox, "--group", "no-such-group")
    assert ran.returncode == EXIT_USAGE
    assert ran.stderr.splitlines()[-1] == "sourcepulse: there is no group 'no-such-group'"


@pytest.mark.parametrize("options", [(), ("--reconcile",)])
def test_an_extension_that_writes_nothing_is_a_warning_and_a_problem_until_it_writes_again(
    bugzilla: StandIn, outbox: Path, options: tuple[str, ...]
) -> None:
    bugzilla.say("silent", "1795345780")
    sentence = (
        "the extension has written no row since 2026-11-22T11:09:40.000000Z, though Bugzilla has recorded public "
        f"changes after that; is {bugzilla.folder}/extensions/SourcePulse readable for the web server?"
    )
    ran = sidecar(bugzilla.folder, outbox, "--once", *options)
    assert ran.returncode == EXIT_OK
    assert ran.stderr.count(f"WARNING {sentence}\n") == 1
    with Outbox.open(outbox) as opened:
        (problem,) = figures(opened)["problems"]
    assert (problem["name"], problem["message"]) == ("bugzilla-silent", sentence)
    (bugzilla.folder / "silent").unlink()
    sidecar(bugzilla.folder, outbox, "--once", *options)
    with Outbox.open(outbox) as opened:
        assert figures(opened)["problems"] == []


def test_the_secret_of_the_ids_is_in_nothing_that_is_said_or_kept(
    bugzilla: StandIn, outbox: Path, tmp_path: Path
) -> None:
    bugzilla.add(*comments(1, 2), broken())
    for fault in ("hello twice", "next sense", "check die", "none"):
        bugzilla.say("fault", fault)
        options = ("--once", "--verbose", "--reconcile", "--claim", "--broker", f"file://{tmp_path}/log.db")
        ran = sidecar_process(bugzilla.folder, outbox, *options)
        assert ID_SECRET not in ran.stdout + ran.stderr
    assert "delivered 2" in ran.stderr
    kept = [path for path in tmp_path.iterdir() if path.is_file() and ID_SECRET.encode() in path.read_bytes()]
    assert kept == []


def test_a_second_sidecar_that_shall_not_wait_is_refused(bugzilla: StandIn, outbox: Path, tmp_path: Path) -> None:
    with bugzilla.drainer():
        ran = sidecar(bugzilla.folder, outbox, "--once")
    assert ran.returncode == EXIT_OUTBOX
    assert "another sidecar drains this Bugzilla" in ran.stderr.splitlines()[-1]


def test_the_sidecar_warns_of_an_outbox_that_other_users_can_read(bugzilla: StandIn, outbox: Path) -> None:
    sidecar(bugzilla.folder, outbox, "--once")
    outbox.chmod(0o644)
    assert "can be read by others" in sidecar(bugzilla.folder, outbox, "--once").stderr


# -- for good


def test_it_serves_until_a_signal_ends_it_and_then_removes_its_socket(bugzilla: StandIn, outbox: Path) -> None:
    with serving(bugzilla, outbox) as process:
        until(bugzilla.socket.exists)
        bugzilla.add(*comments(1))
        until(lambda: types(outbox) == ["comment.created"])
        bugzilla.add(*comments(2))
        code, said = ended(process)
    assert code == EXIT_OK, said
    # What waited was drained before the end.
    assert bugzilla.rows() == []
    assert types(outbox) == ["comment.created"] * 2
    assert not bugzilla.socket.exists()


def test_a_nudge_is_answered_at_once(bugzilla: StandIn, outbox: Path) -> None:
    with serving(bugzilla, outbox) as process:
        until(bugzilla.socket.exists)
        assert bugzilla.socket.stat().st_mode & 0o777 == 0o660
        seen = bugzilla.asked().count("next")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
            # More than polling alone can explain.
            for count in range(1, 21):
                nudge.sendto(b"1", str(bugzilla.socket))
                until(lambda count=count: bugzilla.asked().count("next") >= seen + count)  # type: ignore[misc]
        assert ended(process, signal.SIGINT)[0] == EXIT_OK


def test_a_process_that_hangs_is_not_waited_for_at_the_end(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.say("fault", "next hang always")
    with serving(bugzilla, outbox) as process:
        until(lambda: "next" in bugzilla.asked())
        code, said = ended(process)
    assert code == EXIT_OK, said


def test_a_child_that_was_killed_is_begun_again(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.say("fault", "next kill")
    with serving(bugzilla, outbox) as process:
        bugzilla.add(*comments(1))
        until(lambda: "stats" in bugzilla.asked())
        code, said = ended(process)
    assert code == EXIT_OK
    assert types(outbox) == ["comment.created"]
    assert "was killed by signal 9" in said
    assert "events flow again" in said


def test_a_second_sidecar_waits_for_the_first(bugzilla: StandIn, outbox: Path, tmp_path: Path) -> None:
    with serving(bugzilla, outbox) as first:
        until(bugzilla.socket.exists)
        with serving(bugzilla, tmp_path / "second.db") as second:
            until(lambda: bugzilla.asked().count("lock") >= 2)
            bugzilla.add(*comments(1))
            until(lambda: types(outbox) == ["comment.created"])
            assert ended(first)[0] == EXIT_OK
            bugzilla.add(*comments(2))
            until(lambda: types(tmp_path / "second.db") == ["comment.created"])
            code, said = ended(second)
    assert code == EXIT_OK
    assert said.count("another sidecar serves this Bugzilla; waiting until it ends") == 1


def test_the_service_manager_hears_how_it_is(bugzilla: StandIn, outbox: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        # A drain.pl that hangs does not make a sidecar that hangs.
        bugzilla.say("fault", "next hang")
        with serving(bugzilla, outbox, environment=environment) as process:
            while heard.count("WATCHDOG=1") < 3:
                heard.append(manager.recv(4096).decode())
            bugzilla_ends(bugzilla)
            while "READY=1" not in heard:
                heard.append(manager.recv(4096).decode())
            while not any("STATUS=serving; 0 rows wait, 0 are buried" in word for word in heard):
                heard.append(manager.recv(4096).decode())
            assert ended(process)[0] == EXIT_OK
            while "STOPPING=1" not in heard:
                heard.append(manager.recv(4096).decode())


def test_a_service_waits_until_its_settings_are_corrected(bugzilla: StandIn, outbox: Path, tmp_path: Path) -> None:
    broker = tmp_path / "broker"
    broker.write_text("nonsense", encoding="utf-8")
    broker.chmod(0o600)
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_SECONDS)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "SOURCEPULSE_BROKER_FILE": str(broker)}
        with serving(bugzilla, outbox, environment=environment) as process:
            while not any(word.startswith("STATUS=waiting: ") for word in heard):
                heard.append(manager.recv(4096).decode())
            broker.write_text(f"file://{tmp_path}/log.db", encoding="utf-8")
            while not any(word.startswith("STATUS=serving") for word in heard):
                heard.append(manager.recv(4096).decode())
            assert "STOPPING=1" not in heard
            assert ended(process)[0] == EXIT_OK


def bugzilla_ends(bugzilla: StandIn) -> None:
    """Kill the drain.pl of a folder; the sidecar starts another."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if arguments[-2:-1] == [os.fsencode(bugzilla.folder)] and b"drain.pl" in arguments[1]:
            os.kill(int(process.name), signal.SIGKILL)
