# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of a bug, followed by those of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.mapping.emitter import RowTeller
from sourcepulse_bugzilla.mapping.parts import comments_changed, comments_created, flags_done
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


def bug_created(teller: RowTeller, view: View) -> Iterator[Event]:
    """Return the event that a bug was filed."""
    bug = view.members["bug"]
    yield teller.event(
        BUG_CREATED,
        {"who": view.members["who"], "bug": bug},
        key=[str(bug["id"]), str(seconds_of(bug["creation_time"]))],
        words=view.members["place"],
    )
    yield from chain(flags_done(teller, view), comments_created(teller, view))


def bug_updated(teller: RowTeller, view: View) -> Iterator[Event]:
    """Yield the events of one update of a bug."""
    if view.form == HIDDEN:
        yield _hidden(teller, view)
        return
    if view.form == PUBLISHED:
        yield _published(teller, view)
        yield from comments_created(teller, view)
        return
    if view.members["changes"]:
        yield from _changed(teller, view)
    if view.members["transition"] == HIDDEN:
        yield _hidden(teller, view)
    elif view.members["transition"] == PUBLISHED:
        yield _published(teller, view)
    yield from chain(flags_done(teller, view), comments_created(teller, view), comments_changed(teller, view))


def bug_deleted(teller: RowTeller, view: View) -> Iterator[Event]:
    """Return the event that a bug was deleted."""
    yield teller.bare_event(
        BUG_DELETED,
        {"id": view.members["id"]},
        key=[str(view.members["id"]), str(seconds_of(view.members["creation_time"]))],
        words=view.members["place"],
    )


def _changed(teller: RowTeller, view: View) -> Iterator[Event]:
    """Yield the event of the update, then an event for each routing key that consumers subscribe to."""
    members = view.members
    bug, place = members["bug"], members["place"]
    data = {"who": members["who"], "bug": bug, "changes": members["changes"]}
    key = [str(bug["id"]), *teller.activity()]
    yield teller.event(BUG_CHANGED, data, key=key, words=place)
    if members["was_open"] is True and not bug["is_open"]:
        yield teller.event(BUG_CLOSED, data, key=key, words=place)
    if members["was_open"] is False and bug["is_open"]:
        yield teller.event(BUG_REOPENED, data, key=key, words=place)
    if any(change["field_name"] == "resolution" and change["added"] == "DUPLICATE" for change in members["changes"]):
        yield teller.event(BUG_DUPLICATED, data, key=key, words=place)
    if any(change["field_name"] == "assigned_to" for change in members["changes"]):
        yield teller.event(BUG_ASSIGNED, data, key=key, words=place)
    if members["old_place"] != place:
        # For consumers that are bound to the old place.
        yield teller.event(BUG_MOVED, data, key=key, words=members["old_place"])


def _hidden(teller: RowTeller, view: View) -> Event:
    bug_id = teller.row.bug_id
    # The new place may be secret.
    return teller.bare_event(
        BUG_HIDDEN, {"id": bug_id}, key=[str(bug_id), *teller.activity()], words=view.members["old_place"]
    )


def _published(teller: RowTeller, view: View) -> Event:
    bug = view.members["bug"]
    return teller.event(
        BUG_PUBLISHED, {"bug": bug}, key=[str(bug["id"]), *teller.activity()], words=view.members["place"]
    )
