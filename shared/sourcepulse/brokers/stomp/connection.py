# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One STOMP 1.2 connection that never hangs: stomp.py's frames on a bounded socket, without threads."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sourcepulse.brokers.bounded_socket import BoundedSocket, Limits, NameLookupTimeoutError, PeerReadsNothingError
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError, NotStompError, frames_to, heartbeats, take_frame
from sourcepulse.brokers.tls import context_of, describe_tls
from sourcepulse.brokers.url import host_text
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: For one host: the TCP connection, the TLS handshake, the login.
CONNECT_LIMIT_SECONDS = 10.0
#: For each request that the broker answers with a receipt, and for writing while it reads nothing.
CALL_LIMIT_SECONDS = 10.0
#: ActiveMQ closes about 3 % of the connections that it refuses before it sends the reason.
LOGIN_ATTEMPTS = 3
#: For disconnecting cleanly.
CLOSE_LIMIT_SECONDS = 1.0
#: Never 0: neither side would notice that the other is gone.
HEARTBEAT_SECONDS = 30
HEARTBEAT_MAX_SECONDS = 65_535
#: We send a heartbeat after this share of our interval; the broker counts as gone after this many of its intervals.
HEARTBEAT_SEND_SHARE = 1 / 3
HEARTBEAT_PATIENCE = 2.0
#: How often, at least, the connection checks whether a heartbeat is due.
TICK_SECONDS = 1.0

#: Characters that CONNECT cannot contain (STOMP 1.2, "Value Encoding").
_UNWRITABLE = "\r\n\0"

logger = logging.getLogger(__name__)


class _EndedAtLoginError(BrokerUnavailableError):
    """The connection ended without an answer to our login."""


class StompConnection:
    """A connection to the first host of a URL that accepts us.

    Its errors are BrokerUnavailableError and subclasses, and ErrorFrameError for an ERROR frame, after which
    RabbitMQ closes the connection and ActiveMQ does not.
    """

    def __init__(
        self,
        url: BrokerUrl,
        *,
        connect_limit_s: float = CONNECT_LIMIT_SECONDS,
        call_limit_s: float = CALL_LIMIT_SECONDS,
    ) -> None:
        self._url = url
        self._connect_limit_s = connect_limit_s
        self._call_limit_s = call_limit_s
        self._socket: BoundedSocket | None = None
        #: Frames that arrived while waiting for another one.
        self._waiting: deque[Any] = deque()
        self._receipts = 0
        self._ours_s = self._theirs_s = 0.0
        self._ticked_at = 0.0
        self.host = ""
        #: stomp.py's requests; what they write is sent by the next `flush` or wait.
        self.requests: Any = None

    @property
    def stands(self) -> bool:
        """Return whether the connection is open, as far as is known."""
        return self._socket is not None and self._socket.connected

    def open(self) -> None:
        """Connect and log in; BrokerRefusedUsError if no host accepts us and one of them refused us."""
        self.abandon()
        self._check_login()
        tls = context_of(self._url)
        errors: list[BrokerUnavailableError] = []
        for host, port in self._url.hosts:
            self.host = host_text(host, port)
            try:
                self._connect(host, port, tls)
            except BrokerUnavailableError as error:
                self.abandon()
                errors.append(error)
                continue
            return
        refused = any(isinstance(error, BrokerRefusedUsError) for error in errors)
        kind = BrokerRefusedUsError if refused else BrokerUnavailableError
        raise kind("; ".join(str(error) for error in errors)) from None

    def receipt(self) -> str:
        """Return a receipt name that was not used on this connection before."""
        self._receipts += 1
        return f"r{self._receipts}"

    def flush(self) -> None:
        """Pass what was written to the kernel; bounded even if the broker reads nothing."""
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
            self._ours_s, self._theirs_s = heartbeats(self._heartbeat_ms(), frame)
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
        heartbeat_ms = self._heartbeat_ms()
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

    def _heartbeat_ms(self) -> int:
        return min(int(self._url.option("heartbeat") or 0) or HEARTBEAT_SECONDS, HEARTBEAT_MAX_SECONDS) * 1000

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
            except (OSError, NotStompError) as error:
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
            raise BrokerUnavailableError(f"the connection to {self.host or self._url} is closed")
        return self._socket

    def _unavailable(self, error: Exception, limit: str = "") -> BrokerUnavailableError:
        """Return our error for an error of the socket or its bytes, in words for an operator."""
        if isinstance(error, NameLookupTimeoutError):
            return BrokerUnavailableError(str(error))
        if isinstance(error, PeerReadsNothingError):
            return BrokerUnavailableError(f"{self.host} reads nothing for {self._call_limit_s:g} s")
        if isinstance(error, TimeoutError) and error.errno is None:
            return BrokerUnavailableError(f"{self.host} does not answer {limit}".rstrip())
        if isinstance(error, NotStompError):
            return BrokerUnavailableError(f"{self.host} {_what_it_speaks(error.raw)}; check the port in the URL")
        if isinstance(error, ssl.SSLError):
            return describe_tls(error, self.host)
        if isinstance(error, socket.gaierror):
            return BrokerUnavailableError(f"the host {self.host} is unknown: {error.strerror}")
        text = str(getattr(error, "strerror", "") or error)
        return BrokerUnavailableError(f"{self.host} cannot be reached: {text or type(error).__name__}")


def _login_word(value: str) -> str:
    # STOMP 1.2 has no escapes in CONNECT, but both brokers decode them there.
    return value.replace("\\", "\\\\")


def _what_it_speaks(raw: bytes) -> str:
    if raw.startswith((b"\x15\x03", b"\x16\x03")):
        return "speaks TLS: write stomps+... in the URL"
    if raw.startswith(b"HTTP"):
        return "speaks HTTP, not STOMP"
    if raw.startswith(b"AMQP"):
        return "speaks AMQP, not STOMP"
    return "does not speak STOMP"
