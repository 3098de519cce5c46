# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A state as one line of a monitoring plug-in, with its exit code.

The form is that of the Monitoring Plugins Development Guidelines, www.monitoring-plugins.org/doc/guidelines.html:
"SERVICE STATUS: text | 'label'=value[unit];warn;crit;min", exit codes 0 to 3, and 3 for wrong usage and for what could
not be found out. A value above a threshold is outside its range 0..threshold. Events are judged by age, not by number.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sourcepulse.events.safe_text import plain
from sourcepulse.operations.status.verdict import Level, Limits, count, findings, waiting_events

#: Monitors cut longer texts, and some reject them.
TEXT_MAX_CHARACTERS = 800
#: A plug-in that hangs blocks a slot of the monitor; the guidelines ask for a limit of ten seconds.
LIMIT_SECONDS = 10.0


def check_line(state: dict[str, Any], limits: Limits) -> tuple[Level, str]:
    """Return the level and the line of a state."""
    found = findings(state, limits)
    level = found[0].level if found else Level.OK
    pending = waiting_events(state)
    text = "; ".join(finding.sentence for finding in found) or (
        f"{count(pending, 'event')} on the way" if pending else "nothing waits"
    )
    return level, f"{head(level, text)} | {' '.join(_performance(state, limits))}"


def head(level: Level, text: str) -> str:
    """Return the line without performance data; the text may contain nothing that a monitor takes for its end."""
    clean = plain(text).replace("|", "/")
    short = clean if len(clean) <= TEXT_MAX_CHARACTERS else clean[:TEXT_MAX_CHARACTERS] + "..."
    return f"SOURCEPULSE {level.name}: {short}"


@contextmanager
def limited(seconds: float = LIMIT_SECONDS) -> Iterator[None]:
    """End this process with UNKNOWN if it takes longer, for example because a network file system is dead."""
    # A signal would wait for the call of SQLite that hangs.
    timer = threading.Timer(seconds, _give_up, (seconds,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(seconds: float) -> None:
    os.write(1, f"{head(Level.UNKNOWN, f'the outbox could not be read within {seconds:g} s')}\n".encode())
    os._exit(Level.UNKNOWN)


def _performance(state: dict[str, Any], limits: Limits) -> Iterator[str]:
    for name, stream in state["streams"].items():
        if not stream["is_sent"]:
            continue
        age_s = stream["oldest_pending_age_s"] or 0
        yield f"{name}_age={age_s}s;{limits.warning_s:g};{limits.critical_s:g};0"
        yield f"{name}_pending={stream['pending']};;;0"
        yield f"{name}_buried={stream['buried']};0;;0"
        yield f"{name}_delivered={stream['delivered']}c;;;0"
