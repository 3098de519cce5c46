# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""All that documents of one tree are drawn from, read once."""

from __future__ import annotations

from sourcepulse_web.board.documents import TreeDoc
from sourcepulse_web.board.draw.aliases import Aliases
from sourcepulse_web.board.draw.bugs import Bugs
from sourcepulse_web.board.draw.places import Places, places_of
from sourcepulse_web.board.draw.push_facts import FactsCache
from sourcepulse_web.board.draw.pushes import PushDrawer
from sourcepulse_web.board.draw.trees import NOW_PUSHES, tree_document
from sourcepulse_web.board.draw.verdicts import WINDOW_PUSHES, History
from sourcepulse_web.board.reduce.marks import end_rank, rank_of
from sourcepulse_web.board.store import Row, Store


class Canvas:
    """One tree at one instant. Pushes are read when they are first asked for."""

    def __init__(self, store: Store, cache: FactsCache, repo: str, now: float, aliases: Aliases) -> None:
        self.store = store
        self.repo = repo
        self.aliases = aliases
        tree = aliases.configured.get(repo)
        self.bugs = Bugs(store, tree.bugzilla if tree else None)
        self._cache = cache
        self._now = now
        self._place_rows = store.all("places")
        #: How many of the newest pushes have all the pushes that verdicts look at.
        self.shown = NOW_PUSHES
        self.newest = self.history(None, NOW_PUSHES)
        self.places = self._places(self.newest)

    def history(self, below: str | None, pushes: int) -> History:
        """Return the pushes below a rank (None: the newest), with those before that verdicts look at."""
        rows = rows_of(self.store, self.repo, below, pushes)
        return History(self._cache.load(self.store, self.aliases, rows, marks_of(self.store, rows)))

    def drawer(self, history: History) -> PushDrawer:
        marks = marks_of(self.store, [push.push for push in history.pushes])
        return PushDrawer(self.store, history, self._places(history), self.bugs, marks)

    def tree(self) -> TreeDoc:
        return tree_document(self.store, self.aliases, self.repo, self.newest, self.places, self.bugs, self._now)

    def _places(self, history: History) -> Places:
        facts = history.pushes if history is self.newest else [*self.newest.pushes, *history.pushes]
        return places_of(self.repo, self.aliases, self._place_rows, facts, self._now)


def rows_of(store: Store, repo: str, below: str | None, pushes: int) -> list[Row]:
    """Return the rows of the pushes below a rank, newest first, with those before that verdicts look at."""
    low, high = rank_of(repo, 0, 0), below or end_rank(repo)
    found = store.between("pushes", "rank", low, high, pushes + WINDOW_PUSHES, descending=True)
    return [row for row in found if row["repo"] == repo]


def marks_of(store: Store, pushes: list[Row]) -> dict[int, Row]:
    found = store.find_any("marks", "push", [push["position"] for push in pushes])
    return {mark["push"]: mark for mark in found}
