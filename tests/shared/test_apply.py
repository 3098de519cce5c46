# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What changes in bulk is shown first and done with --apply; long work shows a bar on a terminal and leaves none."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from sourcepulse.cli import progress as progress_module
from sourcepulse.cli.progress import Progress
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse.testing import system_event
from support.in_process import Ran, run_command


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    path = tmp_path / "outbox.db"
    with Outbox.open(path) as opened:
        opened.append([system_event(number) for number in range(4)])
        opened.acknowledge("public", [1, 2])
        opened.bury(3, "a test")
    return path


def states(path: Path) -> list[str]:
    with Outbox.open(path) as opened:
        return [row["state"] for row in rows(opened, Selection())]


def run(path: Path, *arguments: str) -> Ran:
    return run_command("outbox", *arguments, "--outbox", str(path))


@pytest.mark.parametrize(
    ("action", "first", "done"),
    [
        (("retry", "--all"), "would be pending again", "pending again"),
        (("replay", "--type", "system.test.degraded"), "would be replayed", "to be replayed"),
        (("vacuum",), "would be returned to the disk", "were returned to the disk"),
        (("repair", "--force"), "would be copied into a new file", "is a new file"),
    ],
)
def test_a_change_in_bulk_is_printed_first_and_made_with_apply(
    outbox: Path, action: tuple[str, ...], first: str, done: str
) -> None:
    before = outbox.read_bytes()
    shown = run(outbox, *action)
    assert (shown.returncode, first in shown.stdout) == (0, True)
    assert "nothing was changed; with --apply it is" in shown.stderr
    assert outbox.read_bytes() == before
    made = run(outbox, *action, "--apply")
    assert (made.returncode, done in made.stdout, "would be" in made.stdout) == (0, True, False)
    assert "nothing was changed" not in made.stderr


def test_a_change_of_named_events_is_made_at_once(outbox: Path) -> None:
    assert run(outbox, "retry", "3").stdout.endswith("pending again\n")
    assert run(outbox, "bury", "3", "4").returncode == 0
    assert states(outbox) == ["delivered", "delivered", "buried", "buried"]


def test_a_bar_is_drawn_on_a_terminal_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(progress_module, "EVERY_SECONDS", 0.0)
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal, Progress("copying", terminal) as progress:
        progress(1, 4)
        progress(4, 4)
    drawn = os.read(reader, 4096).decode()
    os.close(reader)
    assert "copying [#######.......................] 25 %" in drawn
    assert "] 100 %" in drawn
    assert drawn.endswith("\r\x1b[K")


def test_without_a_terminal_no_bar_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST_AFTER_SECONDS", 0.0)
    with (tmp_path / "log").open("w") as log, Progress("copying", log) as progress:
        progress(1, 4)
    assert (tmp_path / "log").read_text() == ""
