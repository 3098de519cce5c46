# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The numbers of other bugs in an event of Bugzilla, and the event without one of them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_NUMBER_FIELDS = frozenset({"depends_on", "blocks", "dupe_of", "dupe_bug_id"})
_URL_FIELD = "see_also"
#: A field of the site may hold the number of a bug; which one does is not in the event.
_SITE_PREFIX = "cf_"
_URL_BUG = re.compile(r"[?&]id=([0-9]{1,18})(?![0-9])")


def mentioned(data: Mapping[str, Any]) -> set[int]:
    """Return the numbers of the bugs that the data name, other than as what they are about."""
    return {number for value in _values(data) for number in _numbers(value)}


def without(data: Mapping[str, Any], bug: int) -> dict[str, Any] | None:
    """Return the data without the number of a bug; None if nothing is left that could be sent.

    Also where texts were cut, because what says where would have to be moved.
    """
    if data.get("truncated") or data.get("raw"):
        return None
    cut = dict(data)
    for name in ("bug", "comment"):
        if isinstance(cut.get(name), Mapping):
            cut[name] = {field: _cut(value, bug) if _names_bugs(field) else value for field, value in cut[name].items()}
    if isinstance(cut.get("changes"), list):
        cut["changes"] = [change for each in cut["changes"] if (change := _cut_change(each, bug)) is not None]
        if not cut["changes"]:
            return None
    return None if bug in mentioned(cut) else cut


def _names_bugs(field: object) -> bool:
    return isinstance(field, str) and (field in _NUMBER_FIELDS or field == _URL_FIELD or field.startswith(_SITE_PREFIX))


def _values(data: Mapping[str, Any]) -> Iterator[object]:
    """Yield the values that may name bugs."""
    for name in ("bug", "comment"):
        members = data.get(name)
        if isinstance(members, Mapping):
            yield from (value for field, value in members.items() if _names_bugs(field))
    changes = data.get("changes")
    for change in changes if isinstance(changes, list) else ():
        if isinstance(change, Mapping) and _names_bugs(change.get("field_name")):
            yield change.get("removed")
            yield change.get("added")


def _numbers(value: object) -> Iterator[int]:
    if type(value) is int:
        yield value
    elif isinstance(value, str):
        yield from map(int, _URL_BUG.findall(value))
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each)


def _cut(value: object, bug: int) -> object:
    if isinstance(value, list):
        return [each for each in value if bug not in _numbers(each)]
    return None if bug in _numbers(value) else value


def _cut_change(change: object, bug: int) -> object | None:
    if not isinstance(change, Mapping) or not _names_bugs(change.get("field_name")):
        return change
    if bug not in [*_numbers(change.get("removed")), *_numbers(change.get("added"))]:
        return change
    cut = {**change, "removed": _cut(change.get("removed"), bug), "added": _cut(change.get("added"), bug)}
    return None if cut["removed"] == cut["added"] else cut
