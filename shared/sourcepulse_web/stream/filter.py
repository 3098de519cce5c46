# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which events a client asked for, by routing key, type and source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sourcepulse.errors import ConfigError, quoted
from sourcepulse.events.topics import HASHES_MAX, PATTERN_MAX_BYTES, check_pattern, matches
from sourcepulse_web.stream.ports import Row

#: The most values of one parameter; each is looked at for every new routing key.
VALUES_MAX = 50
SOURCE_MAX_BYTES = 1024
#: How many comparisons of a pattern with a key are remembered, for all clients together.
REMEMBERED_MAX = 65_536
#: The type of an event that stands for one that is not public; its `data` names the type which that one had.
WITHHELD = "system.event.withheld."
EVERYTHING = "#"
PARAMETERS = ("topic", "exclude", "type", "source")


@dataclass(frozen=True)
class Filter:
    """Passes an event that has one of the topics, none of the excluded ones, one of the types, and one of the sources.

    An empty list passes everything. A type is a pattern as well, and it also finds what stands for a withheld event
    of that type, so that no number of the type is missing.

        Filter(topics=("hg.push.#", "build.finished.*"), exclude=("#.try",)).passes(row)
    """

    topics: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def patterns(self) -> int:
        """How many patterns each new key is compared with."""
        return len(self.topics) + len(self.exclude) + len(self.types)

    def passes(self, row: Row) -> bool:
        """Return whether a client with this filter gets the event."""
        key = row.routing_key
        return (
            (not self.topics or any(_fits(pattern, key) for pattern in self.topics))
            and not any(_fits(pattern, key) for pattern in self.exclude)
            and (not self.types or _type_pattern(self.types, row) is not None)
            and (not self.sources or row.source in self.sources)
        )

    def why(self, row: Row) -> str:
        """Return the first pattern, type or source by which an event passes; `#` if nothing was asked for."""
        if self.topics:
            return next((pattern for pattern in self.topics if _fits(pattern, row.routing_key)), "")
        if self.types:
            return _type_pattern(self.types, row) or ""
        if self.sources:
            return row.source if row.source in self.sources else ""
        return EVERYTHING


def filter_of(arguments: Mapping[str, Sequence[str]]) -> Filter:
    """Return the filter of a query; ConfigError with one sentence if it asks for what cannot be."""
    for name in PARAMETERS:
        if len(arguments.get(name, ())) > VALUES_MAX:
            raise ConfigError(
                f"{name}= occurs {len(arguments[name])} times; at most {VALUES_MAX} are allowed: "
                "use '*' and '#', or open a second stream"
            )
    return Filter(
        topics=tuple(_pattern("topic", value) for value in arguments.get("topic", ())),
        exclude=tuple(_pattern("exclude", value) for value in arguments.get("exclude", ())),
        types=tuple(_pattern("type", value) for value in arguments.get("type", ())),
        sources=tuple(map(_source, arguments.get("source", ()))),
    )


def _pattern(name: str, value: str) -> str:
    size = len(value.encode("utf-8", "surrogateescape"))
    if size > PATTERN_MAX_BYTES:
        raise ConfigError(f"a value of {name}= has {size} bytes; a routing key has at most {PATTERN_MAX_BYTES}")
    try:
        check_pattern(value)
    except ConfigError as error:
        raise ConfigError(f"{name}={value} cannot be used: {error}") from None
    if value.split(".").count(EVERYTHING) > HASHES_MAX:
        raise ConfigError(f"{name}={value} has more than {HASHES_MAX} words '#'; one stands for any number of words")
    return value


def _source(value: str) -> str:
    size = len(value.encode("utf-8", "surrogateescape"))
    if size > SOURCE_MAX_BYTES:
        raise ConfigError(f"source={quoted(value)} has {size} bytes; at most {SOURCE_MAX_BYTES} are allowed")
    if not value:
        raise ConfigError(
            "source= is empty; name a source as events do, for example source=hg://hg.example.org/inbound"
        )
    return value


@lru_cache(maxsize=REMEMBERED_MAX)
def _fits(pattern: str, key: str) -> bool:
    if pattern in (key, EVERYTHING):
        return True
    begin = pattern.removesuffix(".#")
    if "#" in begin or "*" in begin:
        return matches(pattern, key)
    # Most patterns are a whole key, or the beginning of one.
    return begin != pattern and (key == begin or key.startswith(f"{begin}."))


def _type_pattern(patterns: Sequence[str], row: Row) -> str | None:
    type_ = row.type
    found = next((pattern for pattern in patterns if _fits(pattern, type_)), None)
    if found is None and type_.startswith(WITHHELD):
        was = _type_before(row.body)
        return next((pattern for pattern in patterns if was is not None and _fits(pattern, was)), None)
    return found


def _type_before(body: bytes) -> str | None:
    try:
        document = json.loads(body)
        was = document["data" if "data" in document else "payload"]["type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return was if isinstance(was, str) else None
