# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing with confirms, whatever the protocol, and the search for the one message that a broker refuses."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.brokers.network.connection import CALL_LIMIT_SECONDS, CONNECT_LIMIT_SECONDS, BrokerConnection
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.events.topics import KEY_MAX_BYTES

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: How long the broker may confirm nothing while messages wait for it.
CONFIRM_LIMIT_SECONDS = 15.0
#: How many frames that have arrived are read in one call.
FRAMES_AT_ONCE = 10_000


class ConfirmedPublisher(ABC):
    """Publishes to one exchange over one connection, each message confirmed, see `Publisher`.

    A broker's error rarely names the message that caused it: all unsettled messages are then sent again one at a
    time, and only the one that fails is refused.
    """

    window: int
    #: The class of the connection, and the error that one message may have caused.
    _Connection: ClassVar[type[BrokerConnection]]
    _Refusal: ClassVar[type[Exception]]
    _connection: BrokerConnection

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
        self._limits = {"connect_limit_s": connect_limit_s, "call_limit_s": call_limit_s}
        self._connection = self._Connection(url, **self._limits)
        #: The messages of each confirm, oldest first; only one while suspects are tried.
        self._unsettled: dict[Any, Sequence[Message]] = {}
        #: One of these messages caused an error; they have not been tried alone yet.
        self._suspects: deque[Message] = deque()
        #: Sent by the caller since then; published together after the last suspect.
        self._later: deque[Message] = deque()
        self._settled: list[Settlement] = []
        self._failure: BrokerUnavailableError | None = None
        self._progress_at = 0.0

    def open(self) -> None:
        """Connect."""
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
        except self._Refusal as error:
            self._search(error)
        except BrokerUnavailableError as error:
            self._lost(error)

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        """Read confirms until some have arrived, or the wait is over."""
        deadline = time.monotonic() + wait_seconds
        while True:
            if self._failure is None:
                try:
                    self._read_confirms(deadline)
                except self._Refusal as error:
                    self._search(error)
                except BrokerUnavailableError as error:
                    self._lost(error)
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
        self._settled = []
        self._failure = None

    def close(self) -> None:
        """Disconnect cleanly if nothing is unsettled, else abandon."""
        if not self._is_busy() and self._failure is None:
            self._connection.close()
        self.abandon()

    @abstractmethod
    def _write(self, message: Message) -> None:
        """Write one message in the fastest way that is safe with this broker, and expect its confirm."""

    def _write_alone(self, message: Message) -> None:
        """Write one message with a confirm of its own."""
        self._write(message)

    @abstractmethod
    def _read(self, wait_s: float) -> bool:
        """Handle the next frame, waiting at most `wait_s`; False if none came."""

    @abstractmethod
    def _reopen(self) -> None:
        """Make the connection usable again after the broker's error."""

    @abstractmethod
    def _raise_unless_a_message_is_to_blame(self, error: Any, under_way: int) -> None:
        """Raise BrokerUnavailableError unless one of the messages under way caused the error."""

    def _refuse(self, message: Message, error: Any) -> None:
        """Settle the message that was sent alone and caused the error."""
        self._settled.append(Settlement(message.tag, Outcome.REFUSED, str(error)))

    def _unwritable(self, message: Message) -> str | None:
        """Return why the protocol cannot express the message, or None."""
        if len(message.routing_key.encode("utf-8", "replace")) > KEY_MAX_BYTES:
            return f"its routing key has more than {KEY_MAX_BYTES} bytes"
        return None

    def _sent(self) -> list[Message]:
        """Return every message that was written and is not settled, oldest first."""
        return [message for messages in self._unsettled.values() for message in messages]

    def _forget_sent(self) -> None:
        self._unsettled.clear()

    def _is_busy(self) -> bool:
        return bool(self._unsettled or self._is_searching())

    def _is_searching(self) -> bool:
        return bool(self._suspects or self._later)

    def _expect(self, messages: Sequence[Message], confirm: object) -> None:
        if not self._unsettled:
            self._progress_at = time.monotonic()
        self._unsettled[confirm] = messages

    def _read_confirms(self, deadline: float) -> None:
        """Read until something is settled or failed, or until the deadline; then read what else has arrived."""
        self._proceed()
        while self._unsettled and not self._settled and self._failure is None:
            now = time.monotonic()
            overdue_at = self._progress_at + self._confirm_limit_s
            if now >= overdue_at:
                raise BrokerUnavailableError(
                    f"{self._connection.host} confirmed nothing for {self._confirm_limit_s:g} s"
                )
            if now >= deadline:
                break
            self._read(min(deadline, overdue_at) - now)
            self._proceed()
        for _ in range(FRAMES_AT_ONCE):
            if not self._read(0):
                break
        self._proceed()
        self._connection.flush()

    def _proceed(self) -> None:
        """Send the next suspect alone, or, after the last of them, what the caller sent since."""
        if self._unsettled or self._failure is not None:
            return
        if self._suspects:
            self._write_alone(self._suspects.popleft())
            return
        while self._later:
            self._write(self._later.popleft())

    def _search(self, error: Exception) -> None:
        """Continue after an error of the broker; a message that was alone under way caused the error."""
        waiting = self._sent()
        self._forget_sent()
        try:
            self._raise_unless_a_message_is_to_blame(error, len(waiting))
            if len(waiting) == 1:
                self._refuse(waiting[0], error)
            else:
                self._suspects.extendleft(reversed(waiting))
            self._reopen()
        except BrokerUnavailableError as another:
            self._fail(another)

    def _lost(self, error: BrokerUnavailableError) -> None:
        """Handle the loss of the connection."""
        self._fail(error)

    def _fail(self, error: BrokerUnavailableError) -> None:
        """Store why the connection is unusable; the first reason counts."""
        if self._failure is None:
            self._failure = error
