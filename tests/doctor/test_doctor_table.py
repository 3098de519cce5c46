# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The table of the doctor is whole, its page is current, and a check that hangs or fails is a finding."""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.config import load
from sourcepulse.operations.doctor import doctor
from sourcepulse.operations.doctor.finding import Finding, Job, State, broken, unchecked, well
from sourcepulse.operations.doctor.page import GROUPS, PAGE, page
from sourcepulse.operations.doctor.runner import run_jobs
from sourcepulse.operations.doctor.situation import Situation, units_with_a_copy
from sourcepulse.operations.doctor.table import Words, table
from support.doctor import examine, paste

DEPLOY = Path(__file__).parents[2] / "shared" / "deploy"
#: What the doctor was made for; a test of this folder seeds each on real parts.
BREAKAGES = {
    "wrong password": "SP301",
    "virtual host missing": "SP302",
    "exchange missing without the right to declare it": "SP304",
    "topic permission missing for one family": "SP306",
    "server certificate expired": "SP204",
    "wrong authority": "SP211",
    "wrong host name": "SP206",
    "DNS fails": "SP201",
    "port black-holed": "SP203",
    "memory alarm": "SP308",
    "hook line removed from the hgrc": "SP501",
    "extension enabled but its import fails": "SP502",
    "outbox not group-writable": "SP114",
    "outbox disk full": "SP115",
    "relay dead with events waiting": "SP401",
    "a second relay holds the lock": "SP403",
    "relay hangs": "SP404",
    "sidecar socket with the wrong mode": "SP702",
    "extension linked but checksetup not run": "SP703",
    "reporter in master.cfg but master not reconfigured": "SP602",
    "first copies of a copied repository quarantined": "SP503",
    "clock off by an hour": "SP801",
    "two outboxes for one repository": "SP504",
    "malformed configuration": "SP101",
}


def test_each_breakage_has_a_test_that_seeds_it() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_doctor_[!t]*.py"))
    assert [what for what, id_ in BREAKAGES.items() if f'"{id_}"' not in tests or id_ not in table()] == []


def test_a_unit_that_reads_a_copy_of_the_url_is_to_be_restarted(tmp_path: Path) -> None:
    for unit in (DEPLOY / "sourcepulse-relay.service", DEPLOY / "sourcepulse-alert@.service"):
        (tmp_path / unit.name).write_bytes(unit.read_bytes())
    (tmp_path / "sourcepulse-dangling.service").symlink_to(tmp_path / "absent")
    assert units_with_a_copy(Path("/etc/sourcepulse/broker"), tmp_path) == ("sourcepulse-relay",)
    assert units_with_a_copy(Path("/srv/broker"), tmp_path) == ()


def test_the_page_is_made_of_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m sourcepulse.operations.doctor.page`"
    assert all(f"### {id_}:" in page() for id_ in table())


@pytest.mark.parametrize("id_", table())
def test_each_entry_has_cause_consequence_and_a_way_out(id_: str) -> None:
    entry = table()[id_]
    assert re.fullmatch(r"SP[1-9]\d\d", id_)
    assert id_[2] in GROUPS
    assert entry.cause.endswith(".")
    assert entry.consequence.endswith(".")
    assert entry.advice or entry.repair
    for command in entry.commands(dict.fromkeys(entry.names(), "x y")):
        # As one line that a shell can read.
        assert shlex.split(command.replace("#", ""))
        assert "\n" not in command


def test_values_are_quoted_for_the_shell_and_words_are_not() -> None:
    finding = broken("SP401", "/a b", "x", start=Words("run it"))
    assert finding.commands == ("run it",)
    assert broken("SP103", "f", "x", file="/a b").commands == ("chmod o-r '/a b'",)
    assert broken("SP103", "f", "x", file=None).commands == ()
    assert "\x1b" not in unchecked("SP401", "o", "\x1b[2J").found


def test_a_command_for_a_file_whose_name_is_any_bytes_works_as_printed(tmp_path: Path) -> None:
    for name in (b"\xffe\n", b"it's\t\\x", "é b".encode(), b"\x80'"):
        file = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        file.touch(0o644)
        (command,) = broken("SP103", file, "x", file=file).commands
        assert command.isprintable()
        paste(command)
        assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("value", ["a b", ";ls", "$IFS", "`ls`", "'\"", "a\nb\x1b[2Jf", "é\n1"])
def test_a_value_reaches_the_program_as_it_is_and_no_control_character_the_terminal(value: str) -> None:
    (command,) = broken("SP103", "f", "x", file=value).commands
    assert command.isprintable()
    assert paste(command.replace("chmod o-r", "printf %s")) == value


def test_a_source_that_hangs_while_it_lists_its_checks_is_reported_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()

    def hangs(_: Situation) -> Iterator[Job]:
        yield Job(id="SP601", about="first", run=lambda: iter([well("SP601", "first", "well")]))
        never.wait()

    monkeypatch.setattr("sourcepulse.operations.doctor.doctor.LIST_LIMIT_SECONDS", 0.5)
    situation = Situation(config=load({}, environ={}), outbox=tmp_path / "none.db")
    found = doctor.examine(situation, more=[hangs]).findings
    never.set()
    assert {"SP110", "SP102", "SP601"} <= {each.id for each in found}
    assert [each.found for each in found if each.about == f"checks of {__name__}"] == ["took longer than 0.5 s"]


def test_a_check_that_hangs_or_fails_is_reported_and_the_others_are_kept() -> None:
    never = threading.Event()

    def hangs() -> Iterator[Finding]:
        never.wait()
        yield from ()

    def fails() -> Iterator[Finding]:
        yield well("SP401", "b", "before")
        raise KeyError("what")

    jobs = [Job(id="SP201", about="a", run=hangs), Job(id="SP401", about="b", run=fails)]
    found = run_jobs(jobs, limit_s=0.5)
    never.set()
    assert [(each.id, each.state) for each in found] == [
        ("SP201", State.UNCHECKED),
        ("SP401", State.OK),
        ("SP401", State.UNCHECKED),
    ]
    assert found[0].found == "took longer than 0.5 s"
    assert "KeyError" in found[2].found


def test_without_settings_and_outbox_it_is_said_what_is_missing(tmp_path: Path) -> None:
    found = examine("--outbox", tmp_path / "none.db")
    assert found.bad == ["SP102", "SP110"]
    assert found.returncode == 1
