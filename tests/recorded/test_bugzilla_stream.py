# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every type of event of Bugzilla comes out of rows of its outbox as it was recorded, with its id and every byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sourcepulse.catalogue import known_types
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from support.bugzilla.rows import (
    ALICE,
    ATTACHMENT,
    BOB,
    BUG,
    BUG_ID,
    CHANGES,
    ID_SECRET,
    SOURCE,
    THING_KINDS,
    attachment_update,
    bug_create,
    bug_update,
    changed,
    comment,
    flag,
    row,
    thing_row,
)
from support.events.recorded import assert_as_recorded, recorded_types

RECORD = "bugzilla"


def _change(field_name: str, removed: Any, added: Any) -> dict[str, Any]:
    return {"field_name": field_name, "removed": removed, "added": added}


def _rows() -> Iterator[Any]:
    place, flags = ["Core", "DOM"], [{"flag": flag(status=status), "status": status} for status in "?+-X"]
    moved, long = [_change("product", "Firefox", "Core")], comment(502, text="\u20ac" * 30_000)
    obsoleted = [_change("is_obsolete", False, True)]
    opened = changed(BUG, status="REOPENED", resolution="", is_open=True)
    copy = changed(BUG, resolution="DUPLICATE", dupe_of=1200)
    obsolete = changed(ATTACHMENT, is_obsolete=True)
    yield row("bug.create", bug_create(comments=[comment(500, count=0)], flags=flags[:1]), bug_create())
    yield row("bug.update", bug_update(was_open=True, changes=CHANGES, comments=[comment()], flags=flags), bug_update())
    yield row("bug.update", bug_update(bug=opened, changes=[_change("status", "RESOLVED", "REOPENED")]))
    yield row("bug.update", bug_update(bug=copy, changes=[_change("resolution", "FIXED", "DUPLICATE")]))
    yield row("bug.update", bug_update(changes=[_change("assigned_to", BOB, ALICE)]))
    yield row("bug.update", bug_update(old_place=["Firefox", "a.b c"], changes=moved))
    yield row("bug.update", bug_update(comments_hidden=[501], comments_published=[long]))
    yield row("bug.update", {"place": place, "old_place": place, "transition": "hidden", "id": BUG_ID}, bug_update())
    yield row("bug.update", bug_update(transition="published"), None, recovered=True)
    yield row("bug.delete", {"place": place, "id": BUG_ID, "creation_time": BUG["creation_time"]})
    yield row("attachment.create", {"place": place, "who": BOB, "attachment": ATTACHMENT})
    yield row("attachment.update", attachment_update(changes=[_change("summary", "fix", "a fix")], flags=flags))
    yield row("attachment.update", attachment_update(attachment=obsolete, changes=obsoleted))
    hidden = {"place": place, "transition": "hidden", "id": ATTACHMENT["id"], "bug_id": BUG_ID}
    yield row("attachment.update", hidden, attachment_update(transition="hidden"))
    yield row("attachment.update", attachment_update(transition="published"))
    yield row("attachment.delete", {"place": place, "who": None, "attachment": changed(ATTACHMENT, size=0)})
    for kind in THING_KINDS:
        yield thing_row(kind)


def test_events_of_bugzilla_are_as_recorded_byte_for_byte() -> None:
    emitter = Emitter(SOURCE, ID_SECRET)
    assert_as_recorded(RECORD, (event for raw in _rows() for event in events_of(read_row(raw), emitter)))
    assert recorded_types(RECORD) == {type_ for type_ in known_types() if type_.startswith("bugzilla.")}
