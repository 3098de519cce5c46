# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One AMQP connection that never hangs: every wait of py-amqp, wherever it hides, ends at one deadline.

py-amqp's own time-outs hold for one frame, so that each heartbeat of the broker begins them anew, and some of
its waits have none at all. Here a deadline belongs to the connection and every read obeys it.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import amqp
import kombu
from amqp import exceptions
from kombu.transport import pyamqp

from sourcepulse.brokers.amqp.inbound import Inbound, frame_handler
from sourcepulse.brokers.amqp.transport import BoundedTransport, NotAmqpError
from sourcepulse.brokers.bounded_socket import Limits, NameLookupTimeoutError, PeerReadsNothingError
from sourcepulse.brokers.tls import context_of, describe_tls
from sourcepulse.brokers.url import host_text
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: For one host: the TCP connection, the TLS handshake, the login.
CONNECT_LIMIT_SECONDS = 10.0
#: For each request that the broker answers (declare, bind, consume), and for writing while it reads nothing.
CALL_LIMIT_SECONDS = 10.0
#: For a polite good-bye.
CLOSE_LIMIT_SECONDS = 1.0
#: Never 0: that would switch off the broker's side too, and dead connections would stay.
HEARTBEAT_SECONDS = 30
HEARTBEAT_MAX_SECONDS = 65_535
#: How often it is looked whether a heartbeat is due.
TICK_SECONDS = 1.0
#: Frames that are handled in one go, so that a flood of them ends too.
FRAMES_AT_ONCE = 10_000
#: A method, the header and the body of what follows it, unless that is larger than a frame.
FRAMES_OF_A_MESSAGE = 3

ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
NOT_ALLOWED = 530

#: What py-amqp raises over a connection that closed under it, and over bytes that are not AMQP.
_STUMBLES = (AttributeError, TypeError, LookupError, ValueError, struct.error)

logger = logging.getLogger(__name__)


class _Channel(amqp.Channel):  # type: ignore[misc] # amqp has no types
    """py-amqp's channel, but for opening itself again: that would wait in the middle of telling why it closed."""

    def __init__(self, connection: Any, channel_id: int | None = None, on_open: Any = None) -> None:
        # Decoded by a content encoding that somebody wrote, a body would not be what was sent.
        super().__init__(connection, channel_id, auto_decode=False, on_open=on_open)

    def _do_revive(self) -> None:
        # Its number is free again.
        self.collect()

    def deliver(self, inbound: Inbound) -> None:
        """Hand a delivery to the consumer that it is for, or back to the broker."""
        consume = self.callbacks.get(inbound.consumer_tag)
        if consume is not None and not self.is_closing:
            consume(inbound)
        elif not self.is_closing:
            self.basic_reject(inbound.delivery_tag, requeue=True)


class _BoundedConnection(amqp.Connection):  # type: ignore[misc] # amqp has no types
    """py-amqp's connection with a deadline that holds for everything it reads."""

    Channel = _Channel

    def __init__(self, *, limits: Limits, tls: ssl.SSLContext | None, tls_host: str, **options: Any) -> None:
        super().__init__(frame_handler=frame_handler, **options)
        #: Monotonic; whoever begins to wait sets it.
        self.deadline = limits.connected_by
        self._limits = limits
        self._tls = tls
        self._tls_host = tls_host

    def Transport(self, host: str, *_: object, **__: object) -> BoundedTransport:  # noqa: N802 - py-amqp's name
        return BoundedTransport(host, self._limits, self._tls, self._tls_host)

    def connect(self, callback: Callable[[], object] | None = None) -> Any:
        try:
            return super().connect(callback)
        except BaseException:
            # py-amqp does so only after some errors, and would leave the socket to the garbage collector.
            self.collect()
            raise

    def blocking_read(self, timeout: float | None = None) -> Any:
        # The property of that name would connect again if there is no transport any more.
        transport = self._transport
        if transport is None:
            raise exceptions.RecoverableConnectionError("connection already closed")
        deadline = self.deadline if timeout is None else min(self.deadline, time.monotonic() + timeout)
        return self.on_inbound_frame(transport.read_frame(deadline))


class _Transport(pyamqp.Transport):  # type: ignore[misc] # kombu has no types
    Connection = _BoundedConnection


class AmqpConnection:
    """A connection to the first host of a URL that takes us; its errors are BrokerUnavailableError and below.

    Only what concerns one channel alone comes out as py-amqp's ChannelError; that channel is gone then.
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
        self._amqp: _BoundedConnection | None = None
        self._ticked_at = 0.0
        self.host = ""
        #: True while the broker says that it takes nothing from publishers (memory or disk alarm).
        self.blocked = False

    def open(self) -> None:
        """Connect and log in; BrokerRefusedUsError if no host takes us and one of them refused us."""
        self.abandon()
        tls = context_of(self._url)
        errors: list[BrokerUnavailableError] = []
        for host, port in self._url.hosts:
            self.host = host_text(host, port)
            try:
                self._connect(host, tls)
            except Exception as error:  # noqa: BLE001 - what is none of the libraries' errors is raised again
                try:
                    self._raise(error, f"within {self._connect_limit_s:g} s")
                except BrokerUnavailableError as named:
                    errors.append(named)
                    continue
            return
        refused = any(isinstance(error, BrokerRefusedUsError) for error in errors)
        kind = BrokerRefusedUsError if refused else BrokerUnavailableError
        raise kind("; ".join(str(error) for error in errors)) from None

    def channel(self) -> Any:
        """Open a channel."""
        return self.call(lambda connection: connection.channel())

    def call(self, request: Callable[[Any], Any]) -> Any:
        """Run a request that the broker answers, within the limit for one."""
        connection = self._opened()
        connection.deadline = time.monotonic() + self._call_limit_s
        try:
            return request(connection)
        except Exception as error:  # noqa: BLE001 - what is none of the libraries' errors is raised again
            self._raise(error, f"within {self._call_limit_s:g} s")

    def flush(self) -> None:
        """Hand what was written to the kernel; bounded though the broker reads nothing."""
        connection = self._opened()
        try:
            connection.transport.flush()
        except Exception as error:  # noqa: BLE001 - what is none of the libraries' errors is raised again
            self._raise(error)

    def write(self, request: Callable[..., object], *arguments: object) -> None:
        """Run a request that the broker does not answer; `flush` or the next wait sends it."""
        self._opened()
        try:
            request(*arguments)
        except Exception as error:  # noqa: BLE001 - what is none of the libraries' errors is raised again
            self._raise(error)

    def write_frames(self, frames: bytes) -> None:
        """Send whole frames that we made ourselves; `flush` or the next wait sends what is left of them."""
        connection = self._opened()
        try:
            connection._transport.write(frames)
        except Exception as error:  # noqa: BLE001 - what is none of the libraries' errors is raised again
            self._raise(error)
        # py-amqp counts what it sends to know when a heartbeat is due.
        connection.bytes_sent += 1

    def read(self, wait_s: float) -> bool:
        """Handle a frame and what belongs to it and has arrived, waiting at most so long; False if none came.

        Heartbeats go on meanwhile.
        """
        deadline = time.monotonic() + wait_s
        while True:
            connection = self._opened()
            connection.deadline = min(deadline, time.monotonic() + TICK_SECONDS)
            try:
                for _ in range(FRAMES_OF_A_MESSAGE):
                    # True behind the last of the frames that belong together.
                    if connection.blocking_read():
                        break
            except PeerReadsNothingError as error:
                self._raise(error)
            except TimeoutError as error:
                if error.errno is not None:
                    self._raise(error)
                self._tick()
                if time.monotonic() >= deadline:
                    return False
            except Exception as error:  # noqa: BLE001 - what is none of the libraries' errors is raised again
                self._raise(error)
            else:
                self._tick()
                return True

    def read_available(self) -> None:
        """Handle the frames that have arrived."""
        for _ in range(FRAMES_AT_ONCE):
            if not self.read(0):
                return

    def read_last_words(self) -> None:
        """Handle what arrived before the connection broke; raises what the broker says in it."""
        connection = self._amqp
        if connection is None or connection._transport is None:
            return
        try:
            while (frame := connection._transport.last_frame()) is not None:
                connection.on_inbound_frame(frame)
        except Exception as error:  # noqa: BLE001 - what is none of the libraries' errors is raised again
            self._raise(error)

    def abandon(self) -> None:
        """Drop the connection without a word; never raises, never waits for the broker."""
        connection, self._amqp = self._amqp, None
        if connection is not None:
            with suppress(Exception):
                connection.collect()

    def close(self) -> None:
        """Say good-bye, within a limit; never raises."""
        connection = self._amqp
        if connection is not None:
            # Whatever goes wrong now, the broker finds out by itself.
            with suppress(Exception):
                connection.deadline = time.monotonic() + CLOSE_LIMIT_SECONDS
                connection.transport.limit_writing(CLOSE_LIMIT_SECONDS)
                connection.close()
        self.abandon()

    def _connect(self, host: str, tls: ssl.SSLContext | None) -> None:
        guest = not self._url.user
        parameters = kombu.Connection(
            virtual_host=self._url.vhost,
            heartbeat=min(int(self._url.option("heartbeat") or 0) or HEARTBEAT_SECONDS, HEARTBEAT_MAX_SECONDS),
            ssl=tls is not None,
            connect_timeout=self._connect_limit_s,
            transport=_Transport,
            transport_options={
                # kombu would write an address for 'localhost', and a password where there is none.
                "host": self.host,
                "userid": "guest" if guest else self._url.user,
                "password": "guest" if guest else self._url.password,
                "limits": Limits(time.monotonic() + self._connect_limit_s, self._call_limit_s),
                "tls": tls,
                "tls_host": host,
                "on_blocked": self._on_blocked,
                "on_unblocked": self._on_unblocked,
                "client_properties": {"product": "sourcepulse", "connection_name": "sourcepulse"},
            },
        )
        connection = parameters.transport.establish_connection()
        connection.client = None
        self.blocked = False
        self._amqp = connection

    def _opened(self) -> _BoundedConnection:
        if self._amqp is None or not self._amqp.connected:
            raise BrokerUnavailableError(f"the connection to {self.host or self._url} is closed")
        return self._amqp

    def _tick(self) -> None:
        """Send a heartbeat if one is due; BrokerUnavailableError if the broker's are overdue."""
        now = time.monotonic()
        if now >= self._ticked_at + TICK_SECONDS:
            self._ticked_at = now
            self.write(self._opened().heartbeat_tick)
            self.flush()

    def _on_blocked(self, _reason: str) -> None:
        self.blocked = True
        logger.warning("the broker %s blocks publishers: memory or disk alarm", self.host)

    def _on_unblocked(self) -> None:
        self.blocked = False

    def _raise(self, error: Exception, limit: str = "") -> NoReturn:
        """Turn whatever the libraries raise into our errors; a channel error stays what it is."""
        connected = self._amqp is not None and self._amqp.connected
        if isinstance(error, exceptions.ChannelError) and connected:
            # py-amqp has one class for a refusal of the login and one of a channel's request.
            raise error
        if isinstance(error, PeerReadsNothingError):
            raise BrokerUnavailableError(f"{self.host} reads nothing for {self._call_limit_s:g} s") from error
        if isinstance(error, NameLookupTimeoutError):
            raise BrokerUnavailableError(str(error)) from error
        if isinstance(error, TimeoutError) and error.errno is None:
            raise BrokerUnavailableError(f"{self.host} does not answer {limit}".rstrip()) from error
        if isinstance(error, (exceptions.AMQPError, OSError)):
            raise describe(error, self.host, self._url.vhost) from None
        if isinstance(error, _STUMBLES):
            raise BrokerUnavailableError(f"{self.host} closed the connection, or does not speak AMQP") from error
        raise error


def describe(error: Exception, host: str, vhost: str) -> BrokerUnavailableError:
    """Say what an error of the libraries means for whoever runs the relay."""
    text = str(getattr(error, "reply_text", "") or getattr(error, "strerror", "") or error)
    code = getattr(error, "reply_code", None)
    if isinstance(error, exceptions.AccessRefused) and "Login" in text:
        return BrokerRefusedUsError(f"{host} refuses the user name or the password")
    if code in (ACCESS_REFUSED, NOT_ALLOWED):
        return BrokerRefusedUsError(f"{host} refuses us at virtual host {vhost!r}: {text}")
    if isinstance(error, NotAmqpError):
        return BrokerUnavailableError(f"{host} {_what_it_speaks(error.raw)}; check the port in the URL")
    if isinstance(error, ssl.SSLError):
        return describe_tls(error, host)
    if isinstance(error, socket.gaierror):
        return BrokerUnavailableError(f"the host {host} is unknown: {text}")
    return BrokerUnavailableError(f"{host} cannot be reached: {text or type(error).__name__}")


def _what_it_speaks(raw: bytes) -> str:
    if raw.startswith((b"\x15\x03", b"\x16\x03")):
        return "speaks TLS: write amqps:// in the URL"
    if raw.startswith(b"HTTP"):
        return "speaks HTTP, not AMQP"
    if raw.startswith(b"AMQP"):
        return f"speaks AMQP {'.'.join(str(number) for number in raw[5:8])}, not 0-9-1"
    return "does not speak AMQP"
