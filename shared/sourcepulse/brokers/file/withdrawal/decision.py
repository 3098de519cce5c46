# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decides which events must no longer be shown once Bugzilla has hidden or deleted something. Pure functions.

In doubt an event is withdrawn: what names a comment or an attachment anywhere in its data, and what cannot be read. The
reasons, by what section 4 of the contract puts where:

- A hidden or deleted bug: all events about it. Another bug's event holds only its number (dependencies, duplicates,
  `see_also`, a field for a bug), which the check before publishing takes out of a later event; so it is taken out here.
- A hidden comment: only its own events hold its text.
- A hidden attachment: its own events, its flags, and the comments about it, which count as private with it.
- A withheld event: the copy that was sent before the check. A stand-in names the bug only while that is public, so
  without a subject everything about that copy's subject is withdrawn.
- Notices of what was hidden hold numbers only, and a reader who had the events needs them: they stay.
- Readers of a restricted stream may see what is private: there only a stand-in withdraws its own copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sourcepulse.brokers.file.envelopes import Envelope, is_stand_in
from sourcepulse.events.event import RESTRICTED, stream_of

_FAMILIES = ("bugzilla.", "system.event.")
#: Their subject is withdrawn as a whole.
_BUG = re.compile(r"bugzilla\.bug\.(hidden|deleted)\.v[0-9]+")
#: A comment or an attachment of their subject is withdrawn.
_PART = re.compile(r"bugzilla\.(comment|attachment)\.hidden\.v[0-9]+")
#: All that a notice holds.
_NOTICE_MEMBERS = {"id", "bug_id"}


class Cause(NamedTuple):
    """What an event withdraws of those of its source that came before it."""

    source: str
    #: Events about these, or only those of `part` and `number`.
    subjects: frozenset[str]
    part: str | None = None
    number: object = None
    #: The event with this id, and with `and_subject` everything about its subject.
    id: str | None = None
    and_subject: bool = False

    @property
    def is_whole_bug(self) -> bool:
        """Return whether its subjects are withdrawn, so that other events must not name them."""
        return bool(self.subjects) and self.part is None


def may_withdraw(type_: str) -> bool:
    """Return whether events of a type withdraw others."""
    # Not by an expression alone, because every event is asked.
    return type_.startswith(_FAMILIES) and (is_stand_in(type_) or bool(_BUG.fullmatch(type_) or _PART.fullmatch(type_)))


def hides_bug(type_: str) -> bool:
    """Return whether events of a type withdraw all of a bug, and its number from the events of others."""
    return type_.startswith(_FAMILIES) and _BUG.fullmatch(type_) is not None


def cause_of(envelope: Envelope, data: Mapping[str, Any] | None) -> Cause | None:
    """Return what an event withdraws, None for nothing; `data` is None if it cannot be read."""
    source, id_, type_, subject = envelope
    if not source:
        return None
    if is_stand_in(type_):
        return Cause(source, frozenset(), id=id_, and_subject=subject is None and stream_of(source) != RESTRICTED)
    if stream_of(source) == RESTRICTED:
        return None
    data = data or {}
    if _BUG.fullmatch(type_):
        return Cause(source, _subjects(subject, data.get("id")))
    if part := _PART.fullmatch(type_):
        subjects = _subjects(subject, data.get("bug_id"))
        if type(data.get("id")) is not int:
            # Which part is not known, so all of the bug.
            return Cause(source, subjects)
        return Cause(source, subjects, part[1], data["id"])
    return None


def is_withdrawn(cause: Cause, type_: str, data: Mapping[str, Any] | None) -> bool:
    """Return whether an event about a subject of the cause is withdrawn; `data` is None if it cannot be read."""
    if data is None:
        return True
    if not is_stand_in(type_) and may_withdraw(type_) and set(data) <= _NOTICE_MEMBERS:
        return False
    if cause.part is None:
        return True
    return any(_names(each, cause.part, cause.number) for each in _objects(data))


def _subjects(subject: str | None, bug: object) -> frozenset[str]:
    named = {subject} if subject else set()
    return frozenset(named | ({f"bug/{bug}"} if type(bug) is int else set()))


def _names(members: Mapping[str, Any], part: str, number: object) -> bool:
    if members.get(f"{part}_id") == number:
        return True
    named = members.get(part)
    return isinstance(named, Mapping) and named.get("id") == number


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for each in value.values():
            yield from _objects(each)
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each)
