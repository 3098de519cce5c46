# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Compare what Bugzilla itself recorded with what was published, and publish what is missing, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sourcepulse.errors import EventError
from sourcepulse.events.event import PUBLIC, RESTRICTED, Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_bugzilla.drain import events_of_raw
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.history.marks import Marks, MarksFile
from sourcepulse_bugzilla.mapping.attachments_flags_comments import (
    ATTACHMENT_CHANGED,
    ATTACHMENT_CREATED,
    ATTACHMENT_HIDDEN,
    ATTACHMENT_PUBLISHED,
    COMMENT_CREATED,
    COMMENT_HIDDEN,
    COMMENT_PUBLISHED,
)
from sourcepulse_bugzilla.mapping.bugs import BUG_CHANGED, BUG_CREATED, BUG_DELETED, BUG_HIDDEN, BUG_PUBLISHED
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import Row
from sourcepulse_bugzilla.mapping.views import ATTACHMENT_UPDATE
from sourcepulse_bugzilla.perl.requests import Drainer, Page

#: The events of these types have ids of their own, whatever else the same update did.
_CREATED = frozenset({BUG_CREATED, BUG_DELETED, ATTACHMENT_CREATED, COMMENT_CREATED})
_OF_BUGS = (BUG_CHANGED, BUG_HIDDEN, BUG_PUBLISHED)
_OF_ATTACHMENTS = (ATTACHMENT_CHANGED, ATTACHMENT_HIDDEN, ATTACHMENT_PUBLISHED)
_OF_COMMENTS = (COMMENT_HIDDEN, COMMENT_PUBLISHED)
#: No other event of the same second can stand for these; each has the part that it publishes.
_OF_SIGHT = {
    BUG_HIDDEN: None,
    ATTACHMENT_HIDDEN: None,
    COMMENT_HIDDEN: None,
    BUG_PUBLISHED: "bug",
    ATTACHMENT_PUBLISHED: "attachment",
    COMMENT_PUBLISHED: "comment",
}

logger = logging.getLogger(__name__)


class Reconciled(NamedTuple):
    """The result of a comparison: rows read, events published, rows that cannot be, and whether there are more rows."""

    rows: int = 0
    published: int = 0
    refused: int = 0
    more: bool = False


def reconcile(
    drainer: Drainer,
    outbox: Outbox,
    emitter: Emitter,
    marks_file: MarksFile,
    *,
    drain: Callable[[], bool],
    stopping: Callable[[], bool],
) -> Reconciled:
    """Publish what was recorded after the marks and is missing in the outbox, page by page, and move the marks.

    The first time, the marks are only set: what came before is history. `drain` empties the table, or returns False if
    there is no time for that. A comparison that was stopped or killed continues after the last page that was stored.
    """
    missed = drainer.stats().missed
    kept = marks_file.read()
    if kept is None:
        marks_file.write(Marks(drainer.tips(), missed))
        return Reconciled()
    marks, found = kept.marks, Reconciled(more=True)
    while found.more and not stopping():
        page = drainer.recover(marks)
        # The rows of everything on the page were committed with it, so they are drained before the page is examined.
        if not drain():
            break
        found = _publish_page(page, outbox, emitter, found)
        if page.more and page.marks == marks:
            logger.error("the comparison with Bugzilla's history makes no progress; it will be tried again later")
            return found
        marks = page.marks
        marks_file.write(Marks(marks, kept.missed if found.more else missed))
    if missed and not found.more:
        _forget_missed(drainer, marks_file, marks, missed)
    if found.published or found.refused:
        logger.info(
            "%d missing events were found in Bugzilla's history and published; %d rows of it cannot be published",
            found.published,
            found.refused,
        )
    return found


def _forget_missed(drainer: Drainer, marks_file: MarksFile, marks: Mapping[str, Any], missed: int) -> None:
    drainer.found(missed)
    # If the list cannot be shortened, it must not trigger every next comparison early.
    if drainer.stats().missed < missed:
        marks_file.write(Marks(marks, 0))


def _publish_page(page: Page, outbox: Outbox, emitter: Emitter, so_far: Reconciled) -> Reconciled:
    published = refused = 0
    for raw in page.rows:
        try:
            row, events = events_of_raw(raw, emitter)
            missing = unpublished(row, events, outbox, emitter)
            if missing:
                published += sum(stored.new for stored in outbox.append(missing, max_bytes=emitter.max_bytes))
        except (RowError, EventError) as error:
            reason = error if isinstance(error, RowError) else "its events cannot be written as JSON"
            logger.error("a change in Bugzilla's history cannot be published: %s", reason)
            refused += 1
    return Reconciled(so_far.rows + len(page.rows), so_far.published + published, so_far.refused + refused, page.more)


def unpublished(row: Row, events: list[Event], outbox: Outbox, emitter: Emitter) -> list[Event]:
    """Return those events of a recovered row that are not published yet.

    An update is published if any event of any of its activities is in the outbox, in either stream: what was left out
    then was left out on purpose. A creation has an id of its own, by which the outbox recognizes it. Events that hide
    or show something are checked separately, because another update of the same second may have done that.
    """
    if not outbox.known(list(_ids_of_update(row, emitter))):
        return events
    return [
        event
        for event in events
        if event.type in _CREATED
        or (event.type in _OF_SIGHT and not outbox.known(list(_ids_of_one(row, event, emitter))))
    ]


def _ids_of_one(row: Row, event: Event, emitter: Emitter) -> Iterator[str]:
    part = _OF_SIGHT[event.type]
    number = str(event.data["id"] if part is None else event.data[part]["id"])
    for activity in row.activities:
        for stream in (PUBLIC, RESTRICTED):
            yield emitter.id_of(stream, event.type, number, str(activity), str(row.at))


def _ids_of_update(row: Row, emitter: Emitter) -> Iterator[str]:
    """Yield all ids under which an update may have been published.

    The history may show it differently: what the update hid appears as published if it is public again.
    """
    parts = [(_OF_BUGS, {row.bug_id}), (_OF_ATTACHMENTS, _attachments(row)), (_OF_COMMENTS, _comments(row))]
    for activity in row.activities:
        for event in events_of(row._replace(activity=activity), emitter):
            if event.type not in _CREATED:
                yield event.id
        for stream in (PUBLIC, RESTRICTED):
            for types, numbers in parts:
                for type_ in types:
                    for number in numbers:
                        yield emitter.id_of(stream, type_, str(number), str(activity), str(row.at))


def _attachments(row: Row) -> set[int]:
    if row.kind != ATTACHMENT_UPDATE:
        return set()
    # A view that hides an attachment has only its number.
    return {view.get("attachment", view)["id"] for view in row.views.values()}


def _comments(row: Row) -> set[int]:
    numbers: set[int] = set()
    for view in row.views.values():
        numbers.update(view.get("comments_hidden", ()))
        numbers.update(comment["id"] for comment in view.get("comments_published", ()))
    return numbers
