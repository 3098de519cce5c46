# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Rows of Bugzilla's outbox table as the extension writes them, by hand and at random."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from sourcepulse.events.event import event_id, format_time

SITE = "3f0b7a52-6c1e-4d0b-9a37-1d2f5e8c4b60"
SOURCE = f"bugzilla://{SITE}"
RESTRICTED_SOURCE = f"{SOURCE}?restricted"
#: The secret, time, bug, activity and transaction of the third example of the event contract.
ID_SECRET = "00112233445566778899aabbccddeeff"
AT = 1_795_345_780
BUG_ID = 1234
ACTIVITY = 98117
TRANSACTION = "5c8e0d7f2b9a41c6a3f4e17d90b82c35"

ALICE = {"id": 7, "name": "alice"}
BOB = {"id": 31, "name": "bob"}

BUG: dict[str, Any] = {
    "id": BUG_ID,
    "alias": [],
    "summary": "Crash on empty input",
    "classification": "Unclassified",
    "product": "Core",
    "product_id": 2,
    "component": "DOM",
    "component_id": 19,
    "version": "unspecified",
    "op_sys": "All",
    "platform": "All",
    "priority": "P2",
    "severity": "major",
    "target_milestone": "---",
    "status": "RESOLVED",
    "resolution": "FIXED",
    "is_open": False,
    "dupe_of": None,
    "assigned_to": ALICE,
    "qa_contact": None,
    "creator": BOB,
    "cc": [ALICE],
    "keywords": ["crash"],
    "whiteboard": "",
    "url": "",
    "depends_on": [],
    "blocks": [1200],
    "see_also": [],
    "flags": [],
    "groups": [],
    "creation_time": "2026-11-20T08:00:00.000000Z",
    "last_change_time": "2026-11-22T11:09:40.000000Z",
    "cf_branch": "inbound",
}
CHANGES: list[dict[str, Any]] = [
    {"field_name": "cc", "removed": [], "added": [ALICE]},
    {"field_name": "resolution", "removed": "", "added": "FIXED"},
    {"field_name": "status", "removed": "ASSIGNED", "added": "RESOLVED"},
]
ATTACHMENT: dict[str, Any] = {
    "id": 55,
    "bug_id": BUG_ID,
    "file_name": "fix.patch",
    "summary": "a fix",
    "content_type": "text/plain",
    "size": 812,
    "is_patch": True,
    "is_obsolete": False,
    "is_private": False,
    "creator": BOB,
    "creation_time": "2026-11-21T09:00:00.000000Z",
    "last_change_time": "2026-11-22T11:09:40.000000Z",
    "flags": [],
}


#: What bugs are filed under, and the words of each in a routing key.
THINGS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "product": (["Core"], {"id": 2, "name": "Core", "classification": "Suite", "is_active": True}),
    "component": (
        ["Core", "DOM"],
        {"id": 19, "name": "DOM", "product": "Core", "product_id": 2, "is_active": True},
    ),
    "version": (
        ["Core", "1.0 beta"],
        {"id": 5, "name": "1.0 beta", "product": "Core", "product_id": 2, "is_active": True},
    ),
    "milestone": (["Core", "---"], {"id": 6, "name": "---", "product": "Core", "product_id": 2, "is_active": False}),
    "keyword": (["crash"], {"id": 3, "name": "crash", "is_active": True}),
}
#: What can happen to them: the word of the row, and that of the event.
THING_STATES = {"create": "created", "update": "changed", "delete": "deleted"}
BUG_KINDS = [
    *("bug.create", "bug.update", "bug.delete"),
    *("attachment.create", "attachment.update", "attachment.delete"),
]
THING_KINDS = [f"{name}.{action}" for name in THINGS for action in THING_STATES]


def id_of(source: str, type_: str, *key: str, secret: str = ID_SECRET) -> str:
    """Return the id that the contract gives a fact of Bugzilla."""
    return event_id(source, type_, *key, secret)


def comment(number: int = 501, **members: Any) -> dict[str, Any]:
    """Return a comment of the bug, made at the time of the row."""
    return {
        "id": number,
        "bug_id": BUG_ID,
        "attachment_id": None,
        "count": 3,
        "type": "normal",
        "dupe_bug_id": None,
        "text": "it crashes here too",
        "creator": ALICE,
        "creation_time": format_time(AT),
        "is_private": False,
    } | members


def flag(name: str = "review", status: str = "?", requestee: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a flag that Alice set."""
    return {"name": name, "type_id": 4, "status": status, "setter": ALICE, "requestee": requestee}


def bug_create(**members: Any) -> dict[str, Any]:
    """Return the view of a new bug."""
    return {"place": ["Core", "DOM"], "who": BOB, "bug": BUG, "comments": [], "flags": []} | members


def bug_update(**members: Any) -> dict[str, Any]:
    """Return the full view of an update that only the named members say anything of."""
    return {
        "place": ["Core", "DOM"],
        "old_place": ["Core", "DOM"],
        "was_open": False,
        "who": ALICE,
        "bug": BUG,
        "changes": [],
        "transition": None,
        "flags": [],
        "comments": [],
        "comments_hidden": [],
        "comments_published": [],
    } | members


def attachment_update(**members: Any) -> dict[str, Any]:
    """Return the full view of an update of an attachment."""
    return {
        "place": ["Core", "DOM"],
        "who": ALICE,
        "attachment": ATTACHMENT,
        "changes": [],
        "transition": None,
        "flags": [],
    } | members


def thing_row(kind: str, *, streams: Sequence[str] = ("public",), thing: Any = None, **members: Any) -> Any:
    """Return a row about what bugs are filed under, with the same view in each stream."""
    name, _, action = kind.partition(".")
    words, known = THINGS[name]
    view = {"words": words, "thing": known | (thing or {})}
    if action == "update":
        view["changes"] = members.pop("changes", [{"field_name": "name", "removed": "old", "added": known["name"]}])
    view |= members.pop("view", {})
    found = row(kind, *(view if stream in streams else None for stream in ("public", "restricted")), **members)
    return found | {"bug_id": 0}


def row(kind: str, public: Any = None, restricted: Any = None, *, number: int | None = 40213, **payload: Any) -> Any:
    """Return a row as drain.pl gives it; `payload` changes members of the payload."""
    views = {name: view for name, view in (("public", public), ("restricted", restricted)) if view is not None}
    members = {"v": 1, "at": AT, "activity": ACTIVITY, "transaction": TRANSACTION, "views": views} | payload
    found = {"kind": kind, "bug_id": BUG_ID, "created_ts": "2026-11-22 11:09:40", "payload": json.dumps(members)}
    return found if number is None else {"id": number, **found}


def changed(fact: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return a copy of a bug or an attachment with other members."""
    return copy.deepcopy(fact) | members


# -- at random

#: What people write, and what they never meant to: NUL, emoji, halves of surrogate pairs, controls, long texts.
texts = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from(
    ["", "\0", "\ud83d", "\udca9\ud83d", "\U0001f4a9", "é" * 40_000, "x" * 70_000, "\x1b[2J", "review?(bob)"]
)
numbers = st.integers(1, 2**53)
people = st.builds(lambda number, name: {"id": number, "name": name}, numbers, st.none() | texts)
maybe_people = st.none() | people
statuses = st.sampled_from("?+-X")
times = st.integers(0, 4_102_444_800).map(format_time)
places = st.tuples(texts, texts).map(list)
short_lists = st.lists(texts, max_size=3)
long_lists = st.integers(0, 1_200).map(lambda length: list(range(length)))
flags = st.fixed_dictionaries(
    {
        "name": texts,
        "type_id": st.none() | numbers,
        "status": statuses,
        "setter": maybe_people,
        "requestee": maybe_people,
    }
)
values = st.none() | texts | numbers | st.booleans() | people | st.lists(texts | numbers | people, max_size=3)
changes = st.lists(
    st.fixed_dictionaries(
        {
            "field_name": st.sampled_from(
                ["resolution", "product", "is_obsolete", "cf_x", "status", "flagtypes.name", "assigned_to"]
            ),
            "removed": values,
            "added": values | st.just("DUPLICATE"),
        }
    ),
    max_size=3,
)
custom_fields = st.dictionaries(
    st.sampled_from(["cf_a", "cf_b~/c"]), st.none() | texts | numbers | st.lists(texts, max_size=3), max_size=2
)
_WORDS = ("summary", "classification", "product", "component", "version", "op_sys", "platform", "priority", "severity")
_MORE_WORDS = ("target_milestone", "status", "resolution", "whiteboard", "url")


@st.composite
def bugs(draw: st.DrawFn, bug_id: int, *, public: bool) -> dict[str, Any]:
    """Return bugs as a view has them."""
    return {
        "id": bug_id,
        **{name: draw(texts) for name in (*_WORDS, *_MORE_WORDS)},
        **{name: draw(numbers) for name in ("product_id", "component_id")},
        **{name: draw(short_lists) for name in ("alias", "keywords", "see_also")},
        **{name: draw(long_lists) for name in ("depends_on", "blocks")},
        "is_open": draw(st.booleans()),
        "dupe_of": draw(st.none() | numbers),
        "assigned_to": draw(people),
        "qa_contact": draw(maybe_people),
        "creator": draw(people),
        "cc": draw(st.lists(people, max_size=3)),
        "flags": draw(st.lists(flags, max_size=2)),
        "groups": [] if public else draw(short_lists),
        "creation_time": draw(times),
        "last_change_time": draw(times),
    } | draw(custom_fields)


@st.composite
def comments(draw: st.DrawFn, bug_id: int, *, public: bool) -> dict[str, Any]:
    """Return comments of a bug; the text of some was cut."""
    found = {
        "id": draw(numbers),
        "bug_id": bug_id,
        "attachment_id": draw(st.none() | numbers),
        "count": draw(numbers),
        "type": draw(texts),
        "dupe_bug_id": draw(st.none() | numbers),
        "text": draw(texts),
        "creator": draw(people),
        "creation_time": draw(times),
        "is_private": False if public else draw(st.booleans()),
    }
    return found | draw(st.fixed_dictionaries({}, optional={"text_bytes": st.integers(0, 2**31)}))


@st.composite
def attachments(draw: st.DrawFn, bug_id: int, *, public: bool) -> dict[str, Any]:
    """Return attachments of a bug."""
    return {
        "id": draw(numbers),
        "bug_id": bug_id,
        **{name: draw(texts) for name in ("file_name", "summary", "content_type")},
        "size": draw(numbers),
        "is_patch": draw(st.booleans()),
        "is_obsolete": draw(st.booleans()),
        "is_private": False if public else draw(st.booleans()),
        "creator": draw(people),
        "creation_time": draw(times),
        "last_change_time": draw(times),
        "flags": draw(st.lists(flags, max_size=2)),
    }


@st.composite
def thing_views(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Return views of rows about what bugs are filed under."""
    name, _, action = kind.partition(".")
    words, known = THINGS[name]
    thing = {
        member: draw({int: numbers, bool: st.booleans(), str: texts}[type(value)]) for member, value in known.items()
    }
    view = {"words": draw(st.lists(texts, min_size=len(words), max_size=len(words))), "thing": thing}
    return view | ({"changes": draw(changes)} if action == "update" else {})


@st.composite
def views(draw: st.DrawFn, kind: str, bug_id: int, *, public: bool, transition: str | None) -> dict[str, Any]:
    """Return views of a kind of row, in the form that the stream and the transition ask for."""
    if kind.partition(".")[0] in THINGS:
        return draw(thing_views(kind))
    place = draw(places)
    if kind == "bug.delete":
        return {"place": place, "id": bug_id, "creation_time": draw(times)}
    done = st.lists(
        st.fixed_dictionaries({"flag": flags, "status": statuses}, optional={"attachment_id": st.none() | numbers}),
        max_size=3,
    )
    said = st.lists(comments(bug_id, public=public), max_size=2)
    if kind.startswith("attachment."):
        attachment = draw(attachments(bug_id, public=public))
        if kind == "attachment.create":
            return {"place": place, "who": draw(people), "attachment": attachment}
        if kind == "attachment.delete":
            return {"place": place, "who": draw(maybe_people), "attachment": attachment}
        if public and transition == "hidden":
            return {"place": place, "transition": transition, "id": attachment["id"], "bug_id": bug_id}
        return {
            "place": place,
            "who": draw(maybe_people),
            "attachment": attachment,
            "changes": draw(changes),
            "transition": transition,
            "flags": draw(done),
        }
    bug = draw(bugs(bug_id, public=public))
    if kind == "bug.create":
        return {"place": place, "who": draw(people), "bug": bug, "comments": draw(said), "flags": draw(done)}
    old_place = draw(st.just(place) | places)
    if public and transition == "hidden":
        return {"place": place, "old_place": old_place, "transition": transition, "id": bug_id}
    return {
        "place": place,
        "old_place": old_place,
        "was_open": draw(st.booleans() | st.none()),
        "who": draw(maybe_people),
        "bug": bug,
        "changes": draw(changes),
        "transition": transition,
        "flags": draw(done),
        "comments": draw(said),
        "comments_hidden": draw(st.lists(numbers, max_size=3)),
        "comments_published": draw(said),
    }


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Return rows that are right, of every kind, with either view, both or none."""
    kind = draw(st.sampled_from(BUG_KINDS) | st.sampled_from(THING_KINDS))
    transition = draw(st.sampled_from([None, None, "hidden", "published"]))
    bug_id = 0 if kind in THING_KINDS else draw(numbers)
    found = {
        stream: draw(views(kind, bug_id, public=stream == "public", transition=transition))
        for stream in draw(st.sampled_from([[], ["public"], ["restricted"], ["public", "restricted"]]))
    }
    made = row(
        kind,
        found.get("public"),
        found.get("restricted"),
        number=draw(numbers),
        at=draw(st.integers(0, 4_102_444_800)),
        activity=draw(st.none() | numbers),
        transaction=draw(st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex)),
        **draw(st.sampled_from([{}, {"recovered": True}])),
    )
    return dict(made, bug_id=bug_id)
