# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The state of a tree as a plain value, how it is kept in a file, and which pushes the settings let pass."""

from __future__ import annotations

import json
import re
from typing import Any, Self

from sourcepulse.errors import SourcePulseError
from sourcepulse.events.record import Record
from sourcepulse_hg.commands.setting_keys import SECTION
from sourcepulse_hg.settings import SettingsReader

OPEN = "open"
CLOSED = "closed"
APPROVAL = "approval required"
STATES = (OPEN, CLOSED, APPROVAL)
FORMAT = 1
#: The reason of a tree that reopened on schedule.
SCHEDULED = "scheduled reopening"
REASON_MAX_CHARACTERS = 2000
#: Patterns are searched only in this much of a description.
DESCRIPTION_MAX_CHARACTERS = 64 * 1024
#: In a list of users.
EVERYBODY = "*"


class TreeStateError(SourcePulseError):
    """A tree's state cannot be read, so it is unknown whether the tree is open."""


class TreeState(Record):
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


class TreeChange(Record):
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


class TreeSettings(Record):
    """Who may close the tree, which users and descriptions a closed tree accepts, and the service to ask instead.

    Patterns are searched in the description of the last changeset of a push. `problems` are sentences about bad
    values.
    """

    admins: tuple[str, ...]
    users: tuple[str, ...]
    closed_words: tuple[re.Pattern[str], ...]
    approval_words: tuple[re.Pattern[str], ...]
    command: bytes | None
    unreachable_is_open: bool
    problems: tuple[str, ...]


def read_tree_settings(ui: Any) -> TreeSettings:
    """Read the keys `tree_*`; a bad value is reported and never opens a tree."""
    reader = SettingsReader(ui)
    return TreeSettings(
        admins=_names(ui, b"tree_admins") or (EVERYBODY,),
        users=_names(ui, b"tree_users"),
        closed_words=_patterns(reader, b"tree_closed_words"),
        approval_words=_patterns(reader, b"tree_approval_words"),
        command=ui.config(SECTION, b"tree_command") or None,
        unreachable_is_open=reader.value(b"tree_unreachable") == "open",
        problems=tuple(reader.problems),
    )


def _names(ui: Any, key: bytes) -> tuple[str, ...]:
    return tuple(name.decode("utf-8", "surrogateescape") for name in ui.configlist(SECTION, key))


def _patterns(reader: SettingsReader, key: bytes) -> tuple[re.Pattern[str], ...]:
    """Return the regular expressions of a key, one per line."""
    found = []
    for line in (reader.ui.config(SECTION, key) or b"").decode("utf-8", "replace").splitlines():
        if line.strip():
            try:
                found.append(re.compile(line.strip()))
            except (re.error, RecursionError, OverflowError) as error:
                reader.problem(key, f"has {line.strip()!r}, not a regular expression: {error}; ignored")
    return tuple(found)


def is_listed(user: str | None, names: tuple[str, ...]) -> bool:
    """Return whether a user is in a list; an anonymous user (None) matches only `*`."""
    return EVERYBODY in names or (user is not None and user in names)


def passes(state: TreeState, settings: TreeSettings, *, user: str | None, description: str | None) -> bool:
    """Return whether a push passes; `description` is None for one without changesets, which no words can approve."""
    if state.state == OPEN or (settings.users and is_listed(user, settings.users)):
        return True
    if description is None:
        return False
    words = settings.approval_words if state.state == APPROVAL else settings.closed_words
    text = description[:DESCRIPTION_MAX_CHARACTERS]
    return any(word.search(text) for word in words)
