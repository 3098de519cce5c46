# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing over STOMP: the part common to both brokers."""

from __future__ import annotations

import time
from abc import abstractmethod
from contextlib import suppress
from typing import Any

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.brokers.network.publisher import ConfirmedPublisher
from sourcepulse.brokers.stomp.connection import StompConnection
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError
from sourcepulse.errors import BrokerBlockedError, BrokerRefusedUsError, BrokerUnavailableError


class StompPublisher(ConfirmedPublisher):
    """Publishes to one exchange over STOMP, see `Publisher`.

    A receipt is a confirm. After an ERROR frame the search for its message continues over a new connection. A
    message whose routing key we may not use is refused only if another message is accepted; otherwise we lack the
    right to publish at all. A message that no queue receives counts as delivered, because STOMP does not report it.
    """

    _Connection = StompConnection
    _Refusal = ErrorFrameError
    _connection: StompConnection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: Messages whose keys were refused while no other message has been accepted yet.
        self._forbidden: list[tuple[Message, str]] = []
        self._took_some = False

    def abandon(self) -> None:
        super().abandon()
        self._forbidden.clear()

    @abstractmethod
    def _headers(self, message: Message) -> dict[str, str]:
        """Return the headers of a message."""

    @abstractmethod
    def _destination(self, message: Message) -> str:
        """Return the destination of a message."""

    def _make_exchange(self, error: ErrorFrameError) -> None:
        """Declare the missing exchange; BrokerRefusedUsError if that is impossible."""
        raise BrokerRefusedUsError(f"{self._connection.host} does not have the exchange: {error}")

    def _is_searching(self) -> bool:
        return bool(self._forbidden) or super()._is_searching()

    def _request(self, message: Message, headers: dict[str, str]) -> None:
        self._connection.requests.send(
            self._destination(message),
            message.body,
            content_type=message.content_type,
            headers={**self._headers(message), **headers},
        )

    def _write_alone(self, message: Message) -> None:
        if self._connection.requests is None:
            raise BrokerUnavailableError(f"the connection to {self._url} is not open")
        self._expect([message], receipt := self._connection.receipt())
        self._request(message, {"receipt": receipt})

    def _read(self, wait_s: float) -> bool:
        frame = self._connection.read(wait_s)
        self._handle(frame)
        return frame is not None

    def _handle(self, frame: Any | None) -> None:
        if frame is None or frame.cmd != "RECEIPT":
            return
        messages = self._unsettled.pop(frame.headers.get("receipt-id", ""), None)
        if messages is None:
            return
        self._progress_at = time.monotonic()
        self._took_some = True
        self._settled += [Settlement(message.tag, Outcome.DELIVERED) for message in messages]

    def _proceed(self) -> None:
        if self._forbidden and not self._unsettled and not self._suspects:
            if self._took_some:
                self._settled += [Settlement(message.tag, Outcome.REFUSED, text) for message, text in self._forbidden]
                self._forbidden.clear()
            elif self._later:
                self._suspects, self._later = self._later, self._suspects
            else:
                raise BrokerRefusedUsError(f"{self._connection.host} refuses us: {self._forbidden[0][1]}")
        super()._proceed()

    def _search(self, error: Any) -> None:
        if error.blame is not Blame.MISSING:
            super()._search(error)
            return
        self._later.extendleft(reversed([*self._sent(), *self._suspects]))
        self._suspects.clear()
        self._forget_sent()
        try:
            self._make_exchange(error)
            self._reopen()
        except BrokerUnavailableError as another:
            self._fail(another)

    def _refuse(self, message: Message, error: Any) -> None:
        if error.blame is Blame.KEY:
            self._forbidden.append((message, error.text))
        else:
            super()._refuse(message, error)

    def _reopen(self) -> None:
        # RabbitMQ closed the connection; ActiveMQ did not, and may still answer earlier messages.
        self._connection.open()

    def _raise_unless_a_message_is_to_blame(self, error: Any, under_way: int) -> None:
        host = self._connection.host
        if error.blame in (Blame.MESSAGE, Blame.KEY) or (error.blame is Blame.UNKNOWN and under_way > 1):
            return
        if error.blame is Blame.US:
            raise BrokerRefusedUsError(f"{host} refuses us: {error}")
        raise BrokerBlockedError(f"{host} stores nothing for now: {error}")

    def _lost(self, error: BrokerUnavailableError) -> None:
        """Handle the broker's last frames: an ERROR among them may blame a message."""
        with suppress(ErrorFrameError):
            for frame in self._connection.last_words():
                if frame.cmd == "ERROR":
                    self._search(ErrorFrameError(frame, self._url.password))
                    return
                self._handle(frame)
        self._fail(error)
