# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an owner may see of an event that is POSTed: the sentence of the live page, or why there is none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sourcepulse.brokers.file.reader import Row
from sourcepulse.events.event import format_time
from sourcepulse_web.pages.live.sentences.parts import Part
from sourcepulse_web.pages.live.view import RowView
from sourcepulse_web.settings import TreeSettings
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Figures, SetAside
from sourcepulse_web.webhooks.store.store import HookStore

#: Of many events that are set aside, so many of the oldest and of the newest are read.
SET_ASIDE_READ = 20
#: What a reader most likely wants to open, the first kind first; else the first link of a sentence.
_LINKS = ("w", "node")


class SightState(StrEnum):
    """Whether an event may be seen now."""

    PUBLIC = "public"
    #: It was public, or the log has only a stand-in of it.
    WITHDRAWN = "withdrawn"
    #: The log has it no longer.
    GONE = "gone"
    #: It was a test, which no log has.
    TEST = "test"


#: What is shown in place of the sentence of an event.
ABSENCES = {
    SightState.WITHDRAWN: "no longer public",
    SightState.GONE: "no longer in the log",
    SightState.TEST: "a test",
}


class Sight(NamedTuple):
    """An event as it may be seen now; without `PUBLIC` nothing of it.

    >>> sight.sentence, sight.link
    ('alice pushed 3 changes to inbound 1f0c5a2be9d0 Bug 1234', '/changes/1f0c5a2be9d0...')
    """

    state: SightState
    kind: str = ""
    parts: tuple[Part, ...] = ()
    #: When it happened, in seconds since 1970; None if it may not be seen.
    at: float | None = None
    #: Where more of it is: a page of this gateway, or an address; "" for none.
    link: str = ""

    @property
    def sentence(self) -> str:
        """Return the sentence without its links; "" if there is none."""
        return "".join(part.text for part in self.parts)

    @property
    def absence(self) -> str:
        """Return why there is no sentence; "" if there is one."""
        return ABSENCES.get(self.state, "")


WITHDRAWN, GONE, TEST = (Sight(state) for state in (SightState.WITHDRAWN, SightState.GONE, SightState.TEST))


class Seen(NamedTuple):
    """The sights of what a card shows, each in the order of what it is about."""

    attempts: tuple[Sight, ...]
    #: None for those that were not read, because there are many.
    set_aside: tuple[Sight | None, ...]
    #: Of the oldest event that waits; None if none waits.
    oldest: Sight | None


class _Known(NamedTuple):
    """An event of the log, and its sight."""

    source: str
    id: str
    sight: Sight


class Sights:
    """Reads the events of one card at once; what the store and the log raise passes through."""

    def __init__(self, store: HookStore, queues: HookQueues, trees: Mapping[str, TreeSettings] | None = None) -> None:
        self._store = store
        self._queues = queues
        self._view = RowView(None, lambda: trees or {}, None)

    def of(self, name: str, figures: Figures, attempts: Sequence[Attempt], set_aside: Sequence[SetAside]) -> Seen:
        """Return what may be seen of the events of a hook, as the log has them now."""
        letters = {each.letter for each in (*set_aside[:SET_ASIDE_READ], *set_aside[-SET_ASIDE_READ:])}
        positions = {each.position for each in attempts if each.position}
        if figures.oldest is not None:
            positions.add(figures.oldest)
        found, dead = self._read(name, positions, letters)
        # Withheld, because a Bugzilla was asked; its log may hear of that later.
        hidden = self._store.attempts.forgotten({(each.source, each.id) for each in (*found.values(), *dead.values())})
        return Seen(
            tuple(_of_attempt(each, found.get(each.position), hidden) for each in attempts),
            tuple(
                _checked(each, dead.get(each.letter), hidden) if each.letter in letters else None for each in set_aside
            ),
            None if figures.oldest is None else _checked(None, found.get(figures.oldest), hidden),
        )

    def _read(
        self, name: str, positions: Collection[int], letters: Collection[int]
    ) -> tuple[dict[int, _Known], dict[int, _Known]]:
        if not self._queues.path.exists():
            return {}, {}
        return self._queues.rows(name, sorted(positions), sorted(letters), self._known)

    def _known(self, row: Row) -> _Known:
        return _Known(row.source, row.id, WITHDRAWN if row.withdrawn else self._sight(row))

    def _sight(self, row: Row) -> Sight:
        document = self._view.document(row)
        parts = tuple(document["parts"])
        return Sight(SightState.PUBLIC, document["kind"], parts, _moment(document["time"], row.at), _link(parts))


def sight_json(sight: Sight) -> dict[str, Any]:
    """Return what may be seen of an event as it is printed."""
    return {
        "state": sight.state.value,
        "kind": sight.kind,
        "sentence": sight.sentence,
        "time": None if sight.at is None else format_time(sight.at),
        "link": sight.link or None,
    }


def _of_attempt(attempt: Attempt, known: _Known | None, hidden: Collection[tuple[str, str]]) -> Sight:
    return _checked(attempt, known, hidden) if attempt.position else TEST


def _checked(meant: Attempt | SetAside | None, known: _Known | None, hidden: Collection[tuple[str, str]]) -> Sight:
    if known is None:
        return GONE
    event = known.source, known.id
    if meant is not None and event != (meant.source, meant.id):
        # In a log that replaced another one, the position is that of another event.
        return GONE
    return WITHDRAWN if event in hidden else known.sight


def _moment(time: str, appended_at: float) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return appended_at


def _link(parts: Sequence[Part]) -> str:
    linked = [part for part in parts if part.href]
    chosen = (part for kind in _LINKS for part in linked if part.kind.partition(" ")[0] == kind)
    return next((part.href for part in (*chosen, *linked) if part.href), "")
