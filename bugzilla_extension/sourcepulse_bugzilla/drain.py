# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Move rows from Bugzilla's table to the outbox: they are deleted only after their events are stored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple

from sourcepulse.errors import EventError
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import count_collect_errors
from sourcepulse_bugzilla.errors import DrainerError, RowError
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import Row, read_row
from sourcepulse_bugzilla.perl.requests import Drainer
from sourcepulse_bugzilla.visibility.folders import ORIGIN_KIND

logger = logging.getLogger(__name__)


class Drained(NamedTuple):
    """The result of one batch: the number of rows published and buried, and of rows still waiting."""

    published: int
    buried: int
    left: int


def drain_batch(drainer: Drainer, outbox: Outbox, emitter: Emitter) -> Drained:
    """Move the oldest rows, with one commit in the outbox.

    A crash between the outbox and the table causes a repeat, which the outbox recognizes by its ids. On OutboxError
    and on errors of the drainer, the rows stay where they are.
    """
    fetched = drainer.next()
    made: dict[int, list[Event]] = {}
    refused: dict[int, str] = {}
    for raw in fetched.rows:
        try:
            made[raw["id"]] = events_of_raw(raw, emitter)[1]
        except RowError as error:
            refused[raw["id"]] = str(error)
    _store(outbox, made, refused, emitter)
    gone = drainer.ack(list(made)) if made else 0
    for row_id, reason in refused.items():
        drainer.bury(row_id, reason)
        logger.error("row %d of Bugzilla's table is buried: %s", row_id, reason)
    if refused:
        count_collect_errors(outbox, ORIGIN_KIND, len(refused))
    if fetched.rows and not gone and not refused:
        raise DrainerError("rows stay in Bugzilla's table although they were acknowledged")
    return Drained(published=len(made), buried=len(refused), left=max(0, fetched.depth - len(fetched.rows)))


def events_of_raw(raw: Mapping[str, Any], emitter: Emitter) -> tuple[Row, list[Event]]:
    """Read a row and return it with its events; RowError if anything is wrong with it, or with our code."""
    try:
        row = read_row(raw)
        return row, events_of(row, emitter)
    except RowError:
        raise
    except Exception as error:  # noqa: BLE001 - one row must not block all others
        raise RowError(f"no events could be made of it: {_described(error)}") from None


def _described(error: Exception) -> str:
    """Return the type of an error, the line that raised it, and the member that is missing there.

    The text of an error could contain values of the row, so a member is named only if our code contains its name.
    """
    frame, line = list(walk_tb(error.__traceback__))[-1]
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    missing = f" {key}" if isinstance(key, str) and key in frame.f_code.co_consts else ""
    return f"{type(error).__name__}{missing} ({Path(frame.f_code.co_filename).name}, line {line})"


def _store(outbox: Outbox, made: dict[int, list[Event]], refused: dict[int, str], emitter: Emitter) -> None:
    events = [event for of_row in made.values() for event in of_row]
    if _append(outbox, events, emitter):
        return
    # One of the rows cannot be written, and nothing of that commit was stored.
    for row_id, of_row in list(made.items()):
        if not _append(outbox, of_row, emitter):
            refused[row_id] = "its events cannot be written as JSON"
            del made[row_id]


def _append(outbox: Outbox, events: Sequence[Event], emitter: Emitter) -> bool:
    try:
        if events:
            outbox.append(events, max_bytes=emitter.max_bytes)
    except EventError:
        return False
    return True
