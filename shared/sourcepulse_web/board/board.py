# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board in the log's file: what was reduced so far, and the documents that pages draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.file.tables import LogBusyError
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse_web.board.documents import NOTHING_SEEN, BoardDoc, BoardUpdate, PushDoc, Seen, TreeDoc
from sourcepulse_web.board.draw.aliases import Aliases
from sourcepulse_web.board.draw.canvas import Canvas, marks_of, rows_of
from sourcepulse_web.board.draw.push_facts import FactsCache
from sourcepulse_web.board.draw.seen import seen_of
from sourcepulse_web.board.draw.story import stories_of
from sourcepulse_web.board.draw.trees import NOW_PUSHES
from sourcepulse_web.board.keeper import Keeper
from sourcepulse_web.board.reduce.marks import end_rank, rank_of
from sourcepulse_web.board.store import Row, Store
from sourcepulse_web.board.story_documents import StoryDoc
from sourcepulse_web.settings import TreeSettings

#: Pushes in one document at most, and in an update: who was away for longer loads the page again.
PUSHES_MAX = 200
#: How many pushes are drawn in a step, of about 5 ms.
STEP_PUSHES = 5
#: For how long one call reads the log, where the reactor has streams to serve.
SLICE_SECONDS = 0.015
#: So little is read at once when a page asks.
NEAR_ROWS = 200


class Board:
    """Reduces the log to `board_*` tables of the same file, and draws documents of them; in one thread.

    It reads the log itself, from where it or another gateway stopped: all of it at once, or for `slice_s` in each call
    of `read_on`. `rebuild` makes the tables from the log again.

        board = Board(Path("/var/lib/sourcepulse-web/log.db"), lambda: settings.trees, time.time)
        for tree in board.trees():
            print(tree["name"], tree["state"], [failure["test"] for failure in tree["failing"]])
    """

    def __init__(
        self,
        path: Path,
        trees: Callable[[], Mapping[str, TreeSettings]],
        clock: Callable[[], float],
        *,
        exchange: str = DEFAULT_EXCHANGE,
        slice_s: float | None = None,
    ) -> None:
        self._keeper = Keeper(path, exchange, slice_s)
        self._configured = trees
        self._clock = clock
        self._cache = FactsCache()
        self._cache_of = (0, -1)
        self._drawn: _Drawn | None = None
        try:
            self._keeper.read_on()
        except LogBusyError:
            # A slice is read later.
            if slice_s is None:
                raise

    @property
    def unreadable(self) -> int:
        """How many events were passed over since the start, because they are not as the contract has them."""
        return self._keeper.unreadable

    @property
    def position(self) -> int:
        """Up to where the log is reduced."""
        return self._keeper.progress().position

    def apply(self, rows: Sequence[object]) -> None:
        """Reduce what was appended; `rows` say that there is something, what they are is read from the log.

        While another program has locked the log, that waits for `read_on`; LogBusyError if something is to leave the
        board, because nothing may be sent before.
        """
        if rows:
            try:
                self._keeper.read_on()
            except LogBusyError:
                self._keeper.withdraw()

    def read_on(self) -> bool:
        """Read the log for one slice; return whether nothing of it is left."""
        return self._keeper.read_on()

    def is_level(self) -> bool:
        """Return whether the log was read to its end the last time; until then an update would lack the rest."""
        return self._keeper.is_level

    @property
    def pauses(self) -> int:
        """How often a call left something of the log to be read."""
        return self._keeper.pauses

    def behind(self) -> str:
        """Return a sentence that says how much of the log the board has read; "" if a page may be drawn."""
        if self._keeper.is_level:
            return ""
        try:
            progress = self._keeper.progress()
            if progress.end - progress.position <= NEAR_ROWS:
                self._keeper.catch_up()
                return ""
        except LogBusyError:
            return "the board waits, because another program has locked the log"
        return f"the board has read {progress.percent} % of the log"

    def rebuild(self) -> None:
        """Make the tables again from what the log has; states of trees and places older than the log are kept."""
        self._keeper.rebuild()
        self._cache.clear()

    def trees(self) -> list[TreeDoc]:
        """Return all trees by name."""
        with self._keeper.reading() as store:
            aliases = Aliases(self._configured(), store.all("trees"))
            found = [self._canvas(store, repo, aliases).tree() for repo in aliases.repos]
        return sorted(found, key=lambda tree: (tree["name"], tree["repo"]))

    def page(self, repo: str, *, limit: int = 50, before: int | None = None) -> BoardDoc | None:
        """Return the newest pushes, or those before the push `before`; None for a tree of which nothing is known."""
        steps = self.page_in_steps(repo, limit=limit, before=before)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return cast("BoardDoc | None", done.value)

    def page_in_steps(
        self, repo: str, *, limit: int = 50, before: int | None = None
    ) -> Generator[None, None, BoardDoc | None]:
        """Return what `page` returns, in steps of some milliseconds; begin again if something is withdrawn meanwhile.

        Pushes that are drawn later may have events beyond the document's position.
        """
        limit = max(1, min(limit, PUSHES_MAX))
        with self._keeper.reading() as store:
            aliases = Aliases(self._configured(), store.all("trees"))
            if repo not in aliases.repos:
                return None
            edge = store.get("pushes", str(before)) if before is not None else None
            below = edge["rank"] if edge else None
            rows = rows_of(store, repo, None, NOW_PUSHES) + rows_of(store, repo, below, limit)
        pushes = list({row["position"]: row for row in rows}.values())
        for begin in range(0, len(pushes), STEP_PUSHES):
            yield
            with self._keeper.reading() as store:
                self._remember(store, aliases, pushes[begin : begin + STEP_PUSHES])
        yield
        with self._keeper.reading() as store:
            opened = self._keeper.opened
            canvas = self._canvas(store, repo, aliases)
            history = canvas.history(below, limit)
            drawer = canvas.drawer(history)
            document = self._frame(store, canvas)
        shown = range(min(limit, len(history.pushes)))
        for begin in range(0, len(shown), STEP_PUSHES):
            yield
            with self._keeper.reading():
                if self._keeper.opened != opened:
                    raise BrokerUnavailableError("another file took the place of the log while a page was drawn")
                document["pushes"] += drawer.documents(shown[begin : begin + STEP_PUSHES])
        document["older"] = document["pushes"][-1]["id"] if len(history.pushes) > len(shown) else None
        return document

    def changed_at(self, repos: Sequence[str]) -> float | None:
        """Return when the newest event came that changed one of these trees, in seconds since 1970."""
        with self._keeper.reading() as store:
            position = store.last_changed(repos)
        return self._keeper.came_at(position)

    def changed(self, repo: str, after: int, until: int) -> BoardUpdate | None:
        """Return what positions in (after, until] changed, or None if nothing."""
        with self._keeper.reading() as store:
            ids = store.changed(repo, after, until)
            tree = store.get("trees", repo)
            if not ids and not (tree and after < tree["changed"] <= until):
                return None
            drawn = self._drawn_at(store)
            canvas = self._remembered(store, repo, drawn)
            return BoardUpdate(
                tree=canvas.tree(),
                places=canvas.places.documents(),
                pushes=self._changed_pushes(canvas, drawn, ids),
                gone=[push for push, at in (tree or {}).get("gone", ()) if after < at <= until],
                position=min(until, store.position()),
            )

    def frames(self, name: str, after: int, until: int) -> list[bytes]:
        """Return the update of a tree as a channel of the stream sends it: one line of JSON, or nothing."""
        update = self.changed(name, after, until)
        return [] if update is None else [json.dumps(update, separators=(",", ":")).encode()]

    def story(self, prefix: str) -> list[StoryDoc]:
        """Return a story for each push of each changeset that begins so, newest first."""
        with self._keeper.reading() as store:
            aliases = Aliases(self._configured(), store.all("trees"))
            return stories_of(store, prefix, lambda repo: self._canvas(store, repo, aliases))

    def seen(self, event: Mapping[str, Any]) -> Seen:
        """Return what the board knows of an event, as decoded JSON; nothing while much of the log is left to read."""
        if not self._keeper.is_level:
            return NOTHING_SEEN
        with suppress(LogBusyError), self._keeper.reading() as store:
            found = self._drawn_at(store)
            return seen_of(store, event, found.aliases, lambda repo: self._remembered(store, repo, found))
        return NOTHING_SEEN

    def close(self) -> None:
        """Close the file."""
        self._keeper.close()

    def _drawn_at(self, store: Store) -> _Drawn:
        """Return what was drawn since the last event, for all who ask."""
        at = (self._keeper.opened, store.position(), store.withdrawn())
        configured = self._configured()
        drawn = self._drawn
        if drawn is None or drawn.at != at or drawn.configured is not configured:
            drawn = self._drawn = _Drawn(at, configured, Aliases(configured, store.all("trees")))
        return drawn

    def _changed_pushes(self, canvas: Canvas, drawn: _Drawn, ids: Sequence[int]) -> list[PushDoc]:
        """Return the documents of pushes, newest first, each drawn once for all updates since the last event."""
        missing = [push for push in ids if push not in drawn.pushes]
        if missing:
            history = canvas.newest
            known = {push.push["position"]: index for index, push in enumerate(history.pushes)}
            if any(known.get(push, len(known)) >= canvas.shown for push in missing):
                history = canvas.history(None, PUSHES_MAX)
                known = {push.push["position"]: index for index, push in enumerate(history.pushes[:PUSHES_MAX])}
            indices = [known[push] for push in missing if push in known]
            for document in canvas.drawer(history).documents(indices):
                drawn.pushes[document["id"]] = document
            drawn.ranks |= known
        shown = [push for push in ids if push in drawn.pushes]
        return [drawn.pushes[push] for push in sorted(shown, key=lambda push: drawn.ranks[push])]

    def _remembered(self, store: Store, repo: str, drawn: _Drawn) -> Canvas:
        if repo not in drawn.canvases:
            drawn.canvases[repo] = self._canvas(store, repo, drawn.aliases)
        return drawn.canvases[repo]

    def _frame(self, store: Store, canvas: Canvas) -> BoardDoc:
        """Return the document of a board, still without pushes."""
        since = self._keeper.since()
        return BoardDoc(
            tree=canvas.tree(),
            places=canvas.places.documents(),
            pushes=[],
            since=None if since is None else _time(since),
            total=store.count("pushes", "rank", rank_of(canvas.repo, 0, 0), end_rank(canvas.repo)),
            older=None,
            position=store.position(),
        )

    def _remember(self, store: Store, aliases: Aliases, pushes: list[Row]) -> None:
        """Read what is known of pushes, so that a canvas has it at hand."""
        marks = marks_of(store, pushes)
        self._fresh_cache(store).load(store, aliases, [push for push in pushes if push["position"] in marks], marks)

    def _canvas(self, store: Store, repo: str, aliases: Aliases) -> Canvas:
        return Canvas(store, self._fresh_cache(store), repo, self._clock(), aliases)

    def _fresh_cache(self, store: Store) -> FactsCache:
        position = store.position()
        # A mark that is ahead does not move when the events before it are reduced.
        of = self._keeper.opened, position if store.withdrawn() > position else -1
        if self._cache_of != of:
            self._cache.clear()
            self._cache_of = of
        return self._cache


@dataclass(slots=True)
class _Drawn:
    """The trees as the last events left them: one batch has many events, and each asks for the same."""

    at: tuple[int, int, int]
    configured: Mapping[str, TreeSettings]
    aliases: Aliases
    canvases: dict[str, Canvas] = field(default_factory=dict)
    #: Documents of pushes, and where each is in the history of its tree.
    pushes: dict[int, PushDoc] = field(default_factory=dict)
    ranks: dict[int, int] = field(default_factory=dict)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
