# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A connection to a broker, whatever its protocol: the choice of a host, the time limits, and errors in words."""

from __future__ import annotations

import socket
import ssl
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from sourcepulse.brokers.bounded_socket import NameLookupTimeoutError, PeerReadsNothingError
from sourcepulse.brokers.tls import context_of, describe_tls
from sourcepulse.brokers.url import host_text
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: For one host: the TCP connection, the TLS handshake, the login.
CONNECT_LIMIT_SECONDS = 10.0
#: For all hosts of a URL together, which divide it. A relay's loop turns within `LOOP_MAX_SECONDS`, and over STOMP one
#: turn may need two such rounds.
CONNECT_ROUND_SECONDS = 40.0
#: For one host of hundreds.
LEAST_LIMIT_SECONDS = 0.1
#: For each request that the broker answers, and for writing while it reads nothing.
CALL_LIMIT_SECONDS = 10.0
#: For disconnecting cleanly.
CLOSE_LIMIT_SECONDS = 1.0
#: Never 0: that would switch off the broker's side too, and dead connections would stay.
HEARTBEAT_SECONDS = 30
HEARTBEAT_MAX_SECONDS = 65_535
#: How often, at least, a connection checks whether a heartbeat is due.
TICK_SECONDS = 1.0


class ForeignBytesError(OSError):
    """The peer's bytes are not of our protocol; `raw` holds the first of them."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(f"not of our protocol: {raw!r}")
        self.raw = raw


class BrokerConnection(ABC):
    """A connection to the first host of a URL that accepts us; its errors are BrokerUnavailableError and subclasses."""

    #: The name of the protocol, and the scheme of a URL with TLS.
    _protocol: ClassVar[str]
    _tls_scheme: ClassVar[str]

    def __init__(
        self,
        url: BrokerUrl,
        *,
        connect_limit_s: float = CONNECT_LIMIT_SECONDS,
        call_limit_s: float = CALL_LIMIT_SECONDS,
        round_limit_s: float = CONNECT_ROUND_SECONDS,
    ) -> None:
        self._url = url
        self._connect_limit_s = min(connect_limit_s, max(LEAST_LIMIT_SECONDS, round(round_limit_s / len(url.hosts), 1)))
        self._call_limit_s = call_limit_s
        self._ticked_at = 0.0
        self.host = ""

    def open(self) -> None:
        """Connect and log in; BrokerRefusedUsError if no host accepts us and one of them refused us."""
        self.abandon()
        tls = context_of(self._url)
        errors: list[BrokerUnavailableError] = []
        for host, port in self._url.hosts:
            self.host = host_text(host, port)
            try:
                self._connect(host, port, tls)
            except BrokerUnavailableError as error:
                self.abandon()
                errors.append(error)
            else:
                return
        if len(errors) == 1:
            raise errors[0] from None
        refused = any(isinstance(error, BrokerRefusedUsError) for error in errors)
        kind = BrokerRefusedUsError if refused else BrokerUnavailableError
        raise kind("; ".join(str(error) for error in errors)) from None

    @abstractmethod
    def flush(self) -> None:
        """Pass what was written to the kernel; bounded even if the broker reads nothing."""

    @abstractmethod
    def abandon(self) -> None:
        """Drop the connection without notifying the broker; never raises, never waits."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect cleanly, within a time limit; never raises."""

    @abstractmethod
    def _connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Connect and log in to one host."""

    def _heartbeat_s(self) -> int:
        return min(int(self._url.option("heartbeat") or 0) or HEARTBEAT_SECONDS, HEARTBEAT_MAX_SECONDS)

    def _closed(self) -> BrokerUnavailableError:
        return BrokerUnavailableError(f"the connection to {self.host or self._url} is closed")

    def _unavailable(self, error: OSError, limit: str = "") -> BrokerUnavailableError:
        """Return our error for an error of the socket or its bytes, in words for an operator."""
        if isinstance(error, NameLookupTimeoutError):
            return BrokerUnavailableError(str(error))
        if isinstance(error, PeerReadsNothingError):
            return BrokerUnavailableError(f"{self.host} reads nothing for {self._call_limit_s:g} s")
        if isinstance(error, TimeoutError) and error.errno is None:
            return BrokerUnavailableError(f"{self.host} does not answer {limit}".rstrip())
        if isinstance(error, ForeignBytesError):
            return BrokerUnavailableError(f"{self.host} {self._what_it_speaks(error.raw)}; check the port in the URL")
        if isinstance(error, ssl.SSLError):
            return describe_tls(error, self.host)
        if isinstance(error, socket.gaierror):
            return BrokerUnavailableError(f"the host {self.host} is unknown: {error.strerror}")
        text = str(error.strerror or error)
        return BrokerUnavailableError(f"{self.host} cannot be reached: {text or type(error).__name__}")

    def _what_it_speaks(self, raw: bytes) -> str:
        if raw.startswith((b"\x15\x03", b"\x16\x03")):
            return f"speaks TLS: write {self._tls_scheme} in the URL"
        if raw.startswith(b"HTTP"):
            return f"speaks HTTP, not {self._protocol}"
        if raw.startswith(b"AMQP"):
            return f"speaks AMQP {'.'.join(str(number) for number in raw[5:8])}, not {self._protocol}"
        return f"does not speak {self._protocol}"
