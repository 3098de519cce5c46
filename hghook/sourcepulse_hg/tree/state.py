# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The state of a tree as a plain value, and how it is kept in a file: open, closed, or open to approved pushes only."""

import json
from typing import NamedTuple, Self

from sourcepulse.errors import SourcePulseError
from sourcepulse_hg.tree.settings import TreeSettings, is_listed

OPEN = "open"
CLOSED = "closed"
APPROVAL = "approval required"
STATES = (OPEN, CLOSED, APPROVAL)
FORMAT = 1
#: The reason of a tree that reopened on schedule.
SCHEDULED = "scheduled reopening"
REASON_MAX_CHARACTERS = 2000


class TreeStateError(SourcePulseError):
    """A tree's state cannot be read, so it is unknown whether the tree is open."""


class TreeState(NamedTuple):
    """A state, its reason, when it reopens on schedule, who set it and when; times are in seconds since 1970.

    `since` is 0 if unknown, because the state was never set or is assumed.
    """

    state: str
    reason: str | None
    until: float | None
    user: str | None
    since: float

    def at(self, now: float) -> Self:
        """Return the state at a given time: after its scheduled reopening a tree is open."""
        if self.state == OPEN or self.until is None or now < self.until:
            return self
        return self._replace(state=OPEN, reason=SCHEDULED, until=None, user=None, since=self.until)


class TreeChange(NamedTuple):
    old: str | None
    new: TreeState


NEVER_SET = TreeState(OPEN, None, None, None, 0.0)


def encode_state(state: TreeState) -> bytes:
    return json.dumps({"sourcepulse-tree": FORMAT, **state._asdict()}).encode("ascii") + b"\n"


def decode_state(content: bytes) -> TreeState:
    """Parse a state; raises TreeStateError if it is damaged."""
    try:
        fields = json.loads(content)
        if fields["sourcepulse-tree"] != FORMAT or fields["state"] not in STATES:
            raise TreeStateError("it was written by another version")
        until = fields["until"]
        return TreeState(
            state=fields["state"],
            reason=_text(fields["reason"]),
            until=None if until is None else float(until),
            user=_text(fields["user"]),
            since=float(fields["since"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TreeStateError(f"it cannot be read: {error!r}") from None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


#: Patterns are searched only in this much of a description.
DESCRIPTION_MAX_CHARACTERS = 64 * 1024


def passes(state: TreeState, settings: TreeSettings, *, user: str | None, description: str | None) -> bool:
    """Return whether a push passes; `description` is None for one without changesets, which no words can approve."""
    if state.state == OPEN or (settings.users and is_listed(user, settings.users)):
        return True
    if description is None:
        return False
    words = settings.approval_words if state.state == APPROVAL else settings.closed_words
    text = description[:DESCRIPTION_MAX_CHARACTERS]
    return any(word.search(text) for word in words)
