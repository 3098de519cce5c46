# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which event numbers can reveal a gap for a set of topics: those of whole sources, of whole types, or none."""

from __future__ import annotations

from collections.abc import Sequence

from sourcepulse.catalogue import known_types
from sourcepulse.events.event import Event, routing_words
from sourcepulse.events.topics import FAMILIES, KEY_MAX_BYTES, covers, matches
from sourcepulse.gaps import Lane

#: Of how many routing keys it is kept whether they match.
KEYS_KEPT = 1024
#: Never stored and not numbered, so nothing can reveal that one was lost.
_UNNUMBERED = frozenset({"system.probe.v1", "system.relay.heartbeat.v1"})
#: Takes the numbers of a withheld event; the type of that event is in the data.
_WITHHELD = "system.event.withheld."


class Coverage:
    """The whole sources and whole types that a set of topics covers."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        self._sources = frozenset(
            scheme for scheme, families in FAMILIES.items() if all(self._covers((word,)) for word in families)
        )
        self._types: dict[str, bool] = {}
        #: Few keys make up most events.
        self._keys: dict[str, bool] = {}

    def lane(self, event: Event) -> tuple[Lane | None, int]:
        """Return the lane in which to check an event and its number there; no lane where a hole is not a gap."""
        numbers = event.numbers
        if numbers is None or event.replayed:
            return None, 0
        if self.takes_source(event.source):
            return Lane(event.source, numbers.epoch, None), numbers.sequence
        type_ = event.type
        if type_.startswith(_WITHHELD):
            type_ = str(event.data.get("type", type_))
        if self.takes_all_of(type_):
            return Lane(event.source, numbers.epoch, type_), numbers.typesequence
        return None, 0

    def uses(self, lane: Lane) -> bool:
        """Return whether these topics check order in a lane."""
        by_source = self.takes_source(lane.source)
        return by_source if lane.type is None else not by_source and self.takes_all_of(lane.type)

    def takes(self, key: str) -> bool:
        """Return whether a routing key matches one of the topics."""
        known = self._keys.get(key)
        if known is None:
            known = any(matches(pattern, key) for pattern in self._patterns)
            if len(self._keys) >= KEYS_KEPT:
                self._keys.clear()
            # A longer one is not that of an event.
            if len(key) <= KEY_MAX_BYTES:
                self._keys[key] = known
        return known

    def takes_source(self, source: str) -> bool:
        """Return whether the topics cover all that a source numbers."""
        return source.partition("://")[0] in self._sources

    def takes_all_of(self, type_: str) -> bool:
        """Return whether the topics cover all events of a type."""
        known = self._types.get(type_)
        if known is None:
            known = self._types[type_] = self._covers(routing_words(type_))
        return known

    def unchecked(self) -> tuple[str, ...]:
        """Return the known types that the topics cover only in part, so that a lost event goes unnoticed."""
        return tuple(type_ for type_ in self.taken() if not self.takes_all_of(type_))

    def taken(self) -> tuple[str, ...]:
        """Return the known numbered types that the topics cover at least in part."""
        numbered = (type_ for type_ in known_types() if type_ not in _UNNUMBERED)
        return tuple(type_ for type_ in numbered if self.takes_some_of(routing_words(type_)))

    def takes_some_of(self, words: Sequence[str]) -> bool:
        """Return whether a topic matches some key that begins with these words."""
        return any(_overlaps(pattern.split("."), words) for pattern in self._patterns)

    def _covers(self, words: Sequence[str]) -> bool:
        return any(covers(pattern, words) for pattern in self._patterns)


def _overlaps(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Return whether a key that begins with these words can match the pattern."""
    if not words or "#" in pattern[:1]:
        return True
    if not pattern or pattern[0] not in ("*", words[0]):
        return False
    return _overlaps(pattern[1:], words[1:])
