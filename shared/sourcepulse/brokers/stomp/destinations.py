# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The STOMP destinations of exchanges, routing keys, patterns and queues, in each broker's syntax."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import covers, escape_word, matches, unescape_word

#: ActiveMQ copies messages to topics with this prefix to every queue `Consumer.<name>.<topic>` (its default).
VIRTUAL_TOPIC = "VirtualTopic."
#: The only percent escape that RabbitMQ decodes in a destination.
RABBITMQ_SLASH = "%2F"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_-]+")


def rabbitmq_key(exchange: str, key: str) -> str:
    """Return the RabbitMQ destination to send to a routing key, or to bind a pattern."""
    return f"/exchange/{_rabbitmq_word(exchange)}/{_rabbitmq_word(key)}"


def rabbitmq_queue(queue: str) -> str:
    """Return the destination of an existing queue; RabbitMQ does not declare it."""
    return f"/amq/queue/{_rabbitmq_word(queue)}"


def rabbitmq_declared_queue(queue: str) -> str:
    """Return the destination of a queue that RabbitMQ declares if it is missing."""
    return f"/queue/{_rabbitmq_word(queue)}"


def rabbitmq_routing_key(destination: str) -> str:
    """Return the routing key of a message from the destination that RabbitMQ reports."""
    if destination.startswith("/exchange/"):
        destination = destination.split("/", 3)[3] if destination.count("/") > 2 else ""
    # RabbitMQ writes its own topic exchange in another way.
    return destination.removeprefix("/topic/").removeprefix("/queue/").replace(RABBITMQ_SLASH, "/")


def is_activemq_name(name: str) -> bool:
    """Return whether a name has only plain words, without characters that are special to ActiveMQ (`,`, `*`, `>`)."""
    return bool(_PLAIN_NAME.fullmatch(name))


def check_activemq_exchange(exchange: str) -> str:
    """Return the exchange, or raise ConfigError if it cannot be one word of a topic's name.

    A name with a dot would lie inside another exchange, whose subscribers would receive its events too.
    """
    if not _PLAIN_WORD.fullmatch(exchange):
        raise ConfigError(
            f"the exchange {exchange!r} cannot be used at ActiveMQ: it must consist of letters, digits, '-' and '_'"
        )
    return exchange


def _rabbitmq_word(name: str) -> str:
    if RABBITMQ_SLASH in name:
        raise ConfigError(f"the name {name!r} cannot be used over STOMP: RabbitMQ would read {RABBITMQ_SLASH} as '/'")
    return name.replace("/", RABBITMQ_SLASH)


def activemq_topic(exchange: str, key: str) -> str:
    """Return the destination of the topic of a routing key."""
    return f"/topic/{VIRTUAL_TOPIC}{exchange}.{key}"


def activemq_topics(exchange: str, pattern: str) -> str:
    """Return the destination of the topics that match one of `activemq_patterns`."""
    return f"/topic/{VIRTUAL_TOPIC}{exchange}.{_wildcards(pattern)}"


def activemq_queue(exchange: str, pattern: str, name: str) -> str:
    """Return the destination of a subscription's queue for the messages that match one of `activemq_patterns`."""
    return f"/queue/Consumer.{_one_word(name)}.{VIRTUAL_TOPIC}{exchange}.{_wildcards(pattern)}"


def activemq_dead_letters(name: str) -> str:
    """Return the destination of the dead letters of a subscription's queues."""
    return f"/queue/Consumer.{_one_word(name)}.dead"


def activemq_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return patterns that ActiveMQ supports and that match at least the same keys, without redundant ones."""
    kept = list(dict.fromkeys(map(_without_inner_hash, patterns)))
    for pattern in tuple(kept):
        if any(_takes_all_of(other, pattern) for other in kept if other != pattern):
            kept.remove(pattern)
    return tuple(kept)


def activemq_routing_key(exchange: str, headers: Mapping[str, str]) -> str | None:
    """Return the routing key of a message; None if it claims a key that its queue does not match.

    The broker itself sets the destination, but that of a queue contains only the pattern. The topic, on which rights
    are granted, is in a header that a publisher can set too, so it is accepted only if it matches the pattern.
    """
    root = f"{VIRTUAL_TOPIC}{exchange}."
    destination = headers.get("destination", "")
    here = destination.partition(root)[2]
    if not destination.startswith("/queue/"):
        return here
    key = headers.get("original-destination", "").partition(root)[2] or headers.get("routing-key", "")
    return key if matches(re.sub(r">$", "#", here), key) else None


def _without_inner_hash(pattern: str) -> str:
    """Drop the words after the first `#`, because ActiveMQ's counterpart `>` can only be last."""
    words = pattern.split(".")
    return ".".join(words[: words.index("#") + 1]) if "#" in words else pattern


def _wildcards(pattern: str) -> str:
    return re.sub(r"#$", ">", pattern)


def _one_word(name: str) -> str:
    """Return a name as one word of a destination: unchanged if possible, and never equal to another name's."""
    if _PLAIN_WORD.fullmatch(name):
        try:
            unescape_word(name)
        except ValueError:
            return name
    return escape_word(name)


def _takes_all_of(pattern: str, other: str) -> bool:
    # The words before a wildcard match more keys than the pattern does, so in doubt the answer is False.
    words = other.split(".")
    plain = words[: next((place for place, word in enumerate(words) if word in "*#"), len(words))]
    return covers(pattern, plain)
