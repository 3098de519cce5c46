# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The address that browsers connect to, and why it cannot be used."""

from __future__ import annotations

import errno
import logging
from typing import Any

from twisted.internet.error import CannotListenError

from sourcepulse.errors import EXIT_FAILURE, ConfigError, SourcePulseError
from sourcepulse_web.server.guards import is_loopback

#: Many browsers come back in the same second after a restart.
BACKLOG = 512

logger = logging.getLogger(__name__)


class ListenError(SourcePulseError):
    """The address is in use or may not be used; choose another, or end what uses it."""

    exit_code = EXIT_FAILURE
    reason = "listen"


def listen(reactor: Any, site: Any, where: str) -> Any:
    """Listen at an address and return the port; ListenError or ConfigError with what to do."""
    host, _, port = where.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        found = reactor.listenTCP(int(port), site, backlog=BACKLOG, interface=host)
    except CannotListenError as error:
        raise _named(where, error.socketError) from None
    if not is_loopback(host):
        logger.warning(
            "%s can be reached from other machines, and without TLS: put a proxy with TLS before it, see the page on "
            "the web gateway",
            where,
        )
    return found


def _named(where: str, error: object) -> SourcePulseError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return ListenError(
            f"the gateway cannot listen at {where}: another program does; end it, or choose another port"
        )
    if number == errno.EACCES:
        return ListenError(
            f"the gateway cannot listen at {where}: ports below 1024 need a right that it should not have; choose 8080 "
            "and put a proxy before it"
        )
    if number == errno.EADDRNOTAVAIL:
        return ConfigError(f"the gateway cannot listen at {where}: that is no address of this machine")
    return ConfigError(f"the gateway cannot listen at {where}: {error}")
