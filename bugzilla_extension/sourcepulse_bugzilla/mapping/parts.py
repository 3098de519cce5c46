# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of the parts of a bug: attachments, flags, comments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.mapping.emitter import RowTeller
from sourcepulse_bugzilla.mapping.views import HIDDEN, PUBLISHED, FlagDone, Said, View, seconds_of

ATTACHMENT_CREATED = "bugzilla.attachment.created.v1"
ATTACHMENT_CHANGED = "bugzilla.attachment.changed.v1"
ATTACHMENT_OBSOLETED = "bugzilla.attachment.obsoleted.v1"
ATTACHMENT_DELETED = "bugzilla.attachment.deleted.v1"
ATTACHMENT_HIDDEN = "bugzilla.attachment.hidden.v1"
ATTACHMENT_PUBLISHED = "bugzilla.attachment.published.v1"
COMMENT_CREATED = "bugzilla.comment.created.v1"
COMMENT_HIDDEN = "bugzilla.comment.hidden.v1"
COMMENT_PUBLISHED = "bugzilla.comment.published.v1"
FLAG_TYPES: Mapping[str, str] = {
    "?": "bugzilla.flag.requested.v1",
    "+": "bugzilla.flag.granted.v1",
    "-": "bugzilla.flag.denied.v1",
    "X": "bugzilla.flag.cleared.v1",
}


def attachment_created(teller: RowTeller, view: View) -> Iterator[Event]:
    """Return the event that a file was attached."""
    attachment = view.members["attachment"]
    yield teller.event(
        ATTACHMENT_CREATED,
        {"who": view.members["who"], "attachment": attachment},
        key=[str(attachment["id"]), str(seconds_of(attachment["creation_time"]))],
        words=view.members["place"],
    )


def attachment_updated(teller: RowTeller, view: View) -> Iterator[Event]:
    """Yield the events of an update of an attachment, then those of its flags."""
    members = view.members
    if view.form == HIDDEN:
        yield _attachment_hidden(teller, view, members["id"])
        return
    attachment, words = members["attachment"], members["place"]
    key = [str(attachment["id"]), *teller.activity()]
    if view.form != PUBLISHED and members["changes"]:
        data = {"who": members["who"], "attachment": attachment, "changes": members["changes"]}
        yield teller.event(ATTACHMENT_CHANGED, data, key=key, words=words)
        if any(change["field_name"] == "is_obsolete" and change["added"] is True for change in members["changes"]):
            yield teller.event(ATTACHMENT_OBSOLETED, data, key=key, words=words)
    if view.form == PUBLISHED or members["transition"] == PUBLISHED:
        yield teller.event(ATTACHMENT_PUBLISHED, {"attachment": attachment}, key=key, words=words)
    elif members["transition"] == HIDDEN:
        yield _attachment_hidden(teller, view, attachment["id"])
    if view.form != PUBLISHED:
        yield from flags_done(teller, view, attachment_id=attachment["id"])


def attachment_deleted(teller: RowTeller, view: View) -> Iterator[Event]:
    """Return the event that the content of an attachment was removed."""
    attachment = view.members["attachment"]
    yield teller.event(
        ATTACHMENT_DELETED,
        {"who": view.members["who"], "attachment": attachment},
        key=[str(attachment["id"]), *teller.activity()],
        words=view.members["place"],
    )


def _attachment_hidden(teller: RowTeller, view: View, attachment_id: int) -> Event:
    return teller.bare_event(
        ATTACHMENT_HIDDEN,
        {"id": attachment_id, "bug_id": teller.row.bug_id},
        key=[str(attachment_id), *teller.activity()],
        words=view.members["place"],
    )


def flags_done(teller: RowTeller, view: View, *, attachment_id: int | None = None) -> Iterator[Event]:
    """Yield the events of flags, in the order of the row."""
    bug_id, equals = teller.row.bug_id, Counter[tuple[str, ...]]()
    done: FlagDone
    for done in view.members["flags"]:
        flag, on = done.flag, attachment_id if done.attachment_id is None else done.attachment_id
        requestee = flag["requestee"]
        fact = (
            str(bug_id),
            "" if on is None else str(on),
            *teller.activity(),
            flag["name"],
            "" if requestee is None else str(requestee["id"]),
            done.status,
        )
        yield teller.event(
            FLAG_TYPES[done.status],
            {"who": view.members["who"], "bug_id": bug_id, "attachment_id": on, "flag": flag},
            key=[*fact, str(equals[fact])],
            words=view.members["place"],
        )
        equals[fact] += 1


def comments_created(teller: RowTeller, view: View) -> Iterator[Event]:
    """Yield the events of the new comments."""
    said: Said
    for said in view.members["comments"]:
        key = [str(said.comment["id"]), str(seconds_of(said.comment["creation_time"]))]
        yield _comment_shown(teller, COMMENT_CREATED, said, key=key, words=view.members["place"])


def comments_changed(teller: RowTeller, view: View) -> Iterator[Event]:
    """Yield the events of comments that became private or public."""
    words = view.members["place"]
    for comment_id in view.members["comments_hidden"]:
        yield teller.bare_event(
            COMMENT_HIDDEN,
            {"id": comment_id, "bug_id": teller.row.bug_id},
            key=[str(comment_id), *teller.activity()],
            words=words,
        )
    said: Said
    for said in view.members["comments_published"]:
        key = [str(said.comment["id"]), *teller.activity()]
        yield _comment_shown(teller, COMMENT_PUBLISHED, said, key=key, words=words)


def _comment_shown(teller: RowTeller, type_: str, said: Said, *, key: Sequence[str], words: Sequence[str]) -> Event:
    comment: Mapping[str, Any] = said.comment
    cut = {}
    # Bytes that only the replacement of bad characters added do not count as cut.
    if said.text_bytes is not None and said.text_bytes > len(comment["text"].encode()):
        cut["/comment/text"] = said.text_bytes
    return teller.event(type_, {"comment": comment}, key=key, words=words, cut=cut)
