# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Where an exchange, a routing key, a pattern and a queue are found over STOMP, in each broker's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import covers, escape_word, matches, unescape_word

#: ActiveMQ copies what is sent to a topic below this to every queue `Consumer.<name>.<topic>` (its default).
VIRTUAL_TOPIC = "VirtualTopic."
#: The one escape that RabbitMQ reads in a destination, though it looks like one of many.
RABBITMQ_SLASH = "%2F"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_-]+")


def rabbitmq_key(exchange: str, key: str) -> str:
    """Name what RabbitMQ sends to, and binds, for a routing key or a pattern."""
    return f"/exchange/{_rabbitmq_word(exchange)}/{_rabbitmq_word(key)}"


def rabbitmq_queue(queue: str) -> str:
    """Name a queue that is there; RabbitMQ declares nothing for it."""
    return f"/amq/queue/{_rabbitmq_word(queue)}"


def rabbitmq_declared_queue(queue: str) -> str:
    """Name a queue that RabbitMQ declares if it is not there."""
    return f"/queue/{_rabbitmq_word(queue)}"


def rabbitmq_routing_key(destination: str) -> str:
    """Read the routing key of a message from where RabbitMQ says that it was sent to."""
    if destination.startswith("/exchange/"):
        destination = destination.split("/", 3)[3] if destination.count("/") > 2 else ""
    # It writes its own topic exchange in another way.
    return destination.removeprefix("/topic/").removeprefix("/queue/").replace(RABBITMQ_SLASH, "/")


def is_activemq_name(name: str) -> bool:
    """Return whether a name is nothing but words to ActiveMQ, to which `,`, `*`, `>` and others mean something."""
    return bool(_PLAIN_NAME.fullmatch(name))


def check_activemq_exchange(exchange: str) -> str:
    """Return the exchange back, or raise ConfigError if it cannot be one word of a topic's name.

    One that went on after a dot would be a part of another exchange: who reads all of that one would read it too.
    """
    if not _PLAIN_WORD.fullmatch(exchange):
        raise ConfigError(
            f"the exchange {exchange!r} cannot be had at ActiveMQ: it must be made of letters, digits, '-' and '_'"
        )
    return exchange


def _rabbitmq_word(name: str) -> str:
    if RABBITMQ_SLASH in name:
        raise ConfigError(f"the name {name!r} cannot be had over STOMP: RabbitMQ would read {RABBITMQ_SLASH} as '/'")
    return name.replace("/", RABBITMQ_SLASH)


def activemq_topic(exchange: str, key: str) -> str:
    """Name the topic of a routing key."""
    return f"/topic/{VIRTUAL_TOPIC}{exchange}.{key}"


def activemq_topics(exchange: str, pattern: str) -> str:
    """Name the topics that one of `activemq_patterns` takes."""
    return f"/topic/{VIRTUAL_TOPIC}{exchange}.{_wildcards(pattern)}"


def activemq_queue(exchange: str, pattern: str, name: str) -> str:
    """Name the queue in which ActiveMQ keeps, for a subscription's name, what one of `activemq_patterns` takes."""
    return f"/queue/Consumer.{_one_word(name)}.{VIRTUAL_TOPIC}{exchange}.{_wildcards(pattern)}"


def activemq_dead_letters(name: str) -> str:
    """Name the queue of what was put aside from a subscription's queues."""
    return f"/queue/Consumer.{_one_word(name)}.dead"


def activemq_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return patterns that ActiveMQ has and that take at least the same, none of them all that another one takes."""
    kept = list(dict.fromkeys(map(_without_inner_hash, patterns)))
    for pattern in tuple(kept):
        if any(_takes_all_of(other, pattern) for other in kept if other != pattern):
            kept.remove(pattern)
    return tuple(kept)


def activemq_routing_key(exchange: str, headers: Mapping[str, str]) -> str | None:
    """Read the routing key of a message; None if what it claims is not what its queue was made for.

    The destination is the broker's own word. That of a queue tells the pattern only: the topic, on which rights are
    given, stands in a header that a publisher can write as well, so that it counts within the pattern.
    """
    root = f"{VIRTUAL_TOPIC}{exchange}."
    destination = headers.get("destination", "")
    here = destination.partition(root)[2]
    if not destination.startswith("/queue/"):
        return here
    key = headers.get("original-destination", "").partition(root)[2] or headers.get("routing-key", "")
    return key if matches(re.sub(r">$", "#", here), key) else None


def _without_inner_hash(pattern: str) -> str:
    """Leave out what follows the first `#`: only a last one has a counterpart, `>`."""
    words = pattern.split(".")
    return ".".join(words[: words.index("#") + 1]) if "#" in words else pattern


def _wildcards(pattern: str) -> str:
    return re.sub(r"#$", ">", pattern)


def _one_word(name: str) -> str:
    """Write a name as one word of a destination, as it is if it can be, and never as another one's."""
    if _PLAIN_WORD.fullmatch(name):
        try:
            unescape_word(name)
        except ValueError:
            return name
    return escape_word(name)


def _takes_all_of(pattern: str, other: str) -> bool:
    # What begins with the words before a wildcard is more than the wildcard takes, which is on the safe side.
    words = other.split(".")
    plain = words[: next((place for place, word in enumerate(words) if word in "*#"), len(words))]
    return covers(pattern, plain)
