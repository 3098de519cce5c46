# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One AMQP connection that never hangs: every wait inside py-amqp ends at one deadline.

py-amqp's own timeouts are per frame, so each heartbeat of the broker restarts them, and some of its waits have no
timeout. Here the deadline belongs to the connection, and every read obeys it.
"""

from __future__ import annotations

import logging
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, NoReturn

import amqp
import kombu
from amqp import exceptions, spec
from kombu.transport import pyamqp

from sourcepulse.brokers.amqp.inbound import Inbound, frame_handler, take_whole
from sourcepulse.brokers.amqp.transport import BoundedTransport
from sourcepulse.brokers.bounded_socket import Limits, PeerReadsNothingError
from sourcepulse.brokers.network.connection import CLOSE_LIMIT_SECONDS, TICK_SECONDS, BrokerConnection
from sourcepulse.errors import (
    BrokerRefusedUsError,
    BrokerUnavailableError,
)

#: The frames of one message: method, header and body, unless the body is larger than a frame.
FRAMES_OF_A_MESSAGE = 3

ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
NOT_ALLOWED = 530

#: How RabbitMQ begins its answer to a virtual host that is missing, or that the user may not use.
_VHOST_WORDS = ("NOT_ALLOWED - vhost ", "NOT_ALLOWED - access to vhost ")

#: What py-amqp raises when its connection is closed during a call, or when the peer's bytes are not AMQP.
_STUMBLES = (AttributeError, TypeError, LookupError, ValueError, struct.error)

logger = logging.getLogger(__name__)


class LoginRefusedError(BrokerRefusedUsError):
    """The broker refuses the user name or the password."""


class VhostMissingError(BrokerRefusedUsError):
    """The virtual host does not exist at the broker."""


class VhostRefusedError(BrokerRefusedUsError):
    """The user has no permissions in the virtual host."""


class _Channel(amqp.Channel):  # type: ignore[misc] # amqp has no types
    """py-amqp's channel, except that it does not reopen itself: that would wait while it reports why it closed."""

    def __init__(self, connection: Any, channel_id: int | None = None, on_open: Any = None) -> None:
        # With auto_decode, a publisher's content encoding header would change the body.
        super().__init__(connection, channel_id, auto_decode=False, on_open=on_open)

    def _do_revive(self) -> None:
        # Frees the channel's number.
        self.collect()

    def deliver(self, inbound: Inbound) -> None:
        """Pass a delivery to its consumer, or return it to the broker if there is none."""
        consume = self.callbacks.get(inbound.consumer_tag)
        if consume is not None and not self.is_closing:
            consume(inbound)
        elif not self.is_closing:
            self.basic_reject(inbound.delivery_tag, requeue=True)


class _BoundedConnection(amqp.Connection):  # type: ignore[misc] # amqp has no types
    """py-amqp's connection with a deadline for everything it reads."""

    Channel = _Channel
    #: py-amqp does not read why the broker blocks publishers.
    _METHODS: ClassVar[dict[Any, Any]] = {
        **amqp.Connection._METHODS,
        spec.Connection.Blocked: spec.method(spec.Connection.Blocked, "s"),
    }

    def __init__(self, *, limits: Limits, tls: ssl.SSLContext | None, tls_host: str, **options: Any) -> None:
        super().__init__(frame_handler=frame_handler, **options)
        #: Monotonic; set before each wait.
        self.deadline = limits.connected_by
        self._limits = limits
        self._tls = tls
        self._tls_host = tls_host

    def Transport(self, host: str, *_: object, **__: object) -> BoundedTransport:  # noqa: N802 - py-amqp's name
        return BoundedTransport(host, self._limits, self._tls, self._tls_host)

    def _on_blocked(self, reason: str = "") -> None:
        if self.on_blocked:
            self.on_blocked(reason)

    def connect(self, callback: Callable[[], object] | None = None) -> Any:
        try:
            return super().connect(callback)
        except BaseException:
            # After some errors py-amqp does not close the socket but leaves it to the garbage collector.
            self.collect()
            raise

    def blocking_read(self, timeout: float | None = None) -> Any:
        # Not the property `transport`, which would reconnect if there is no transport any more.
        transport = self._transport
        if transport is None:
            raise exceptions.RecoverableConnectionError("connection already closed")
        if (whole := take_whole(*transport.arrived())) is not None:
            number, inbound, end = whole
            transport.skip_to(end)
            self.bytes_recv += FRAMES_OF_A_MESSAGE
            self.channels[number].deliver(inbound)
            return True
        deadline = self.deadline if timeout is None else min(self.deadline, time.monotonic() + timeout)
        return self.on_inbound_frame(transport.read_frame(deadline))


class _Transport(pyamqp.Transport):  # type: ignore[misc] # kombu has no types
    Connection = _BoundedConnection


class AmqpConnection(BrokerConnection):
    """An AMQP connection, see `BrokerConnection`.

    An error of one channel alone is raised as py-amqp's ChannelError, and closes that channel.
    """

    _protocol = "AMQP 0-9-1"
    _tls_scheme = "amqps://"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._amqp: _BoundedConnection | None = None
        #: True while the broker reports that it blocks publishers (memory or disk alarm), and its word for the alarm.
        self.blocked = False
        self.blocked_reason = ""

    @property
    def product(self) -> str:
        """What the broker calls itself."""
        return str(self._opened().server_properties.get("product", ""))

    def channel(self) -> Any:
        return self.call(self._opened().channel)

    def call(self, request: Callable[..., Any], *arguments: object, **options: object) -> Any:
        """Run a request that the broker answers, within the time limit for a request."""
        self._opened().deadline = time.monotonic() + self._call_limit_s
        try:
            return request(*arguments, **options)
        except Exception as error:  # noqa: BLE001 - `_raise` raises all other errors again
            self._raise(error, f"within {self._call_limit_s:g} s")

    def flush(self) -> None:
        self.write(self._opened().transport.flush)

    def write(self, request: Callable[..., object], *arguments: object) -> None:
        """Run a request that the broker does not answer; `flush` or the next wait sends it."""
        self._opened()
        try:
            request(*arguments)
        except Exception as error:  # noqa: BLE001 - `_raise` raises all other errors again
            self._raise(error)

    def write_frames(self, frames: bytes) -> None:
        """Send whole frames that we encoded ourselves; `flush` or the next wait sends the rest of them."""
        connection = self._opened()
        self.write(connection._transport.write, frames)
        # py-amqp counts what it sends in order to know when a heartbeat is due.
        connection.bytes_sent += 1

    def read(self, wait_s: float) -> bool:
        """Handle a frame and the rest of its message, waiting at most `wait_s` with heartbeats; False if none came."""
        deadline = time.monotonic() + wait_s
        while True:
            connection = self._opened()
            connection.deadline = min(deadline, time.monotonic() + TICK_SECONDS)
            try:
                for _ in range(FRAMES_OF_A_MESSAGE):
                    # True after the last of the frames that belong together.
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
            except Exception as error:  # noqa: BLE001 - `_raise` raises all other errors again
                self._raise(error)
            else:
                self._tick()
                return True

    def read_last_words(self) -> None:
        """Handle what arrived before the connection was lost; raises the error that the broker reported in it."""
        connection = self._amqp
        if connection is None or connection._transport is None:
            return
        try:
            while (frame := connection._transport.last_frame()) is not None:
                connection.on_inbound_frame(frame)
        except Exception as error:  # noqa: BLE001 - `_raise` raises all other errors again
            self._raise(error)

    def abandon(self) -> None:
        """Drop the connection without notifying the broker; never raises, never waits."""
        connection, self._amqp = self._amqp, None
        if connection is not None:
            with suppress(Exception):
                connection.collect()

    def close(self) -> None:
        """Disconnect cleanly, within a time limit; never raises."""
        connection = self._amqp
        if connection is not None:
            # If this fails, the broker notices the lost connection by itself.
            with suppress(Exception):
                connection.deadline = time.monotonic() + CLOSE_LIMIT_SECONDS
                connection.transport.limit_writing(CLOSE_LIMIT_SECONDS)
                connection.close()
        self.abandon()

    def _connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:  # noqa: ARG002 - see `host`
        try:
            self._log_in(host, tls)
        except Exception as error:  # noqa: BLE001 - `_raise` raises all other errors again
            self._raise(error, f"within {self._connect_limit_s:g} s")

    def _log_in(self, host: str, tls: ssl.SSLContext | None) -> None:
        parameters = kombu.Connection(
            virtual_host=self._url.vhost,
            heartbeat=self._heartbeat_s(),
            ssl=tls is not None,
            connect_timeout=self._connect_limit_s,
            transport=_Transport,
            transport_options={
                # kombu would replace 'localhost' by an address, and add a password where there is none.
                "host": self.host,
                "userid": self._url.user or "guest",
                "password": self._url.password if self._url.user else "guest",
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
            raise self._closed()
        return self._amqp

    def _tick(self) -> None:
        """Send a heartbeat if one is due; BrokerUnavailableError if the broker's are overdue."""
        now = time.monotonic()
        if now >= self._ticked_at + TICK_SECONDS:
            self._ticked_at = now
            self.write(self._opened().heartbeat_tick)
            self.flush()

    def _on_blocked(self, reason: str) -> None:
        self.blocked = True
        self.blocked_reason = reason
        logger.warning("the broker %s blocks publishers: memory or disk alarm", self.host)

    def _on_unblocked(self) -> None:
        self.blocked = False

    def _raise(self, error: Exception, limit: str = "") -> NoReturn:
        """Raise our error for an error of the libraries; channel errors and all others are raised unchanged."""
        connected = self._amqp is not None and self._amqp.connected
        if isinstance(error, exceptions.ChannelError) and connected:
            # py-amqp uses the same class for a refused login and for a refused request on a channel.
            raise error
        if isinstance(error, OSError):
            raise self._unavailable(error, limit) from error
        if isinstance(error, exceptions.AMQPError):
            raise describe(error, self.host, self._url.vhost) from None
        if isinstance(error, _STUMBLES):
            raise BrokerUnavailableError(f"{self.host} closed the connection, or does not speak AMQP") from error
        raise error


def describe(error: exceptions.AMQPError, host: str, vhost: str) -> BrokerUnavailableError:
    """Return our error for an error of the broker, in words for an operator."""
    text = str(error.reply_text or error)
    if isinstance(error, exceptions.AccessRefused) and "Login" in text:
        return LoginRefusedError(f"{host} refuses the user name or the password")
    if error.reply_code in (ACCESS_REFUSED, NOT_ALLOWED):
        kind = BrokerRefusedUsError
        if text.startswith(_VHOST_WORDS):
            kind = VhostMissingError if text.endswith("not found") else VhostRefusedError
        return kind(f"{host} refuses us at virtual host {vhost!r}: {text}")
    return BrokerUnavailableError(f"{host} cannot be reached: {text}")
