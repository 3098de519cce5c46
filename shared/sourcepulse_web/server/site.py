# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The site: its connections, their number, and what was refused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as the_reactor
from twisted.web.server import Site

from sourcepulse_web.server.connection.answers import WITHDRAWN, Answers
from sourcepulse_web.server.connection.channel import GatewayChannel
from sourcepulse_web.server.guards import Place, known_hosts, methods_of
from sourcepulse_web.server.request import GatewayRequest
from sourcepulse_web.server.routes import Routes

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress
    from twisted.web.http import Request

    from sourcepulse_web.services import Services
    from sourcepulse_web.settings import WebSettings

#: How long a connection may wait for its next request.
IDLE_SECONDS = 60.0
#: Connections beside those of streams: pages, probes.
SPARE_CONNECTIONS = 200

access = logging.getLogger("sourcepulse_web.access")


class GatewaySite(Site):
    """The site of one gateway."""

    requestFactory = GatewayRequest
    #: Without TLS, because a proxy in front has that, and so without a choice of protocols.
    protocol = GatewayChannel  # type: ignore[assignment]

    def __init__(self, services: Services) -> None:
        super().__init__(Routes(services), timeout=IDLE_SECONDS)
        self._settings: Callable[[], WebSettings] = services.settings
        #: Requests that were refused, or failed, and answers that were cut, by kind.
        self.errors: Counter[str] = Counter()
        self.answers = Answers(the_reactor, self.refused)
        if services.hub is not None:
            services.hub.forgets.append(self.forget)
        self._channels: set[GatewayChannel] = set()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._channels)

    @property
    def connections_max(self) -> int:
        """How many may be open."""
        return self._settings().clients_max + SPARE_CONNECTIONS

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return what reads a connection; None if there are too many, and it is closed: an EventSource comes back."""
        if self.connections >= self.connections_max:
            self.refused("connections")
            return None
        return super().buildProtocol(addr)

    def known_hosts(self, place: Place) -> frozenset[str]:
        """Return the values of `Host` that are answered at the address of a connection."""
        settings = self._settings()
        return known_hosts(settings.listen, settings.hosts, place)

    def methods_of(self, uri: bytes) -> tuple[bytes, ...]:
        """Return the methods that are possible at an address."""
        return methods_of(uri, forms=self._settings().webhooks is not None)

    def connected(self, channel: GatewayChannel) -> None:
        """Count a new connection."""
        self._channels.add(channel)

    def disconnected(self, channel: GatewayChannel) -> None:
        """Forget a connection."""
        self._channels.discard(channel)

    def forget(self) -> None:
        """Cut the answers that wait, because they may hold what must not be shown any more."""
        for channel in [channel for channel in self._channels if channel.has_waiting]:
            self.refused(WITHDRAWN)
            channel.cut()

    def refused(self, kind: str) -> None:
        """Count a request that no page answered, or not to its end."""
        self.errors[kind] += 1

    def log(self, request: Request) -> None:
        """Log a request where that is set: neither who asked nor the values of the query."""
        if self._settings().access_log:
            path = request.path.decode("ascii", "backslashreplace")
            access.info(
                "%s %s %d %s", request.method.decode("ascii", "replace"), path, request.code, request.sentLength
            )

    def startFactory(self) -> None:
        """Open no log file: Twisted's has queries and addresses."""

    def stopFactory(self) -> None:
        """Close no log file."""
