# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of the parts of a bug: attachments, flags, comments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.mapping.emitter import RowEmitter
from sourcepulse_bugzilla.mapping.views import HIDDEN, PUBLISHED, View, seconds_of

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


def attachment_created(emitter: RowEmitter, view: View) -> Iterator[Event]:
    attachment = view["attachment"]
    yield emitter.event(
        ATTACHMENT_CREATED,
        {"who": view["who"], "attachment": attachment},
        key=[str(attachment["id"]), str(seconds_of(attachment["creation_time"]))],
        words=view["place"],
    )


def attachment_updated(emitter: RowEmitter, view: View) -> Iterator[Event]:
    """Yield the events of an update of an attachment, then those of its flags."""
    becomes = view["transition"]
    if emitter.is_public and becomes == HIDDEN:
        yield _attachment_hidden(emitter, view, view["id"])
        return
    # What an attachment was while it was private is never published.
    is_new = emitter.is_public and becomes == PUBLISHED
    attachment, words = view["attachment"], view["place"]
    key = [str(attachment["id"]), *emitter.activity()]
    if not is_new and view["changes"]:
        data = {"who": view["who"], "attachment": attachment, "changes": view["changes"]}
        yield emitter.event(ATTACHMENT_CHANGED, data, key=key, words=words)
        if any(change["field_name"] == "is_obsolete" and change["added"] is True for change in view["changes"]):
            yield emitter.event(ATTACHMENT_OBSOLETED, data, key=key, words=words)
    if becomes == PUBLISHED:
        yield emitter.event(ATTACHMENT_PUBLISHED, {"attachment": attachment}, key=key, words=words)
    elif becomes == HIDDEN:
        yield _attachment_hidden(emitter, view, attachment["id"])
    if not is_new:
        yield from flags_done(emitter, view, attachment_id=attachment["id"])


def attachment_deleted(emitter: RowEmitter, view: View) -> Iterator[Event]:
    """Return the event that the content of an attachment was removed."""
    attachment = view["attachment"]
    yield emitter.event(
        ATTACHMENT_DELETED,
        {"who": view["who"], "attachment": attachment},
        key=[str(attachment["id"]), *emitter.activity()],
        words=view["place"],
    )


def _attachment_hidden(emitter: RowEmitter, view: View, attachment_id: int) -> Event:
    return emitter.bare_event(
        ATTACHMENT_HIDDEN,
        {"id": attachment_id, "bug_id": emitter.row.bug_id},
        key=[str(attachment_id), *emitter.activity()],
        words=view["place"],
    )


def flags_done(emitter: RowEmitter, view: View, *, attachment_id: int | None = None) -> Iterator[Event]:
    """Yield the events of flags, in the order of the row."""
    bug_id, equals = emitter.row.bug_id, Counter[tuple[str, ...]]()
    for done in view["flags"]:
        flag, status, on = done["flag"], done["status"], done.get("attachment_id")
        on = attachment_id if on is None else on
        requestee = flag["requestee"]
        fact = (
            str(bug_id),
            "" if on is None else str(on),
            *emitter.activity(),
            flag["name"],
            "" if requestee is None else str(requestee["id"]),
            status,
        )
        yield emitter.event(
            FLAG_TYPES[status],
            {"who": view["who"], "bug_id": bug_id, "attachment_id": on, "flag": flag},
            key=[*fact, str(equals[fact])],
            words=view["place"],
        )
        equals[fact] += 1


def comments_created(emitter: RowEmitter, view: View) -> Iterator[Event]:
    for comment in view["comments"]:
        key = [str(comment["id"]), str(seconds_of(comment["creation_time"]))]
        yield _comment_shown(emitter, COMMENT_CREATED, comment, key=key, words=view["place"])


def comments_changed(emitter: RowEmitter, view: View) -> Iterator[Event]:
    """Yield the events of comments that became private or public."""
    words = view["place"]
    for comment_id in view["comments_hidden"]:
        yield emitter.bare_event(
            COMMENT_HIDDEN,
            {"id": comment_id, "bug_id": emitter.row.bug_id},
            key=[str(comment_id), *emitter.activity()],
            words=words,
        )
    for comment in view["comments_published"]:
        key = [str(comment["id"]), *emitter.activity()]
        yield _comment_shown(emitter, COMMENT_PUBLISHED, comment, key=key, words=words)


def _comment_shown(
    emitter: RowEmitter, type_: str, row_comment: Mapping[str, Any], *, key: Sequence[str], words: Sequence[str]
) -> Event:
    comment = dict(row_comment)
    # The size of the whole text in UTF-8 bytes, if Bugzilla cut it.
    text_bytes = comment.pop("text_bytes", 0)
    # Bytes that only the replacement of bad characters added do not count as cut.
    cut = {"/comment/text": text_bytes} if text_bytes > len(comment["text"].encode()) else {}
    return emitter.event(type_, {"comment": comment}, key=key, words=words, cut=cut)
