# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of a bug, followed by those of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.mapping.attachments_flags_comments import comments_changed, comments_created, flags_done
from sourcepulse_bugzilla.mapping.emitter import RowEmitter
from sourcepulse_bugzilla.mapping.views import HIDDEN, PUBLISHED, View, seconds_of

BUG_CREATED = "bugzilla.bug.created.v1"
BUG_CHANGED = "bugzilla.bug.changed.v1"
BUG_CLOSED = "bugzilla.bug.closed.v1"
BUG_REOPENED = "bugzilla.bug.reopened.v1"
BUG_DUPLICATED = "bugzilla.bug.duplicated.v1"
BUG_ASSIGNED = "bugzilla.bug.assigned.v1"
BUG_MOVED = "bugzilla.bug.moved.v1"
BUG_HIDDEN = "bugzilla.bug.hidden.v1"
BUG_PUBLISHED = "bugzilla.bug.published.v1"
BUG_DELETED = "bugzilla.bug.deleted.v1"


def bug_created(emitter: RowEmitter, view: View) -> Iterator[Event]:
    bug = view["bug"]
    yield emitter.event(
        BUG_CREATED,
        {"who": view["who"], "bug": bug},
        key=[str(bug["id"]), str(seconds_of(bug["creation_time"]))],
        words=view["place"],
    )
    yield from chain(flags_done(emitter, view), comments_created(emitter, view))


def bug_updated(emitter: RowEmitter, view: View) -> Iterator[Event]:
    becomes = view["transition"]
    if emitter.is_public and becomes == HIDDEN:
        yield _hidden(emitter, view)
        return
    # What a bug was while it was private is never published.
    is_new = emitter.is_public and becomes == PUBLISHED
    if view["changes"] and not is_new:
        yield from _changed(emitter, view)
    if becomes == HIDDEN:
        yield _hidden(emitter, view)
    elif becomes == PUBLISHED:
        yield _published(emitter, view)
    if not is_new:
        yield from flags_done(emitter, view)
    yield from comments_created(emitter, view)
    if not is_new:
        yield from comments_changed(emitter, view)


def bug_deleted(emitter: RowEmitter, view: View) -> Iterator[Event]:
    yield emitter.bare_event(
        BUG_DELETED,
        {"id": view["id"]},
        key=[str(view["id"]), str(seconds_of(view["creation_time"]))],
        words=view["place"],
    )


def _changed(emitter: RowEmitter, view: View) -> Iterator[Event]:
    """Yield the event of the update, then an event for each routing key that consumers subscribe to."""
    bug, changes, place = view["bug"], view["changes"], view["place"]
    data = {"who": view["who"], "bug": bug, "changes": changes}
    key = [str(bug["id"]), *emitter.activity()]
    yield emitter.event(BUG_CHANGED, data, key=key, words=place)
    if view["was_open"] is True and not bug["is_open"]:
        yield emitter.event(BUG_CLOSED, data, key=key, words=place)
    if view["was_open"] is False and bug["is_open"]:
        yield emitter.event(BUG_REOPENED, data, key=key, words=place)
    if any(change["field_name"] == "resolution" and change["added"] == "DUPLICATE" for change in changes):
        yield emitter.event(BUG_DUPLICATED, data, key=key, words=place)
    if any(change["field_name"] == "assigned_to" for change in changes):
        yield emitter.event(BUG_ASSIGNED, data, key=key, words=place)
    if view["old_place"] != place:
        # For consumers that are bound to the old place.
        yield emitter.event(BUG_MOVED, data, key=key, words=view["old_place"])


def _hidden(emitter: RowEmitter, view: View) -> Event:
    bug_id = emitter.row.bug_id
    # The new place may be secret.
    return emitter.bare_event(
        BUG_HIDDEN, {"id": bug_id}, key=[str(bug_id), *emitter.activity()], words=view["old_place"]
    )


def _published(emitter: RowEmitter, view: View) -> Event:
    bug = view["bug"]
    return emitter.event(BUG_PUBLISHED, {"bug": bug}, key=[str(bug["id"]), *emitter.activity()], words=view["place"])
