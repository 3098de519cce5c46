# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which queues of the embedded log get a message: by the bindings of now, and by those of its position."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from sourcepulse.events.topics import matches, simplified

#: For how many routing keys a router caches the queues.
ROUTER_KEYS_MAX = 10_000

#: A queue, an exchange and a pattern, valid for the positions in (after, until].
Binding = tuple[int, str, str, int, int | None]


class Span(NamedTuple):
    """The positions of which a queue gets the messages of some key."""

    queue: int
    after: int
    until: int | None

    def has(self, position: int) -> bool:
        """Return whether a position is among them."""
        return self.after < position and (self.until is None or position <= self.until)


class _Node:
    """A place in a tree of patterns: what may follow, and the spans of the patterns that end here."""

    __slots__ = ("is_hash", "nexts", "spans")

    def __init__(self, *, is_hash: bool = False) -> None:
        self.is_hash = is_hash
        self.nexts: dict[str, _Node] = {}
        self.spans: list[Span] = []

    def next(self, word: str) -> _Node:
        found = self.nexts.get(word)
        if found is None:
            found = self.nexts[word] = _Node(is_hash=word == "#")
        return found


class PatternTree:
    """Finds the spans of a key among many patterns in the time of one pattern, by the rules of `topics.matches`.

    >>> tree = PatternTree()
    >>> tree.add("hg.push.#", Span(1, 0, None))
    >>> tree.find("hg.push.try")
    [Span(queue=1, after=0, until=None)]
    """

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, pattern: str, span: Span) -> None:
        """Add a pattern."""
        node = self._root
        for word in simplified(pattern):
            node = node.next(word)
        node.spans.append(span)

    def find(self, key: str) -> list[Span]:
        """Return the spans of all patterns that match, in no order."""
        reached = _with_hashes([self._root])
        for word in key.split("."):
            # Each node once, in a dict because a set of nodes has no order.
            step: dict[_Node, None] = {}
            for node in reached:
                if node.is_hash:
                    step[node] = None
                for each in ("*", word):
                    if each in node.nexts:
                        step[node.nexts[each]] = None
            reached = _with_hashes(step)
        return [span for node in reached for span in node.spans]


def _with_hashes(nodes: Iterable[_Node]) -> dict[_Node, None]:
    """Return nodes with those that a "#" leads to without a word."""
    reached = dict.fromkeys(nodes)
    waiting = list(reached)
    while waiting:
        after = waiting.pop().nexts.get("#")
        if after is not None and after not in reached:
            reached[after] = None
            waiting.append(after)
    return reached


class Router:
    """Maps routing keys to queues, by the bindings at one moment."""

    def __init__(self, version: int, bindings: Iterable[Binding]) -> None:
        self.version = version
        self._bindings = bindings
        #: By exchange; made when the first key is looked up.
        self._trees: dict[str, PatternTree] | None = None
        self._known: dict[tuple[str, str], tuple[tuple[Span, ...], tuple[int, ...]]] = {}

    @classmethod
    def load(cls, db: sqlite3.Connection, former: Router | None) -> Router:
        """Return the former router if the bindings are still the same, else a new one."""
        version = db.execute("SELECT bindings_version FROM log").fetchone()[0]
        if former is not None and former.version == version:
            return former
        return cls(version, db.execute("SELECT queue, exchange, pattern, after, until FROM bindings").fetchall())

    def queues(self, exchange: str, key: str) -> tuple[int, ...]:
        """Return the queues that are bound to a key, each once."""
        return self._find(exchange, key)[1]

    def spans(self, exchange: str, key: str) -> tuple[Span, ...]:
        """Return which queues are or were bound to a key, and for which positions."""
        return self._find(exchange, key)[0]

    def _find(self, exchange: str, key: str) -> tuple[tuple[Span, ...], tuple[int, ...]]:
        found = self._known.get((exchange, key))
        if found is None:
            tree = self._grown().get(exchange)
            spans = () if tree is None else tuple(tree.find(key))
            found = spans, tuple(sorted({span.queue for span in spans if span.until is None}))
            if len(self._known) >= ROUTER_KEYS_MAX:
                self._known.clear()
            self._known[exchange, key] = found
        return found

    def _grown(self) -> dict[str, PatternTree]:
        if self._trees is None:
            self._trees = {}
            for queue, exchange, pattern, after, until in self._bindings:
                self._trees.setdefault(exchange, PatternTree()).add(pattern, Span(queue, after, until))
            self._bindings = ()
        return self._trees


class Reach:
    """The bindings of one queue by position: a binding is valid in (after, until]."""

    def __init__(self, version: int, bindings: Iterable[tuple[str, str, int, int | None]]) -> None:
        self.version = version
        self._bindings = tuple(bindings)
        self._known: dict[tuple[str, str], tuple[tuple[int, int | None], ...]] = {}

    @classmethod
    def load(cls, db: sqlite3.Connection, queue: int, former: Reach | None = None) -> Reach:
        """Return the former reach if no bindings changed since, else a new one."""
        version = db.execute("SELECT bindings_version FROM log").fetchone()[0]
        if former is not None and former.version == version:
            return former
        rows = db.execute("SELECT exchange, pattern, after, until FROM bindings WHERE queue = ?", (queue,))
        return cls(version, rows.fetchall())

    def has(self, position: int, exchange: str, key: str) -> bool:
        """Return whether the message at a position goes to the queue."""
        spans = self._known.get((exchange, key))
        if spans is None:
            spans = tuple(
                (after, until)
                for at, pattern, after, until in self._bindings
                if at == exchange and matches(pattern, key)
            )
            if len(self._known) >= ROUTER_KEYS_MAX:
                self._known.clear()
            self._known[exchange, key] = spans
        return any(after < position and (until is None or position <= until) for after, until in spans)
