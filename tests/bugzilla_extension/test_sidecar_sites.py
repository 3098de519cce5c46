# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Two folders with one site id: a copy is never asked what is public, and an administrator chooses with one command."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import EXIT_BROKER, EXIT_OK, EXIT_OUTBOX, EXIT_USAGE, VisibilityUnknownError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse_bugzilla.perl.requests import SCRIPT
from sourcepulse_bugzilla.visibility.check import open_check
from sourcepulse_bugzilla.visibility.folder_of_site import TWO_FOLDERS, folder_of
from sourcepulse_bugzilla.visibility.folders import known_folders, remember_folder
from support.bugzilla.rows import SITE, bug_update, comment, row
from support.bugzilla.standin import StandIn
from support.in_process import Ran, run_command

OTHER_SITE = "11111111-2222-4333-8444-555555555555"
PATIENCE_SECONDS = 40.0
WITHHELD = "system.event.withheld.v1"
CREATED = "bugzilla.comment.created.v1"


@pytest.fixture
def old(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> StandIn:
    """Another folder of the same Bugzilla; it knows that nothing is public any more."""
    made = StandIn(tmp_path / "a-new")
    made.say("verdicts.json", {"*": {"send": False}})
    return made


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def sidecar(bugzilla: StandIn, outbox: Path, *options: str) -> Ran:
    return run_command("bugzilla-sidecar", "--bugzilla", str(bugzilla.folder), "--outbox", str(outbox), *options)


def once(bugzilla: StandIn, outbox: Path, *options: str) -> Ran:
    return sidecar(bugzilla, outbox, "--once", *options)


def relay(outbox: Path) -> Ran:
    return run_command("relay", "--once", "--outbox", str(outbox), "--broker", f"file://{outbox.parent}/log.db")


def status(outbox: Path) -> list[str]:
    """Return what the status shows of two folders: one trouble is in its first line, several are listed below."""
    first, *others = run_command("status", "--outbox", str(outbox)).stdout.splitlines()
    listed = [line for line in others if line.startswith("trouble")] or [first]
    return [line.partition(" ")[2].strip() for line in listed if TWO_FOLDERS in line]


def add_comment(bugzilla: StandIn, number: int) -> None:
    bugzilla.add(row("bug.update", bug_update(comments=[comment(number)])))


def states(outbox: Path) -> list[tuple[str, str]]:
    with Outbox.open(outbox) as opened:
        return [(found["type"], found["state"]) for found in rows(opened, Selection())]


def recorded(outbox: Path) -> Path | None:
    with Outbox.open(outbox) as opened:
        return folder_of(opened, SITE)


def known(outbox: Path) -> list[Path]:
    with Outbox.open(outbox) as opened:
        return known_folders(opened)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def assert_conflict(ran: Ran, outbox: Path, *folders: StandIn) -> None:
    assert ran.returncode == EXIT_USAGE
    first, second = sorted(str(folder.folder) for folder in folders)
    sentence = ran.stderr.splitlines()[-1].removeprefix("sourcepulse: ")
    said = f"`sourcepulse bugzilla-sidecar --bugzilla {first} --outbox {outbox} --claim --once` or"
    assert sentence.startswith(f"{first} and {second} are the same Bugzilla {SITE}")
    assert said in sentence
    assert f"--bugzilla {second} --outbox {outbox} --claim --once`" in sentence
    assert status(outbox) == [f"{TWO_FOLDERS}: {sentence}"]


@pytest.mark.parametrize("swap", [False, True])
def test_nothing_is_published_until_one_of_two_folders_is_claimed(
    old: StandIn, new: StandIn, outbox: Path, swap: bool
) -> None:
    first, second = (new, old) if swap else (old, new)
    add_comment(first, 1)
    assert once(first, outbox).returncode == EXIT_OK
    ran = once(second, outbox)
    assert_conflict(ran, outbox, first, second)
    # Neither folder's opinion counts, though that of the first was recorded.
    sent = relay(outbox)
    assert sent.returncode == EXIT_BROKER
    assert "are the same Bugzilla" in sent.stderr
    assert states(outbox) == [(CREATED, "pending")]
    assert "check" not in [*first.asked(), *second.asked()]
    assert known(outbox) == [first.folder]

    # The command is that of the sentence.
    commands = re.findall("`(sourcepulse bugzilla-sidecar [^`]*)`", ran.stderr)
    chosen = next(line for line in commands if f"{new.folder} " in line)
    claimed = run_command(*shlex.split(chosen)[1:])
    assert claimed.returncode == EXIT_OK, claimed.stderr
    assert f"{new.folder} is the Bugzilla {SITE} from now on" in claimed.stderr
    assert status(outbox) == []
    assert (recorded(outbox), known(outbox)) == (new.folder, [new.folder])
    assert relay(outbox).returncode == EXIT_OK
    assert states(outbox) == [(WITHHELD, "delivered")]
    assert "check" not in old.asked()


def test_the_folder_that_serves_is_claimed_while_its_sidecar_runs(old: StandIn, new: StandIn, outbox: Path) -> None:
    assert once(old, outbox).returncode == EXIT_OK
    assert once(new, outbox).returncode == EXIT_USAGE
    with old.drainer():
        ran = once(old, outbox, "--claim")
        assert once(old, outbox).returncode == EXIT_OUTBOX
    assert ran.returncode == EXIT_OK
    assert "another sidecar drains this Bugzilla; it continues" in ran.stderr
    assert status(outbox) == []


def test_a_running_sidecar_ends_when_another_folder_is_claimed(old: StandIn, new: StandIn, outbox: Path) -> None:
    arguments = ["bugzilla-sidecar", "--bugzilla", str(old.folder), "--outbox", str(outbox), "--no-relay"]
    process = subprocess.Popen([sys.executable, "-m", "sourcepulse.cli", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: "stats" in old.asked())
        assert once(new, outbox, "--claim").returncode == EXIT_OK
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
            nudge.sendto(b"1", str(old.socket))
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.communicate()
    # It did not fail, so the service manager does not start it again.
    assert process.returncode == EXIT_OK
    assert "another folder was claimed for this Bugzilla; this sidecar ends" in said
    assert status(outbox) == []
    assert recorded(outbox) == new.folder


def test_a_service_is_refused_at_its_start_as_a_run_is(old: StandIn, new: StandIn, outbox: Path) -> None:
    assert once(old, outbox).returncode == EXIT_OK
    assert_conflict(sidecar(new, outbox, "--no-relay"), outbox, old, new)


def gone(old: StandIn) -> None:
    shutil.rmtree(old.folder)


def taken_out(old: StandIn) -> None:
    (old.folder / SCRIPT).unlink()


def another_site(old: StandIn) -> None:
    old.say("hello.json", json.loads((old.folder / "hello.json").read_text()) | {"site": OTHER_SITE})


@pytest.mark.parametrize("corrected", [gone, taken_out, another_site])
def test_a_new_folder_takes_over_from_one_that_is_not_the_same_bugzilla_any_more(
    old: StandIn, new: StandIn, outbox: Path, corrected: Callable[[StandIn], None]
) -> None:
    add_comment(old, 1)
    assert once(old, outbox).returncode == EXIT_OK
    corrected(old)
    # The check does not guess where it went.
    assert relay(outbox).returncode == EXIT_BROKER
    ran = once(new, outbox)
    assert ran.returncode == EXIT_OK, ran.stderr
    assert f"{new.folder} serves the Bugzilla {SITE} from now on, {old.folder} no longer does" in ran.stderr
    assert (recorded(outbox), status(outbox)) == (new.folder, [])
    assert (old.folder in known(outbox)) == (corrected is another_site)
    assert relay(outbox).returncode == EXIT_OK
    assert states(outbox) == [(WITHHELD, "delivered")]


def test_a_recorded_folder_that_became_another_bugzilla_is_not_asked(old: StandIn, outbox: Path) -> None:
    add_comment(old, 1)
    once(old, outbox)
    another_site(old)
    ran = relay(outbox)
    assert (
        f"{old.folder} is the Bugzilla {OTHER_SITE} now; start the sidecar of the Bugzilla with this id" in ran.stderr
    )
    assert states(outbox) == [(CREATED, "pending")]
    assert "check" not in old.asked()


@pytest.mark.parametrize("corrected", [gone, taken_out, another_site])
def test_the_problem_is_gone_as_soon_as_the_copy_is(
    old: StandIn, new: StandIn, outbox: Path, corrected: Callable[[StandIn], None]
) -> None:
    add_comment(old, 1)
    once(old, outbox)
    assert once(new, outbox).returncode == EXIT_USAGE
    corrected(new)
    assert relay(outbox).returncode == EXIT_OK
    assert states(outbox) == [(CREATED, "delivered")]
    assert status(outbox) == []


def test_a_folder_that_cannot_answer_may_be_the_same(old: StandIn, new: StandIn, outbox: Path) -> None:
    once(old, outbox)
    old.say("shutdown", "<html>back soon</html>\n")
    ran = once(new, outbox)
    assert ran.returncode == EXIT_USAGE
    assert f"({old.folder} cannot be asked: Bugzilla is paused" in ran.stderr
    # Once it is gone, the new one is started without a claim.
    gone(old)
    assert once(new, outbox).returncode == EXIT_OK
    assert status(outbox) == []


def test_a_folder_that_moved_and_left_a_link_is_the_same_folder(old: StandIn, outbox: Path, tmp_path: Path) -> None:
    once(old, outbox)
    moved = tmp_path / "moved"
    old.folder.rename(moved)
    old.folder.symlink_to(moved)
    ran = once(old, outbox)
    assert ran.returncode == EXIT_OK, ran.stderr
    assert (recorded(outbox), known(outbox)) == (moved, [moved])


def test_the_perl_of_a_folder_is_in_the_command_if_it_is_not_the_usual_one(
    old: StandIn, new: StandIn, outbox: Path, tmp_path: Path
) -> None:
    perl = tmp_path / "my perl"
    perl.symlink_to(shutil.which("perl") or "")
    once(old, outbox)
    ran = once(new, outbox, "--perl", str(perl))
    assert f"--bugzilla {new.folder} --outbox {outbox} --perl '{perl}' --claim --once`" in ran.stderr


# -- an outbox of an earlier version, which knows folders but not their sites


@pytest.fixture
def legacy(old: StandIn, new: StandIn, outbox: Path) -> Path:
    add_comment(old, 1)
    once(old, outbox)
    with Outbox.open(outbox) as opened:
        with opened.writing() as db:
            db.execute("DELETE FROM meta WHERE name LIKE 'bugzilla site %'")
        remember_folder(opened, new.folder, "perl")
    return outbox


def test_two_folders_of_an_earlier_version_are_a_conflict_for_the_check_and_for_both_sidecars(
    old: StandIn, new: StandIn, legacy: Path
) -> None:
    assert relay(legacy).returncode == EXIT_BROKER
    assert len(status(legacy)) == 1
    assert_conflict(once(new, legacy), legacy, old, new)
    assert_conflict(once(old, legacy), legacy, old, new)
    assert states(legacy) == [(CREATED, "pending")]
    assert once(old, legacy, "--claim").returncode == EXIT_OK
    assert (status(legacy), known(legacy)) == ([], [old.folder])
    assert relay(legacy).returncode == EXIT_OK
    assert states(legacy) == [(CREATED, "delivered")]


@pytest.mark.parametrize("corrected", [gone, taken_out, another_site])
def test_the_only_folder_of_an_earlier_version_that_has_the_site_is_asked(
    old: StandIn, new: StandIn, legacy: Path, corrected: Callable[[StandIn], None]
) -> None:
    assert relay(legacy).returncode == EXIT_BROKER
    corrected(new)
    assert relay(legacy).returncode == EXIT_OK
    assert states(legacy) == [(CREATED, "delivered")]
    assert status(legacy) == []
    ran = once(old, legacy)
    assert (ran.returncode, recorded(legacy)) == (EXIT_OK, old.folder)


def test_a_folder_that_serves_another_site_is_not_asked_about_this_one(
    old: StandIn, new: StandIn, outbox: Path
) -> None:
    # Two Bugzillas share an outbox, and one of them is down while the other begins.
    another_site(new)
    once(new, outbox)
    new.say("shutdown", "<html>back soon</html>\n")
    assert once(old, outbox).returncode == EXIT_OK
    add_comment(old, 1)
    once(old, outbox)
    assert relay(outbox).returncode == EXIT_OK


def test_a_conflict_is_kept_when_the_outbox_is_repaired(old: StandIn, new: StandIn, outbox: Path) -> None:
    add_comment(old, 1)
    once(old, outbox)
    once(new, outbox)
    problem = status(outbox)
    assert run_command("outbox", "repair", "--force", "--apply", "--outbox", str(outbox)).returncode == EXIT_OK
    outbox.chmod(0o600)
    assert status(outbox) == problem
    assert relay(outbox).returncode == EXIT_BROKER


def test_a_problem_keeps_the_time_at_which_it_was_first_seen(old: StandIn, new: StandIn, outbox: Path) -> None:
    add_comment(old, 1)
    once(old, outbox)
    once(new, outbox)
    with Outbox.open(outbox) as opened, closing(open_check(opened)) as check:
        (first,) = figures(opened)["problems"]
        with pytest.raises(VisibilityUnknownError, match="are the same Bugzilla"):
            check.ask(opened.claim("public"))
        assert figures(opened)["problems"] == [first]
