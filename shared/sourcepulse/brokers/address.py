# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Names of exchanges: the defaults, and what is a name on every broker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sourcepulse.brokers.stomp.destinations import check_activemq_exchange
from sourcepulse.errors import ConfigError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

DEFAULT_EXCHANGE = "sourcepulse"
DEFAULT_RESTRICTED_EXCHANGE = "sourcepulse-restricted"
#: AMQP 0-9-1 carries a name as a short string of at most 255 bytes.
EXCHANGE_MAX_BYTES = 255
#: RabbitMQ keeps these names for itself, and `amq.topic` is what everybody's STOMP and MQTT clients read.
RESERVED_PREFIX = "amq."

_ACTIVEMQ = "+activemq"
_EXCHANGE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def check_exchange(name: str) -> str:
    """Return the name back, or raise ConfigError: it must mean the same on every broker, in URLs and in patterns."""
    if not _EXCHANGE.fullmatch(name) or len(name) > EXCHANGE_MAX_BYTES:
        raise ConfigError(
            f"{name[:80]!r} is no name for an exchange; it is letters, digits, '-' and '_', "
            f"with single dots between them, {EXCHANGE_MAX_BYTES} characters at most"
        )
    if name.lower().startswith(RESERVED_PREFIX):
        raise ConfigError(f"{name!r} is no name for an exchange: {RESERVED_PREFIX}* belong to RabbitMQ")
    return name


def check_place(url: BrokerUrl, exchange: str) -> None:
    """Raise ConfigError if this broker cannot have an exchange of this name.

    RabbitMQ has exchanges of others, whose names may have slashes: Pulse's own are `exchange/hgpushes/v2` and the like.
    """
    check_exchange(exchange if url.scheme == "file" or url.scheme.endswith(_ACTIVEMQ) else exchange.replace("/", "-"))
    if url.scheme.endswith(_ACTIVEMQ):
        check_activemq_exchange(exchange)
