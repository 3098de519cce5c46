# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One STOMP 1.2 connection that never hangs: stomp.py's frames on a bounded socket, without threads."""

from __future__ import annotations

import logging
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sourcepulse.brokers.bounded_socket import BoundedSocket, Limits, PeerReadsNothingError
from sourcepulse.brokers.network.connection import CLOSE_LIMIT_SECONDS, TICK_SECONDS, BrokerConnection
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError, NotStompError, frames_to, heartbeats, take_frame
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError

#: ActiveMQ closes about 3 % of the connections that it refuses before it sends the reason.
LOGIN_ATTEMPTS = 3
#: We send a heartbeat after this share of our interval; the broker counts as gone after this many of its intervals.
HEARTBEAT_SEND_SHARE = 1 / 3
HEARTBEAT_PATIENCE = 2.0
#: Characters that CONNECT cannot contain (STOMP 1.2, "Value Encoding").
_UNWRITABLE = "\r\n\0"

logger = logging.getLogger(__name__)


class _EndedAtLoginError(BrokerUnavailableError):
    """The connection ended without an answer to our login."""


class StompConnection(BrokerConnection):
    """A STOMP connection, see `BrokerConnection`.

    An ERROR frame is raised as ErrorFrameError; after it RabbitMQ closes the connection and ActiveMQ does not.
    """

    _protocol = "STOMP"
    _tls_scheme = "stomps+..."

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._socket: BoundedSocket | None = None
        #: Frames that arrived while waiting for another one.
        self._waiting: deque[Any] = deque()
        self._receipts = 0
        self._ours_s = self._theirs_s = 0.0
        #: stomp.py's requests; what they write is sent by the next `flush` or wait.
        self.requests: Any = None

    @property
    def stands(self) -> bool:
        """Return whether the connection is open, as far as is known."""
        return self._socket is not None and self._socket.connected

    def open(self) -> None:
        self._check_login()
        super().open()

    def receipt(self) -> str:
        """Return a receipt name that was not used on this connection before."""
        self._receipts += 1
        return f"r{self._receipts}"

    def flush(self) -> None:
        connection = self._opened()
        try:
            connection.flush()
        except OSError as error:
            raise self._unavailable(error) from error

    def call(self, request: Callable[[str], object]) -> None:
        """Run a request with a receipt name and wait for the receipt; other frames are kept for `read`."""
        self._opened()
        name = self.receipt()
        request(name)
        deadline = time.monotonic() + self._call_limit_s
        passed: list[Any] = []
        try:
            while (frame := self._next(deadline)) is not None:
                if frame.cmd == "ERROR":
                    raise ErrorFrameError(frame, self._url.password)
                if frame.cmd == "RECEIPT" and frame.headers.get("receipt-id") == name:
                    return
                passed.append(frame)
                # Other frames may keep arriving without end.
                if time.monotonic() >= deadline:
                    break
            raise BrokerUnavailableError(f"{self.host} does not answer within {self._call_limit_s:g} s")
        finally:
            self._waiting.extend(passed)

    def subscribe(self, number: int | str, destination: str, headers: dict[str, str]) -> None:
        """Consume under a number, with an acknowledgement for each message, once the broker has agreed."""
        self.call(
            lambda receipt: self.requests.subscribe(
                destination, number, ack="client-individual", headers={**headers, "receipt": receipt}
            )
        )

    def unsubscribe(self, number: int | str) -> None:
        self.call(lambda receipt: self.requests.unsubscribe(number, receipt=receipt))

    def send(self, destination: str, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        """Send a persistent message, once the broker has stored it."""
        self.call(
            lambda receipt: self.requests.send(
                destination,
                body,
                content_type=content_type or None,
                headers={**headers, "persistent": "true", "receipt": receipt},
            )
        )

    def read(self, wait_s: float) -> Any | None:
        """Return the next frame, waiting at most `wait_s` with heartbeats; None if none came."""
        if self._waiting:
            return self._waiting.popleft()
        frame = self._next(time.monotonic() + wait_s)
        if frame is not None and frame.cmd == "ERROR":
            raise ErrorFrameError(frame, self._url.password)
        return frame

    def last_words(self) -> list[Any]:
        """Return the frames that arrived before the connection was lost."""
        frames = list(self._waiting)
        self._waiting.clear()
        connection = self._socket
        with suppress(NotStompError):
            while connection is not None:
                frame, connection.at = take_frame(connection.received, connection.at)
                if frame is None:
                    break
                frames.append(frame)
        return frames

    def abandon(self) -> None:
        """Drop the connection without notifying the broker; never raises, never waits."""
        connection, self._socket = self._socket, None
        self._waiting.clear()
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Disconnect within a time limit, after the broker has handled all earlier frames; never raises."""
        if self._socket is not None:
            # If this fails, the broker notices the lost connection by itself.
            with suppress(Exception):
                self._socket.limit_writing(CLOSE_LIMIT_SECONDS)
                self._call_limit_s, before = CLOSE_LIMIT_SECONDS, self._call_limit_s
                try:
                    self.call(lambda name: self.requests.send_frame("DISCONNECT", {"receipt": name}))
                finally:
                    self._call_limit_s = before
        self.abandon()

    def _check_login(self) -> None:
        for what, value in (("user", self._url.user), ("password", self._url.password), ("host", self._url.vhost)):
            if any(character in value for character in _UNWRITABLE):
                raise BrokerRefusedUsError(
                    f"the {what} of the broker URL {self._url} contains a line end, which STOMP does not allow"
                )

    def _connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        connected_by = time.monotonic() + self._connect_limit_s
        for attempts_left in reversed(range(LOGIN_ATTEMPTS)):
            try:
                frame = self._log_in(host, port, tls, connected_by)
                break
            except _EndedAtLoginError:
                self.abandon()
                if not attempts_left:
                    raise
        if frame is None:
            raise BrokerUnavailableError(f"{self.host} does not answer within {self._connect_limit_s:g} s")
        if frame.cmd == "ERROR":
            refusal = ErrorFrameError(frame, self._url.password)
            known = refusal.blame not in (Blame.TEMPORARY, Blame.UNKNOWN)
            kind = BrokerRefusedUsError if known else BrokerUnavailableError
            raise kind(f"{self.host} refuses our login: {refusal}")
        if frame.cmd != "CONNECTED":
            raise BrokerUnavailableError(f"{self.host} answers our login with {frame.cmd}, not CONNECTED")
        try:
            self._ours_s, self._theirs_s = heartbeats(self._heartbeat_s() * 1000, frame)
        except ValueError:
            raise BrokerUnavailableError(f"{self.host} sends a heart-beat header that is not STOMP 1.2") from None

    def _log_in(self, host: str, port: int, tls: ssl.SSLContext | None, connected_by: float) -> Any | None:
        """Connect, log in and return the first frame of the answer; None if there is none in time."""
        connection = self._socket = BoundedSocket(Limits(connected_by, self._call_limit_s))
        limit = f"within {self._connect_limit_s:g} s"
        try:
            connection.connect(host, port)
            if tls:
                # A server that does not speak TLS may wait for more bytes.
                limit += "; is that its TLS port?"
            connection.start(tls, host)
        except OSError as error:
            raise self._unavailable(error, limit) from error
        vhost = self._url.vhost if self._url.scheme.endswith("rabbitmq") else host
        self.requests = frames_to(self._write, _login_word(vhost))
        heartbeat_ms = self._heartbeat_s() * 1000
        self._ours_s = self._theirs_s = 0.0
        self.requests.connect(
            _login_word(self._url.user) or None,
            _login_word(self._url.password) if self._url.user else None,
            with_connect_command=True,
            headers={"heart-beat": f"{heartbeat_ms},{heartbeat_ms}"},
        )
        try:
            return self._next(connected_by)
        except BrokerUnavailableError as error:
            if connection.connected or not isinstance(error.__cause__, ConnectionResetError):
                raise
            doubt = (
                "does it require a client certificate (?cert= and ?key=), or not trust ours"
                if tls
                else "is it without TLS"
            )
            raise _EndedAtLoginError(
                f"{self.host} ended the connection at our login; is that its STOMP port, and {doubt}?"
            ) from error

    def _write(self, data: bytes) -> None:
        connection = self._opened()
        try:
            connection.write(data)
        except OSError as error:
            raise self._unavailable(error) from error

    def _next(self, deadline: float) -> Any | None:
        tick_s = min(TICK_SECONDS, self._ours_s * HEARTBEAT_SEND_SHARE or TICK_SECONDS)
        while True:
            connection = self._opened()
            now = time.monotonic()
            try:
                if now >= self._ticked_at + tick_s:
                    self._ticked_at = now
                    self._tick(connection, now)
                frame, connection.at = take_frame(connection.received, connection.at)
                if frame is not None:
                    return frame
                connection.wait(min(deadline, now + tick_s))
            except TimeoutError as error:
                if error.errno is not None or isinstance(error, PeerReadsNothingError):
                    raise self._unavailable(error) from error
                if time.monotonic() >= deadline:
                    return None
            except OSError as error:
                raise self._unavailable(error) from error

    def _tick(self, connection: BoundedSocket, now: float) -> None:
        """Send a heartbeat if one is due; BrokerUnavailableError if the broker's are overdue."""
        if self._ours_s and now >= connection.wrote_at + self._ours_s * HEARTBEAT_SEND_SHARE:
            connection.write(b"\n")
            connection.flush()
        silent_s = now - connection.heard_at
        # Bytes that arrived while nothing was read count too.
        if self._theirs_s and silent_s >= self._theirs_s * HEARTBEAT_PATIENCE and not connection.receive():
            raise BrokerUnavailableError(f"{self.host} was silent for {silent_s:.0f} s")

    def _opened(self) -> BoundedSocket:
        if self._socket is None:
            raise self._closed()
        return self._socket


def _login_word(value: str) -> str:
    # STOMP 1.2 has no escapes in CONNECT, but both brokers decode them there.
    return value.replace("\\", "\\\\")
