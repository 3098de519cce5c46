# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a set-up reports: one line for each object."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from sourcepulse.errors import SourcePulseError


class State(StrEnum):
    """How an object is, or what was done with it."""

    WANTED = "wanted"
    OK = "ok"
    MISSING = "missing"
    DIFFERS = "differs"
    CREATED = "created"
    CHANGED = "changed"
    FAILED = "failed"
    NOT_DONE = "not done"
    #: A user of before, whose password is in no file of ours.
    EXISTS = "exists"
    #: Not ours, and lets others read restricted events, or forge or lose events.
    DANGER = "danger"
    #: Not ours, and replaces what is ours or adds to it.
    EXTRA = "extra"
    #: A user with the rights of a role, who was not named.
    OTHER = "other"


#: Nothing remains to be done.
WELL = frozenset({State.WANTED, State.OK, State.CREATED, State.CHANGED})


class Found(NamedTuple):
    """One line of a report."""

    state: State
    kind: str
    name: str
    detail: str
    error: SourcePulseError | None = None
    #: The command that removes what is not ours.
    repair: str = ""
