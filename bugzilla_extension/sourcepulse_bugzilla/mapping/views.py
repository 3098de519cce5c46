# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read what one stream may contain of a row: its form, and all members that this form has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sourcepulse.events.event import PUBLIC
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.shapes import ShapeError, check_shape

BUG_CREATE = "bug.create"
BUG_UPDATE = "bug.update"
BUG_DELETE = "bug.delete"
ATTACHMENT_CREATE = "attachment.create"
ATTACHMENT_UPDATE = "attachment.update"
ATTACHMENT_DELETE = "attachment.delete"
#: Things that bugs are filed under, with the number of variable words in their keys; a kind is `<thing>.<action>`.
THINGS: Mapping[str, int] = {"product": 1, "component": 2, "version": 2, "milestone": 2, "keyword": 1}
THING_CREATE = "create"
THING_UPDATE = "update"
THING_DELETE = "delete"

HIDDEN = "hidden"
PUBLISHED = "published"
#: The form of a view that has all members of its kind.
FULL = "full"

#: The states that a change can give to a flag.
FLAG_STATUSES = ("?", "+", "-", "X")


class Said(NamedTuple):
    """A comment, and the size of its whole text in UTF-8 bytes if it was cut."""

    comment: Mapping[str, Any]
    text_bytes: int | None


class FlagDone(NamedTuple):
    """A flag and what was done to it; it is on an attachment if the row or the flag itself names one."""

    flag: Mapping[str, Any]
    status: str
    attachment_id: int | None


class View(NamedTuple):
    """The checked members of a view by name; `form` determines which there are."""

    form: str
    members: Mapping[str, Any]


def seconds_of(time: str) -> int:
    """Return the whole seconds since 1970 of a time as events have it."""
    return int(datetime.fromisoformat(time).timestamp())


def read_view(kind: str, bug_id: int, stream: str, raw: Any) -> View:
    """Read the view of a stream; RowError, with the place and no value, if a member is missing or wrong.

    A public view that contains anything marked as private is refused.
    """
    if not isinstance(raw, dict):
        raise RowError(f"its {stream} view is not a JSON object")
    forms, form = KINDS[kind], FULL
    if stream == PUBLIC and raw.get("transition") in tuple(forms):
        form = raw["transition"]
    members = {}
    for name, read in forms[form].items():
        if name not in raw:
            raise RowError(f"its {stream} view has no member {name!r}")
        try:
            members[name] = read(raw[name])
        except ShapeError as error:
            raise RowError(f"its {stream} view is not as events have it at /{name}{error}") from None
    if any(about != bug_id for about in _bugs_of(kind, members)):
        raise RowError(f"its {stream} view is about another bug")
    if stream == PUBLIC and any(part.get("is_private") or part.get("groups") for part in _parts(members)):
        raise RowError("its public view holds what is marked as private")
    return View(form, members)


def _bugs_of(kind: str, members: Mapping[str, Any]) -> Iterator[int]:
    """Yield the number of the bug wherever a view has it; 0 for a view that is not about a bug."""
    if "thing" in members:
        yield 0
    elif "bug" in members:
        yield members["bug"]["id"]
    elif kind in (BUG_UPDATE, BUG_DELETE):
        yield members["id"]
    for part in (members, *_parts(members)):
        if "bug_id" in part:
            yield part["bug_id"]


def _parts(members: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in ("bug", "attachment"):
        if name in members:
            yield members[name]
    for name in ("comments", "comments_published"):
        yield from (said.comment for said in members.get(name, ()))


# -- members


def _shape(name: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        check_shape(name, value)
        return value

    return read


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_all(values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise ShapeError
        found = []
        for place, value in enumerate(values):
            try:
                found.append(read(value))
            except ShapeError as error:
                raise ShapeError(f"/{place}{error}") from None
        return found

    return read_all


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ShapeError
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ShapeError
    return value


def _words(count: int) -> Callable[[Any], Any]:
    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or [type(word) for word in value] != [str] * count:
            raise ShapeError
        return tuple(value)

    return read


def _transition(value: Any) -> str | None:
    if value not in (None, HIDDEN, PUBLISHED):
        raise ShapeError
    return value if value is None else str(value)


def _time(value: Any) -> str:
    check_shape("time", value)
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ShapeError from None
    return str(value)


def _timed(name: str) -> Callable[[Any], Any]:
    """Return a reader of an object that is also identified by the time of its creation."""

    def read(value: Any) -> Any:
        check_shape(name, value)
        try:
            _time(value["creation_time"])
        except ShapeError:
            raise ShapeError("/creation_time") from None
        return value

    return read


def _said(value: Any) -> Said:
    if not isinstance(value, dict):
        raise ShapeError
    comment = {name: member for name, member in value.items() if name != "text_bytes"}
    _timed("Comment")(comment)
    return Said(comment, _number(value["text_bytes"]) if "text_bytes" in value else None)


def _flag_done(value: Any) -> FlagDone:
    if not isinstance(value, dict):
        raise ShapeError
    check_shape("Flag", value.get("flag"))
    if value.get("status") not in FLAG_STATUSES:
        raise ShapeError("/status")
    return FlagDone(value["flag"], value["status"], _or_none(_number)(value.get("attachment_id")))


def _kinds_of_thing(name: str, words: int) -> dict[str, Mapping[str, Mapping[str, Callable[[Any], Any]]]]:
    """Return the kinds of rows about one of `THINGS`."""
    members = {"words": _words(words), "thing": _shape(name.capitalize())}
    return {
        f"{name}.{THING_CREATE}": {FULL: members},
        f"{name}.{THING_UPDATE}": {FULL: members | {"changes": _CHANGES}},
        f"{name}.{THING_DELETE}": {FULL: members},
    }


_PLACE = _words(2)
_PERSON = _shape("Person")
_BUG = _timed("Bug")
_ATTACHMENT = _timed("Attachment")
_CHANGES = _shape("changes")
_FLAGS = _list_of(_flag_done)
_COMMENTS = _list_of(_said)

#: The members that each kind of row has in each form of its views.
KINDS: Mapping[str, Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    BUG_CREATE: {FULL: {"place": _PLACE, "who": _PERSON, "bug": _BUG, "comments": _COMMENTS, "flags": _FLAGS}},
    BUG_UPDATE: {
        FULL: {
            "place": _PLACE,
            "old_place": _PLACE,
            "was_open": _or_none(_truth),
            "who": _or_none(_PERSON),
            "bug": _BUG,
            "changes": _CHANGES,
            "transition": _transition,
            "flags": _FLAGS,
            "comments": _COMMENTS,
            "comments_hidden": _list_of(_number),
            "comments_published": _COMMENTS,
        },
        HIDDEN: {"place": _PLACE, "old_place": _PLACE, "id": _number},
        # What a bug was while it was private is never published.
        PUBLISHED: {"place": _PLACE, "bug": _BUG, "comments": _COMMENTS},
    },
    BUG_DELETE: {FULL: {"place": _PLACE, "id": _number, "creation_time": _time}},
    ATTACHMENT_CREATE: {FULL: {"place": _PLACE, "who": _PERSON, "attachment": _ATTACHMENT}},
    ATTACHMENT_UPDATE: {
        FULL: {
            "place": _PLACE,
            "who": _or_none(_PERSON),
            "attachment": _ATTACHMENT,
            "changes": _CHANGES,
            "transition": _transition,
            "flags": _FLAGS,
        },
        HIDDEN: {"place": _PLACE, "id": _number, "bug_id": _number},
        PUBLISHED: {"place": _PLACE, "attachment": _ATTACHMENT},
    },
    ATTACHMENT_DELETE: {FULL: {"place": _PLACE, "who": _or_none(_PERSON), "attachment": _ATTACHMENT}},
    **{kind: forms for name, words in THINGS.items() for kind, forms in _kinds_of_thing(name, words).items()},
}
