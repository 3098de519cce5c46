# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to the embedded log: a batch is one commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.brokers.file.dead_consumers import ear_path
from sourcepulse.brokers.file.envelopes import envelope_of
from sourcepulse.brokers.file.log import (
    KEEP_BYTES,
    KEEP_SECONDS,
    SWEEP_SECONDS,
    TRIM_ROWS,
    append,
    sweep,
    trim,
)
from sourcepulse.brokers.file.routes import Router
from sourcepulse.brokers.file.tables import LogFile, opened
from sourcepulse.brokers.file.upkeep import obey_unread, scrub
from sourcepulse.brokers.file.withdrawal.decision import may_withdraw
from sourcepulse.errors import BrokerError
from sourcepulse.events.topics import KEY_MAX_BYTES
from sourcepulse.wake.send import send_wake

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: The largest body that the log accepts.
MESSAGE_MAX_BYTES = 1 << 20
#: The most messages in one commit.
WINDOW = 500


class LocalPublisher:
    """Appends to the log; everything sent since the last `settle` becomes durable in one commit.

    Publishers also trim the log, by a bounded number of messages with each commit. With `once`, an event that the log
    has by source and id is settled as delivered and not stored again: for a bridge, which may receive it again.
    """

    window = WINDOW

    def __init__(
        self,
        url: BrokerUrl,
        *,
        exchange: str,
        keep_bytes: int = KEEP_BYTES,
        keep_seconds: float = KEEP_SECONDS,
        once: bool = False,
    ) -> None:
        self._path = Path(url.path)
        self._exchange = exchange
        self._keep_bytes = keep_bytes
        self._keep_seconds = keep_seconds
        self._once = once
        self._log: LogFile | None = None
        self._router: Router | None = None
        self._batch: list[Message] = []
        self._refused: list[Settlement] = []

    def open(self) -> None:
        """Open the log, creating it if missing; raises what LogFile raises."""
        self.abandon()
        self._log = LogFile(self._path)

    def send(self, message: Message) -> None:
        """Buffer the message for the next `settle`; one that the log never accepts is settled as refused."""
        if len(message.body) > MESSAGE_MAX_BYTES:
            self._refuse(message, f"the message has {len(message.body)} bytes; the log allows {MESSAGE_MAX_BYTES}")
        elif len(message.routing_key.encode()) > KEY_MAX_BYTES:
            self._refuse(message, f"the routing key is longer than {KEY_MAX_BYTES} bytes")
        else:
            self._batch.append(message)

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:  # noqa: ARG002 - the commit is the news
        """Append the buffered messages and return the outcome of each; nothing is left unsettled.

        BrokerUnavailableError if the log is locked for too long or gone, or its disk is full: nothing was stored.
        """
        log = opened(self._log, self._path)
        settled, self._refused = self._refused, []
        if self._batch:
            log.check_in_place()
            if any(may_withdraw(envelope_of(message).type) for message in self._batch):
                obey_unread(log)
            now = time.time()
            with log.write() as db:
                self._router = Router.load(db, self._router)
                routed, queues = append(db, self._router, self._exchange, self._batch, now, once=self._once)
                trim(
                    db,
                    max(TRIM_ROWS, 2 * len(routed)),
                    now,
                    keep_bytes=self._keep_bytes,
                    keep_seconds=self._keep_seconds,
                    router=self._router,
                )
                swept_at, must_scrub = db.execute("SELECT swept_at, scrub FROM log").fetchone()
                if not 0 <= now - swept_at < SWEEP_SECONDS:
                    sweep(db, self._path, now)
                consumers = db.execute("SELECT queue, token FROM consumers").fetchall()
            for token in {token for queue, token in consumers if queue in queues}:
                send_wake(ear_path(self._path, token))
            settled += [
                Settlement(message.tag, Outcome.DELIVERED if bound else Outcome.UNROUTABLE)
                for message, bound in zip(self._batch, routed, strict=True)
            ]
            self._batch = []
            if must_scrub:
                # The batch is stored, and a later one tries again.
                with suppress(BrokerError):
                    scrub(log)
        return settled

    def abandon(self) -> None:
        """Close the log and forget the unsettled messages."""
        self._batch = []
        self._refused = []
        if self._log is not None:
            self._log.close()
            self._log = None

    def close(self) -> None:
        self.abandon()

    def _refuse(self, message: Message, reason: str) -> None:
        self._refused.append(Settlement(message.tag, Outcome.REFUSED, reason))
