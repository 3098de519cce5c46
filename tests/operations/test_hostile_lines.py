# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a hostile or broken file of lines can do to an outbox: nothing, or what the dry run said."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.errors import EventError, OutboxWriteError
from sourcepulse.operations.copies.export import export
from sourcepulse.operations.copies.load import plan_import, run_import
from sourcepulse.outbox import queries
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection
from sourcepulse.outbox.repair import problems
from sourcepulse.testing import system_event
from support.in_process import run_command

HIGHEST = 2**63 - 1
Line = dict[str, Any]

#: These are in the body as well.
SHARED = ("id", "source", "type", "subject", "time", "epoch", "sequence", "typesequence")
OTHERS = (
    "stream",
    "routing_key",
    "state",
    "reason",
    "stored_at",
    "settled_at",
    "body",
    "position",
    "bytes",
    "surprise",
)
TIMES = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "2026-01-01T00:00:00Z", "yesterday")
HOSTILE = st.one_of(
    st.sampled_from([None, True, "", "\ud800", "a\udfffb", "\0", "\u202e\n", "x" * 2_000, [], {}, *TIMES]),
    st.sampled_from([0, -1, 1, 2, 3, 4, 7, HIGHEST - 1, HIGHEST, HIGHEST + 1, 2**53 - 1, 1.0, 1e300]),
    st.sampled_from(["pending", "delivered", "buried", "public", "restricted", "system.event.withheld.v1"]),
    st.sampled_from(["system://test", "system://other", "system://test?restricted", "system.backup.failed.v1"]),
    st.text(max_size=20),
    st.integers(),
)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db") as opened:
        yield opened


def emptied(outbox: Outbox) -> list[Line]:
    """Return the lines of delivered events that the outbox numbered and no longer has."""
    outbox.append([system_event(number) for number in range(3)])
    outbox.acknowledge("public", [1, 2])
    lines = [json.loads(line) for line in export(outbox, Selection())]
    with outbox.writing() as db:
        db.execute("DELETE FROM bodies")
        db.execute("DELETE FROM events")
    return lines


def plan_and_import(outbox: Outbox, *lines: Line) -> int:
    file = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
    return run_import(outbox, file, plan_import(outbox, file))


def renumbered(line: Line, **members: Any) -> Line:
    """Return a line without a body, which contradicts nothing."""
    return {**line, "state": "delivered", "settled_at": line["stored_at"], "body": None, "bytes": None, **members}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"typesequence": HIGHEST}, "typesequence is not a number"),
        ({"typesequence": 2**53 - 1}, "typesequence is higher than sequence"),
        ({"sequence": 2**53 - 1, "typesequence": 2**53 - 1}, "the number 9007199254740991 of system://test in"),
        ({"type": "system.other.failed.v1"}, r"the number 3 of system\.other\.failed\.v1 of system://test in"),
        ({"reason": "\ud800"}, "half of a surrogate pair"),
        ({"routing_key": "a\udfffb"}, "half of a surrogate pair"),
    ],
)
def test_a_line_that_would_break_the_numbers_or_the_import_is_named(
    outbox: Outbox, members: dict[str, Any], said: str
) -> None:
    lines = emptied(outbox)
    with pytest.raises(EventError, match=f"^line 3.*{said}.*nothing was imported$"):
        plan_and_import(outbox, *lines[:2], renumbered(lines[2], **members))
    assert queries.rows(outbox, Selection()) == []
    assert plan_and_import(outbox, *lines) == 3
    outbox.append([system_event(9)])
    assert [row["typesequence"] for row in queries.rows(outbox, Selection())] == [1, 2, 3, 4]


def test_two_events_of_a_type_have_two_numbers(outbox: Outbox) -> None:
    lines = emptied(outbox)
    with pytest.raises(EventError, match="line 2 has the id or the number of an earlier line"):
        plan_and_import(outbox, lines[0], renumbered(lines[1], typesequence=1))
    plan_and_import(outbox, lines[0])
    with pytest.raises(EventError, match=r"line 1: the number 1 of system\.\S+ of system://test .* another event"):
        plan_and_import(outbox, renumbered(lines[1], typesequence=1))


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(SHARED + OTHERS), HOSTILE, st.booleans()), max_size=4))
def test_what_passes_the_dry_run_is_stored_whole_and_what_fails_is_one_sentence(
    changes: list[tuple[int, str, Any, bool]],
) -> None:
    with TemporaryDirectory() as folder, Outbox.open(Path(folder) / "outbox.db") as outbox:
        lines = emptied(outbox)
        for number, name, value, bodiless in changes:
            line = lines[number]
            line[name] = value
            if bodiless:
                lines[number] = renumbered(line, **{name: value})
            elif name in SHARED and str(line["body"]).startswith('{"'):
                body = json.loads(line["body"])
                body[name] = f"{value:020d}" if type(value) is int else value
                line["body"] = json.dumps(body)
        file = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
        try:
            plan, said = plan_import(outbox, file), ""
        except EventError as error:
            plan, said = None, str(error)
        if plan is None:
            assert re.fullmatch(r"line [123]\b.*; nothing was imported", said)
            assert len(said) < 2_000
            assert queries.rows(outbox, Selection()) == []
        else:
            assert plan.count == 3 == run_import(outbox, file, plan)
            assert len(list(export(outbox, Selection()))) == 3
        before = {row["id"] for row in queries.rows(outbox, Selection())}
        outbox.append([system_event(number) for number in (70, 71)])
        new = [row for row in queries.rows(outbox, Selection()) if row["id"] not in before]
        assert [(row["sequence"], row["typesequence"]) for row in new] == [(4, 4), (5, 5)]
        assert [problem for problem in problems(outbox) if "in epoch" not in problem] == []


def test_the_command_says_it_in_one_sentence(outbox: Outbox, tmp_path: Path) -> None:
    lines = emptied(outbox)
    path = tmp_path / "lines"
    path.write_text(json.dumps(renumbered(lines[0], reason="\ud800")) + "\n")
    for more in ([], ["--apply"]):
        ran = run_command("outbox", "import", str(path), *more, "--outbox", str(outbox.path))
        assert ran.returncode != 0
        assert ran.stderr.count("\n") == 1
        assert "line 1 is not a line of `outbox export`: a text contains half of a surrogate pair" in ran.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_import_into_a_full_disk_says_how_far_it_came_and_goes_on(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse.operations.copies.load.STEP_EVENTS", 5)
    outbox.append([system_event(number, message="x" * 60_000) for number in range(30)])
    lines = [json.loads(line) for line in export(outbox, Selection())]
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], check=True)
    try:
        with Outbox.open(disk / "outbox.db") as small:
            with pytest.raises(OutboxWriteError, match=r"is full.* of 30 events are imported, run it again"):
                plan_and_import(small, *lines)
            stored = len(queries.rows(small, Selection()))
            assert 0 < stored < 30
            subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
            assert plan_and_import(small, *lines) == 30 - stored
    finally:
        subprocess.run(["umount", str(disk)], check=True)
