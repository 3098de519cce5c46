# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an event says: of whom, of which bugs, and whether it says what became different for a visitor."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sourcepulse.events.event import Event, event_id

FACT = re.compile(r"bugzilla\.([a-z]+)\.([a-z]+)\.v1")
#: How many small numbers a reader without the secret tries.
NUMBERS_TRIED = 150

_WORD = re.compile(r"TOKEN\w+")
_FLAG_WORD = re.compile(r"\(([^()]*)\)$")
_OWN_BUG = re.compile(r"show_bug\.cgi\?id=(\d+)")
#: Where an event names other bugs.
_NUMBERS = ("depends_on", "blocks", "dupe_of", "cf_bug")


class Fault(NamedTuple):
    """What went wrong, in a word or two, with what one needs to look into it."""

    what: str
    about: str


class Expected(NamedTuple):
    """Something that became different for a visitor, and that the stream must say."""

    what: str
    id: int
    bug: int | None
    more: tuple[Any, ...]
    route: str
    step: int
    published: int
    second: int


def words_of(event: Event) -> set[str]:
    """Return the words of the steps in an event, its key and its subject."""
    return set(_WORD.findall(json.dumps([event.routing_key, event.subject, dict(event.data)])))


def can_be_recomputed(event: Event, known: set[Any]) -> bool:
    """Return whether a reader without the secret finds one of the known ids by trying small numbers."""
    fact = FACT.fullmatch(event.type)
    assert fact
    seconds = str(int(datetime.fromisoformat(event.time).timestamp()))
    number = str(thing_of(fact[1], event.data))
    tries = [[number, seconds], [number]]
    for small in range(NUMBERS_TRIED):
        tries += [[number, str(small), seconds], [number, f"row {small}", seconds], [str(small), seconds], [str(small)]]
    return any(event_id(event.source, scope, *key) in known for key in tries for scope in (event.type, "change_set"))


def text(event: Event) -> str:
    return f"{event.type} {event.subject} {event.routing_key} {json.dumps(dict(event.data))[:1500]}"


def thing_of(part: str, data: Mapping[str, Any]) -> int | None:
    """Return the number of what an event is about."""
    holder = data.get(part)
    if isinstance(holder, Mapping) and "id" in holder:
        return int(holder["id"])
    return data.get("id")


def numbers(data: Mapping[str, Any]) -> Iterator[int]:
    """Yield the numbers of other bugs in an event."""
    bug = data.get("bug")
    holders = [bug] if isinstance(bug, Mapping) else []
    values = [holder.get(name) for holder in holders for name in _NUMBERS]
    values += [holder.get("see_also") for holder in holders]
    for change in data.get("changes", ()):
        if change["field_name"] in (*_NUMBERS, "see_also"):
            values += [change["removed"], change["added"]]
    comment = data.get("comment")
    if isinstance(comment, Mapping):
        values.append(comment["dupe_bug_id"])
    for value in values:
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(each, str):
                if found := _OWN_BUG.search(each):
                    yield int(found[1])
            elif each is not None:
                yield each


def names(value: Any) -> Iterator[str]:
    """Yield the names of people in an event."""
    if isinstance(value, Mapping):
        if set(value) == {"id", "name"} and value["name"] is not None:
            yield value["name"]
        if value.get("field_name") == "flagtypes.name":
            for word in (*value["removed"], *value["added"]):
                found = _FLAG_WORD.search(word)
                if found and not found[1].isdigit():
                    yield word
        for each in value.values():
            yield from names(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from names(each)


def says(event: Event, part: str, what: str, expected: Expected) -> bool:
    """Return whether an event says what became different."""
    data = event.data
    fact = FACT.fullmatch(event.type)
    if fact is None:
        return False
    its_part, its_fact = fact.groups()
    if part == "bug":
        if what == "shown":
            return False
        if what in ("hidden", "deleted"):
            return (its_part, its_fact) == ("bug", what)
        field = expected.more[0]
        if what == "linked":
            other = int(expected.more[1])
            return any(
                change["field_name"] == field and other in (*change["removed"], *change["added"])
                for change in data.get("changes", ())
            )
        if its_part == "flag" and field == "flags":
            return True
        return its_part == "bug" and any(is_change(change, expected) for change in data.get("changes", ()))
    if part in ("comment", "attachment"):
        if part == "attachment" and what == "changed":
            if its_part == "flag" and data.get("attachment_id") == expected.id:
                return True
            if its_part != "attachment" or thing_of("attachment", data) != expected.id:
                return False
            return its_fact in ("deleted", "published", "created") or any(
                is_change(change, expected) for change in data.get("changes", ())
            )
        if its_part != part or thing_of(part, data) != expected.id:
            return False
        return (
            its_fact
            in {"made": ("created", "published"), "shown": ("published", "created"), "hidden": ("hidden",)}[what]
        )
    return (its_part, its_fact) == (part, what)


def is_change(change: Mapping[str, Any], expected: Expected) -> bool:
    field, _, new = expected.more
    if change["field_name"] != {"flags": "flagtypes.name"}.get(field, field):
        return False
    if isinstance(change["added"], str):
        return bool(change["added"] == new)
    return True
