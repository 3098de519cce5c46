# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The embedded log as a conformance test uses it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sourcepulse.brokers.file.admin import dead_letters, delete_queue, queue_statistics
from sourcepulse.brokers.file.publisher import MESSAGE_MAX_BYTES
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import NothingThereError
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.messages import DeadLetter, message


class FileBroker(BrokerUnderTest):
    """The embedded log."""

    is_remote = False
    message_max_bytes = MESSAGE_MAX_BYTES

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._url = BrokerUrl(scheme="file", path=str(folder / "log.db"))

    @property
    def url(self) -> str:
        return str(self._url)

    def publish_as_a_stranger(self, routing_key: str, body: bytes) -> None:
        # The log has no other clients.
        self.publish(message(0, key=routing_key, body=body))

    def take_dead(self, queue: str) -> list[DeadLetter]:
        with suppress(NothingThereError):
            return [
                DeadLetter(routing_key=letter.routing_key, body=letter.body, reason=letter.reason)
                for letter in dead_letters(self._url, queue)
            ]
        return []

    def remove_queue(self) -> None:
        delete_queue(self._url, self.queue)

    def queues(self) -> set[str]:
        """Name all queues, those in use by others included."""
        return {queue.name for queue in queue_statistics(self._url)}
