# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One AMQP connection that never hangs: every wait of py-amqp, wherever it hides, ends at one deadline.

py-amqp's own time-outs hold for one frame, so that each heartbeat of the broker begins them anew, and some of
its waits have none at all. Here a deadline belongs to the connection and every read obeys it.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import amqp
import kombu
from amqp import exceptions
from kombu.transport import pyamqp

from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: For one host: the TCP connection, the TLS handshake, the login.
CONNECT_LIMIT_SECONDS = 10.0
#: For each request that the broker answers: declare, bind, consume.
CALL_LIMIT_SECONDS = 10.0
#: For handing bytes to the kernel while the broker reads nothing.
SEND_LIMIT_SECONDS = 10.0
#: For a polite good-bye.
CLOSE_LIMIT_SECONDS = 1.0
#: For the good-bye of TLS to a peer that may be silent.
ABANDON_LIMIT_SECONDS = 0.1
#: The kernel gives up on bytes that the peer does not acknowledge; py-amqp's default of 1 s is too short.
TCP_USER_TIMEOUT_MILLISECONDS = 15_000
#: Never 0: that would switch off the broker's side too, and dead connections would stay.
HEARTBEAT_SECONDS = 30
TICK_SECONDS = 1.0

PERMANENT_CODES = (403, 530)

logger = logging.getLogger(__name__)


class _Channel(amqp.Channel):  # type: ignore[misc] # amqp has no types
    """py-amqp's channel, but for opening itself again: that would wait in the middle of telling why it closed."""

    def _do_revive(self) -> None:
        self.is_open = False


class _DeadlineConnection(amqp.Connection):  # type: ignore[misc] # amqp has no types
    """py-amqp's connection with a deadline that holds for everything it reads."""

    Channel = _Channel
    deadline = float("inf")

    def blocking_read(self, timeout: float | None = None) -> Any:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if timeout is not None:
            remaining = min(remaining, timeout)
        return super().blocking_read(min(remaining, SEND_LIMIT_SECONDS))


class _Transport(pyamqp.Transport):  # type: ignore[misc] # kombu has no types
    Connection = _DeadlineConnection


class AmqpConnection:
    """A connection to the first host of a URL that takes us; its errors are BrokerUnavailableError and below."""

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
        self._amqp: _DeadlineConnection | None = None
        self._ticked_at = 0.0
        self.host = ""
        #: True while the broker says that it takes nothing from publishers (memory or disk alarm).
        self.blocked = False

    def open(self) -> None:
        """Connect and log in; BrokerRefusedUsError if every host that answered refuses us."""
        errors: list[BrokerUnavailableError] = []
        for host, port in self._url.hosts:
            self.host = f"{host}:{port}"
            try:
                with self._translated(f"within {self._connect_limit_s:g} s"):
                    self._connect(host, port)
            except BrokerUnavailableError as error:
                errors.append(error)
                continue
            return
        for refusal in errors:
            if isinstance(refusal, BrokerRefusedUsError):
                raise refusal
        raise BrokerUnavailableError("; ".join(str(error) for error in errors)) from errors[-1]

    def channel(self) -> Any:
        """Open a channel."""
        return self.call(lambda connection: connection.channel())

    def call(self, request: Callable[[Any], Any]) -> Any:
        """Run a request that the broker answers, within the limit for one."""
        connection = self._opened()
        with self._translated(f"within {self._call_limit_s:g} s"):
            connection.deadline = time.monotonic() + self._call_limit_s
            return request(connection)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Translate the errors of what is written; the socket's own limit bounds each write."""
        with self._translated(f"for {SEND_LIMIT_SECONDS:g} s: it reads nothing"):
            yield

    def read(self, wait_s: float) -> bool:
        """Handle one frame, waiting for it at most so long; False if none came."""
        connection = self._opened()
        connection.deadline = time.monotonic() + max(wait_s, 0.001)
        with self._translated(""):
            try:
                connection.blocking_read()
            except TimeoutError:
                return False
        return True

    def read_available(self) -> None:
        """Handle the frames that have arrived."""
        while self._has_input() and self.read(SEND_LIMIT_SECONDS):
            pass

    def tick(self) -> None:
        """Send a heartbeat if one is due; BrokerUnavailableError if the broker's are overdue."""
        now = time.monotonic()
        if now >= self._ticked_at + TICK_SECONDS:
            self._ticked_at = now
            with self._translated(""):
                self._opened().heartbeat_tick()

    def abandon(self) -> None:
        """Drop the connection without a word; never raises, never waits for the broker."""
        connection, self._amqp = self._amqp, None
        if connection is None:
            return
        # py-amqp's property would connect again if there is no transport any more.
        transport = connection._transport
        if transport is not None and transport.sock is not None:
            # The good-bye of TLS would wait for the peer's.
            with suppress(OSError):
                transport.sock.settimeout(ABANDON_LIMIT_SECONDS)
        with suppress(Exception):
            connection.collect()

    def close(self) -> None:
        """Say good-bye, within a limit; never raises."""
        connection = self._amqp
        if connection is not None:
            # Whatever goes wrong now, the broker finds out by itself.
            with suppress(Exception):
                connection.deadline = time.monotonic() + CLOSE_LIMIT_SECONDS
                connection.close()
        self.abandon()

    def _connect(self, host: str, port: int) -> None:
        heartbeat = int(self._url.option("heartbeat") or HEARTBEAT_SECONDS)
        parameters = kombu.Connection(
            hostname=f"[{host}]" if ":" in host else host,
            port=port,
            userid=self._url.user or "guest",
            password=self._url.password or "guest",
            virtual_host=self._url.vhost,
            ssl=self._tls(host),
            heartbeat=heartbeat,
            connect_timeout=self._connect_limit_s,
            transport=_Transport,
            transport_options={
                "on_blocked": self._on_blocked,
                "on_unblocked": self._on_unblocked,
                "socket_settings": {socket.TCP_USER_TIMEOUT: TCP_USER_TIMEOUT_MILLISECONDS},
                "client_properties": {"product": "sourcepulse", "connection_name": "sourcepulse"},
            },
        )
        # The deadline of the handshake is set by a subclass attribute, since kombu makes the connection itself.
        limit = time.monotonic() + self._connect_limit_s
        transport = parameters.transport
        transport.Connection = type("_Connection", (_DeadlineConnection,), {"deadline": limit})
        connection = transport.establish_connection()
        connection.client = None
        connection.transport.sock.settimeout(SEND_LIMIT_SECONDS)
        # With it py-amqp would look for a frame before each publish, and spin for ever on half of one.
        connection.client_properties["capabilities"].pop("connection.blocked", None)
        self.blocked = False
        self._amqp = connection

    def _tls(self, host: str) -> dict[str, Any] | bool:
        if self._url.scheme != "amqps":
            return False
        # A new one for each host: kombu and py-amqp keep the first host name that they see in it.
        options: dict[str, Any] = {
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": host,
            "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
        }
        for ours, theirs in (("ca", "ca_certs"), ("cert", "certfile"), ("key", "keyfile")):
            if self._url.option(ours):
                options[theirs] = self._url.option(ours)
        if "ca_certs" not in options:
            options["ca_certs"] = ssl.get_default_verify_paths().cafile
        return options

    def _opened(self) -> _DeadlineConnection:
        if self._amqp is None or not self._amqp.connected:
            raise BrokerUnavailableError(f"the connection to {self.host or self._url} is closed")
        return self._amqp

    def _has_input(self) -> bool:
        sock = self._opened().transport.sock
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

    def _on_blocked(self, _reason: str) -> None:
        self.blocked = True
        logger.warning("the broker %s blocks publishers: memory or disk alarm", self.host)

    def _on_unblocked(self) -> None:
        self.blocked = False

    @contextmanager
    def _translated(self, limit: str) -> Iterator[None]:
        """Turn whatever the libraries raise into our errors; a channel error stays what it is."""
        try:
            yield
        except exceptions.ChannelError:
            raise
        except TimeoutError as error:
            raise BrokerUnavailableError(f"{self.host} does not answer {limit}".rstrip()) from error
        except (exceptions.AMQPError, OSError) as error:
            raise describe(error, self.host, self._url.vhost) from None
        except (AttributeError, TypeError, KeyError, ValueError, IndexError) as error:
            # py-amqp stumbles like this over a connection that closed under it, and over bytes that are not AMQP.
            raise BrokerUnavailableError(f"{self.host} closed the connection, or does not speak AMQP") from error


def describe(error: Exception, host: str, vhost: str) -> BrokerUnavailableError:
    """Say what an error of the libraries means for whoever runs the relay."""
    text = str(getattr(error, "reply_text", "") or getattr(error, "strerror", "") or error)
    code = getattr(error, "reply_code", None)
    if isinstance(error, exceptions.AccessRefused) and "Login" in text:
        return BrokerRefusedUsError(f"{host} refuses the user name or the password")
    if code in PERMANENT_CODES:
        return BrokerRefusedUsError(f"{host} refuses us at virtual host {vhost!r}: {text}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerUnavailableError(
            f"the certificate of {host} cannot be trusted: {error.verify_message}; "
            "check the host name in the URL, and name the CA's file by ?ca="
        )
    if isinstance(error, ssl.SSLError):
        return BrokerUnavailableError(f"{host} fails at TLS: {error.reason or text}; is that its TLS port?")
    if isinstance(error, socket.gaierror):
        return BrokerUnavailableError(f"the host {host} is unknown: {text}")
    return BrokerUnavailableError(f"{host} cannot be reached: {text or type(error).__name__}")
