# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a careful user of stomp.py writes to publish safely: nothing counts as sent before its receipt came."""

from __future__ import annotations

import threading
from typing import Any

import stomp

from bench.sample import PLAIN_BODY

#: Messages under way together.
BATCH_MESSAGES = 100
WAIT_SECONDS = 30.0
HEARTBEAT_MILLISECONDS = 10_000


class _Receipts(stomp.ConnectionListener):  # type: ignore[misc] # stomp.py has no types
    """The receipts that are still waited for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._missing: set[str] = set()
        self._failure = ""

    def expect(self, name: str) -> None:
        with self._changed:
            self._missing.add(name)

    def wait_for_all(self) -> None:
        with self._changed:
            came = self._changed.wait_for(lambda: self._failure or not self._missing, WAIT_SECONDS)
            assert not self._failure, self._failure
            assert came, f"{len(self._missing)} receipts did not come"

    def on_receipt(self, frame: Any) -> None:
        with self._changed:
            self._missing.discard(frame.headers["receipt-id"])
            if not self._missing:
                self._changed.notify()

    def on_error(self, frame: Any) -> None:
        self._fail(f"{frame.headers.get('message')}: {frame.body}")

    def on_disconnected(self) -> None:
        self._fail("disconnected")

    def _fail(self, why: str) -> None:
        with self._changed:
            self._failure = why
            self._changed.notify()


class StompPyPublisher:
    """A connection of stock stomp.py, and its two safe ways to publish many messages."""

    def __init__(self, port: int, user: tuple[str, str], *, vhost: str | None, destination: str) -> None:
        heartbeats = (HEARTBEAT_MILLISECONDS, HEARTBEAT_MILLISECONDS)
        self._connection = stomp.Connection12([("127.0.0.1", port)], heartbeats=heartbeats, vhost=vhost)
        self._receipts = _Receipts()
        self._connection.set_listener("receipts", self._receipts)
        self._connection.connect(*user, wait=True)
        self._destination = destination
        self._count = 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    def receipt_on_each(self, count: int) -> None:
        """Send batches with a receipt on every message, each batch after the receipts of the one before."""
        for begin in range(0, count, BATCH_MESSAGES):
            for _ in range(min(BATCH_MESSAGES, count - begin)):
                self._send({"receipt": self._expect()})
            self._receipts.wait_for_all()

    def transactions(self, count: int) -> None:
        """Send batches as transactions, each after the receipt for the COMMIT of the one before."""
        for begin in range(0, count, BATCH_MESSAGES):
            transaction = self._connection.begin()
            for _ in range(min(BATCH_MESSAGES, count - begin)):
                self._send({"transaction": transaction})
            self._connection.commit(transaction, headers={"receipt": self._expect()})
            self._receipts.wait_for_all()

    def _send(self, headers: dict[str, str]) -> None:
        self._connection.send(
            self._destination,
            PLAIN_BODY,
            content_type="application/json",
            headers={"persistent": "true", **headers},
        )

    def _expect(self) -> str:
        self._count += 1
        name = f"receipt-{self._count}"
        self._receipts.expect(name)
        return name
