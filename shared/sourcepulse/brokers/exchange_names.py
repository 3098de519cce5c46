# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Names of exchanges: the defaults, and which names are valid on every broker."""

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
#: RabbitMQ reserves these names, and STOMP and MQTT clients read `amq.topic` by default.
RESERVED_PREFIX = "amq."

_ACTIVEMQ = "+activemq"
_EXCHANGE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def check_exchange(name: str) -> str:
    """Return the name, or raise ConfigError: it must mean the same on every broker, in URLs and in patterns."""
    if not _EXCHANGE.fullmatch(name) or len(name) > EXCHANGE_MAX_BYTES:
        raise ConfigError(
            f"{name[:80]!r} is not a valid exchange name: use letters, digits, '-' and '_', "
            f"with single dots between them, at most {EXCHANGE_MAX_BYTES} characters"
        )
    if name.lower().startswith(RESERVED_PREFIX):
        raise ConfigError(f"{name!r} is not a valid exchange name: {RESERVED_PREFIX}* is reserved by RabbitMQ")
    return name


def check_place(url: BrokerUrl, exchange: str) -> None:
    """Raise ConfigError if this broker cannot have an exchange of this name.

    At RabbitMQ the name may contain slashes, because those of Mozilla Pulse do, such as `exchange/hgpushes/v2`.
    """
    check_exchange(exchange if url.scheme == "file" or url.scheme.endswith(_ACTIVEMQ) else exchange.replace("/", "-"))
    if url.scheme.endswith(_ACTIVEMQ):
        check_activemq_exchange(exchange)
