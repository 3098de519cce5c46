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
from sourcepulse.outbox.problems import clear_problem, set_problem
from sourcepulse.relay.health.liveness import lock_path

#: The name of the problem in `status`.
SECOND_RELAY = "second-relay"

_PID = re.compile(r"\s*(\d+)\s*")


def lock_holder(outbox: Path) -> int | None:
    """Return the process id in the lock file of an outbox; None if there is none."""
    try:
        match = _PID.fullmatch(lock_path(outbox).read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
    return int(match[1]) if match else None


def sentence(pid: int) -> str:
    """Return the problem; the same for each attempt, so that its time is that of the first."""
    return f"a relay could not start, because process {pid} holds the lock"


def note_second_relay(path: Path) -> None:
    """Record that this process could not start a relay; not if it runs the other one itself. Never raises."""
    pid = lock_holder(path)
    if pid is None or pid == os.getpid():
        return
    with suppress(SourcePulseError), Outbox.open(path, create=False) as outbox:
        set_problem(outbox, SECOND_RELAY, sentence(pid))


def forget_second_relay(outbox: Outbox) -> None:
    """Remove the record, because this process holds the lock now."""
    clear_problem(outbox, SECOND_RELAY)
