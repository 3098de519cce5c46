# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The record that a relay could not start because another one holds the lock: it must be found by the operator."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from sourcepulse.errors import SourcePulseError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import clear_problem, problem_since, set_problem
from sourcepulse.relay.health.liveness import lock_path

#: The name of the problem in `status`.
SECOND_RELAY = "second-relay"

#: The relay that holds the lock forgets the record then; otherwise one vain start would stay a problem for ever.
FRESH_SECONDS = 180.0

_SENTENCE = re.compile(r"a relay could not start as process (\d+), because process (\d+) holds the lock")
_PID = re.compile(r"\s*(\d+)\s*")


def lock_holder(outbox: Path) -> int | None:
    """Return the process id in the lock file of an outbox; None if there is none."""
    try:
        match = _PID.fullmatch(lock_path(outbox).read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return int(match[1]) if match else None


def sentence(starter: int, holder: int) -> str:
    """Return the problem: which process could not start a relay, and which one holds the lock."""
    return f"a relay could not start as process {starter}, because process {holder} holds the lock"


def processes_of(message: str) -> tuple[int, int] | None:
    """Return the process that could not start and the one that held the lock; None if the problem is another one."""
    match = _SENTENCE.fullmatch(message)
    return (int(match[1]), int(match[2])) if match else None


def is_fresh(since: float, now: float) -> bool:
    """Return whether a record made at `since` still counts; the clock may have been set back."""
    return 0 <= now - since < FRESH_SECONDS


def note_second_relay(path: Path) -> None:
    """Record that this process could not start a relay; not if it runs the other one itself. Never raises."""
    pid = lock_holder(path)
    if pid is None or pid == os.getpid():
        return
    with suppress(SourcePulseError), Outbox.open(path, create=False) as outbox:
        set_problem(outbox, SECOND_RELAY, sentence(os.getpid(), pid))


def forget_second_relay(outbox: Outbox, *, only_old: bool = False) -> None:
    """Remove the record, because this process holds the lock; `only_old` keeps one of the last minutes.

    Who is still waiting records it once more.
    """
    since = problem_since(outbox, SECOND_RELAY)
    if since is not None and not (only_old and is_fresh(since, outbox.now())):
        clear_problem(outbox, SECOND_RELAY)
