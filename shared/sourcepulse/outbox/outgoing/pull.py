# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Stored events for one reader: read from the outbox, not sent again by the relay, and so seen by no other consumer."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sourcepulse.errors import DecodeError
from sourcepulse.events.event import PUBLIC, Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import CLAIMED_COLUMNS, DELIVERED, PENDING, Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import ASKED_SCHEMES, Gate, check_openers

#: How many events are read from the file at a time.
READ_ROWS = 100

logger = logging.getLogger(__name__)


class Selection(NamedTuple):
    """Some events of one stream: a condition on the table `events e` and its values.

    `goes_on` if it includes the events that are stored meanwhile.
    """

    stream: str
    condition: str
    values: tuple[object, ...]
    goes_on: bool = False


class Pulled(NamedTuple):
    """An event as it may be shown now, and its bytes in the outbox."""

    event: Event
    body: bytes


class Pull:
    """The selected events of an outbox in the order of storing, each checked right before it is returned.

    `next` and `close` are for one thread at a time.
    """

    def __init__(self, path: Path, selection: Selection, takes: Callable[[str], bool]) -> None:
        self._outbox = Outbox.open(path, create=False)
        #: The outbox and the stream.
        self.origin = path, selection.stream
        self.goes_on = selection.goes_on
        self._selection = selection
        self._takes = takes
        # As in the relay: who may read the restricted stream may read all of it.
        self._gate = Gate(self._outbox, check_openers()) if selection.stream == PUBLIC else None
        self._read: deque[Claimed] = deque()
        self._position = 0

    def is_asked(self) -> bool:
        """Return whether the next event has to be checked, so that it must not be fetched before it is needed."""
        self._fill()
        return bool(self._read) and self._read[0].source.partition("://")[0] in ASKED_SCHEMES

    def next(self) -> Pulled | None:
        """Return the next event, None if there is none.

        VisibilityUnknownError if it is not known now whether the event is public; it was not returned. OutboxError.
        """
        while True:
            self._fill()
            if not self._read:
                return None
            claimed = self._read[0]
            if self._gate is not None:
                ((_, claimed, refusal),) = self._gate.passing([(claimed.position, claimed)], ready=lambda: None)
            else:
                refusal = None
            self._read.popleft()
            try:
                if refusal is None:
                    event = decode(claimed.body, routing_key=claimed.routing_key)
                    return Pulled(event._replace(replayed=True), claimed.body)
            except DecodeError as error:
                refusal = str(error)
            logger.warning("the stored event at position %d is left out: %s", claimed.position, refusal)

    def close(self) -> None:
        """Close the outbox and the check; may be called again."""
        if self._gate is not None:
            self._gate.close()
        self._outbox.close()

    def _fill(self) -> None:
        while not self._read:
            with self._outbox.reading() as db:
                rows = db.execute(
                    f"SELECT {CLAIMED_COLUMNS} FROM events e JOIN bodies b USING (position) "  # noqa: S608 - made of constants
                    f"WHERE e.position > ? AND e.stream = ? AND {self._selection.condition} "
                    "ORDER BY e.position LIMIT ?",
                    (self._position, self._selection.stream, *self._selection.values, READ_ROWS),
                ).fetchall()
            if not rows:
                return
            self._position = rows[-1][0]
            self._read.extend(each for each in map(Claimed._make, rows) if self._takes(each.routing_key))


def since(stored_at: float, stream: str) -> Selection:
    """Select what was stored since a time, also what waits: it may be sent before a reader subscribes."""
    return Selection(
        stream, f"e.stored_at >= ? AND e.state IN ('{DELIVERED}', '{PENDING}')", (stored_at,), goes_on=True
    )


def with_ids(ids: Sequence[str], stream: str) -> Selection:
    """Select events by their ids."""
    return Selection(stream, f"e.id IN ({','.join('?' * len(ids))})", tuple(ids))
