# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing over STOMP: the part common to both brokers, and the search for a message that a broker refuses."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.brokers.stomp.connection import CALL_LIMIT_SECONDS, CONNECT_LIMIT_SECONDS, StompConnection
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from sourcepulse.events.topics import KEY_MAX_BYTES

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: How long the broker may send no receipt while messages wait for one.
CONFIRM_LIMIT_SECONDS = 15.0
#: How many receipts that have arrived are read in one call.
FRAMES_AT_ONCE = 1000


class StompPublisher(ABC):
    """Publishes to one exchange over STOMP, see `Publisher`.

    A receipt is a confirm. An ERROR frame rarely names its message: all unsettled messages are then sent again over
    a new connection, one at a time, and only the one that fails is refused. A message whose routing key we may not
    use is refused only if another message is accepted; otherwise we lack the right to publish at all. A message
    that no queue receives counts as delivered, because STOMP does not report it.
    """

    window: int

    def __init__(
        self,
        url: BrokerUrl,
        *,
        exchange: str,
        confirm_limit_s: float = CONFIRM_LIMIT_SECONDS,
        connect_limit_s: float = CONNECT_LIMIT_SECONDS,
        call_limit_s: float = CALL_LIMIT_SECONDS,
    ) -> None:
        self._url = url
        self._exchange = exchange
        self._confirm_limit_s = confirm_limit_s
        self._connect_limit_s = connect_limit_s
        self._call_limit_s = call_limit_s
        self._connection = StompConnection(url, connect_limit_s=connect_limit_s, call_limit_s=call_limit_s)
        #: The messages of each receipt, oldest first; only one while suspects are tried.
        self._unsettled: dict[str, list[Message]] = {}
        #: One of these messages caused an error; they have not been tried alone yet.
        self._suspects: deque[Message] = deque()
        #: Sent by the caller since then; published together after the last suspect.
        self._later: deque[Message] = deque()
        #: Messages whose keys were refused while no other message has been accepted yet.
        self._forbidden: list[tuple[Message, str]] = []
        self._took_some = False
        self._settled: list[Settlement] = []
        self._failure: BrokerUnavailableError | None = None
        self._progress_at = 0.0

    def open(self) -> None:
        """Connect; STOMP cannot check the exchange before the first message."""
        self.abandon()
        self._connection.open()

    def send(self, message: Message) -> None:
        """Buffer the message; it is sent when there are many, or when `settle` is called."""
        if self._failure is not None:
            raise self._failure
        if (wrong := self._unwritable(message)) is not None:
            self._settled.append(Settlement(message.tag, Outcome.REFUSED, wrong))
            return
        if self._is_searching():
            self._later.append(message)
            return
        try:
            self._write(message)
        except BrokerUnavailableError as error:
            self._broken(error)

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        """Read receipts until some have arrived, or the wait is over."""
        deadline = time.monotonic() + wait_seconds
        while True:
            if self._failure is None:
                try:
                    self._read_receipts(deadline)
                except ErrorFrameError as error:
                    self._refused(error)
                except BrokerUnavailableError as error:
                    self._broken(error)
            # Settlements are returned before the failure is raised, so that these messages are not sent again.
            if self._settled:
                settled, self._settled = self._settled, []
                return settled
            if self._failure is not None:
                raise self._failure
            if time.monotonic() >= deadline or not self._is_busy():
                return []

    def abandon(self) -> None:
        """Drop the connection and forget the unsettled messages."""
        self._connection.abandon()
        self._forget_sent()
        self._suspects.clear()
        self._later.clear()
        self._forbidden.clear()
        self._settled = []
        self._failure = None

    def close(self) -> None:
        """Disconnect cleanly if nothing is unsettled, else abandon."""
        if not self._is_busy() and self._failure is None:
            self._connection.close()
        self.abandon()

    @abstractmethod
    def _write(self, message: Message) -> None:
        """Write one message in the fastest way that is safe with this broker."""

    @abstractmethod
    def _headers(self, message: Message) -> dict[str, str]:
        """Return the headers of a message."""

    @abstractmethod
    def _destination(self, message: Message) -> str:
        """Return the destination of a message."""

    def _conclude(self) -> None:  # noqa: B027 - most have nothing to do here
        """Request the receipts of the messages written, if they are not requested with each message."""

    def _unwritable(self, message: Message) -> str | None:
        """Return why a message has no valid destination, for which a broker would close the connection, or None."""
        if len(message.routing_key.encode("utf-8", "replace")) > KEY_MAX_BYTES:
            return f"its routing key has more than {KEY_MAX_BYTES} bytes"
        return None

    def _make_exchange(self, error: ErrorFrameError) -> None:
        """Declare the missing exchange; BrokerRefusedUsError if that is impossible."""
        raise BrokerRefusedUsError(f"{self._connection.host} does not have the exchange: {error}")

    def _sent(self) -> list[Message]:
        """Return every message that was written and is not settled, oldest first."""
        return [message for messages in self._unsettled.values() for message in messages]

    def _forget_sent(self) -> None:
        self._unsettled.clear()

    def _is_busy(self) -> bool:
        return bool(self._unsettled or self._is_searching())

    def _is_searching(self) -> bool:
        return bool(self._suspects or self._later or self._forbidden)

    def _request(self, message: Message, headers: dict[str, str]) -> None:
        self._connection.requests.send(
            self._destination(message),
            message.body,
            content_type=message.content_type,
            headers={**self._headers(message), **headers},
        )

    def _write_alone(self, message: Message) -> None:
        """Write one message with a receipt of its own."""
        if self._connection.requests is None:
            raise BrokerUnavailableError(f"the connection to {self._url} is not open")
        self._expect([message], receipt := self._connection.receipt())
        self._request(message, {"receipt": receipt})

    def _expect(self, messages: list[Message], receipt: str) -> None:
        if not self._unsettled:
            self._progress_at = time.monotonic()
        self._unsettled[receipt] = messages

    def _read_receipts(self, deadline: float) -> None:
        """Read until something is settled or the deadline is over; then read what else has arrived."""
        self._try_next()
        self._conclude()
        self._connection.flush()
        while self._unsettled and not self._settled:
            now = time.monotonic()
            overdue_at = self._progress_at + self._confirm_limit_s
            if now >= overdue_at:
                raise BrokerUnavailableError(
                    f"{self._connection.host} confirmed nothing for {self._confirm_limit_s:g} s"
                )
            if now >= deadline:
                break
            self._take_in(self._connection.read(min(deadline, overdue_at) - now))
            self._try_next()
            self._conclude()
        for _ in range(FRAMES_AT_ONCE):
            if (frame := self._connection.read(0)) is None:
                break
            self._take_in(frame)
        self._conclude()
        self._connection.flush()

    def _take_in(self, frame: Any | None) -> None:
        if frame is None or frame.cmd != "RECEIPT":
            return
        messages = self._unsettled.pop(frame.headers.get("receipt-id", ""), None)
        if messages is None:
            return
        self._progress_at = time.monotonic()
        self._took_some = True
        self._settled += [Settlement(message.tag, Outcome.DELIVERED) for message in messages]

    def _try_next(self) -> None:
        """Continue the search for the message to blame, if there is one."""
        if self._unsettled or not self._is_searching():
            return
        if self._suspects:
            self._write_alone(self._suspects.popleft())
            return
        if self._forbidden and not self._took_some:
            if not self._later:
                raise BrokerRefusedUsError(f"{self._connection.host} refuses us: {self._forbidden[0][1]}")
            self._suspects, self._later = self._later, self._suspects
            self._write_alone(self._suspects.popleft())
            return
        self._settled += [Settlement(message.tag, Outcome.REFUSED, text) for message, text in self._forbidden]
        self._forbidden.clear()
        while self._later:
            self._write(self._later.popleft())

    def _refused(self, error: ErrorFrameError) -> None:
        """Continue after an ERROR frame; a message that was sent alone caused the error."""
        waiting = self._sent()
        self._forget_sent()
        try:
            if error.blame is Blame.MISSING:
                self._make_exchange(error)
                self._later.extendleft(reversed([*waiting, *self._suspects]))
                self._suspects.clear()
                self._connection.open()
                return
            self._raise_unless_a_message_is_to_blame(error, len(waiting))
            if len(waiting) != 1:
                self._suspects.extendleft(reversed(waiting))
            elif error.blame is Blame.KEY:
                self._forbidden.append((waiting[0], error.text))
            else:
                self._settled.append(Settlement(waiting[0].tag, Outcome.REFUSED, error.text))
            # RabbitMQ closed the connection; ActiveMQ did not, and may still answer earlier messages.
            self._connection.open()
        except BrokerUnavailableError as another:
            self._failure = another

    def _raise_unless_a_message_is_to_blame(self, error: ErrorFrameError, under_way: int) -> None:
        host = self._connection.host
        if error.blame in (Blame.MESSAGE, Blame.KEY) or (error.blame is Blame.UNKNOWN and under_way > 1):
            return
        if error.blame is Blame.US:
            raise BrokerRefusedUsError(f"{host} refuses us: {error}")
        raise BrokerUnavailableError(f"{host} stores nothing for now: {error}")

    def _broken(self, error: BrokerUnavailableError) -> None:
        """Store why the connection is unusable, after handling the broker's last frames."""
        with suppress(ErrorFrameError):
            for frame in self._connection.last_words():
                if frame.cmd == "ERROR":
                    self._refused(ErrorFrameError(frame, self._url.password))
                    return
                self._take_in(frame)
        self._failure = error
