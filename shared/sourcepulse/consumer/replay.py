# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Replay to one reader: the events that a consumer pulls from an outbox, and their place among those that come."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.brokers import Delivery
from sourcepulse.brokers.exchange_names import DEFAULT_RESTRICTED_EXCHANGE
from sourcepulse.consumer.memory.event_name import name_of
from sourcepulse.consumer.memory.in_progress import InProgress
from sourcepulse.consumer.received_event import PULLED, Item
from sourcepulse.errors import ConfigError, DecodeError, NothingThereError, OutboxError, VisibilityUnknownError
from sourcepulse.events.event import PUBLIC, RESTRICTED, SEQUENCE_MAX, stream_of
from sourcepulse.events.wire import CONTENT_TYPE
from sourcepulse.gaps import Gap
from sourcepulse.outbox.delivery_state import bound_broker
from sourcepulse.outbox.outbox import BURIED, DELIVERED, PENDING, WITHHELD_TYPE, Outbox
from sourcepulse.outbox.outgoing.pull import Pull, Pulled, Selection, since, with_ids

#: How many pulled events may be in progress at once; one that has to be checked is fetched when it is needed.
IN_PROGRESS_MAX = 20

#: The type of an event before it was withheld.
_TYPE = (
    f"CASE e.type WHEN '{WITHHELD_TYPE}' THEN (SELECT json_extract(CAST(body AS TEXT), '$.data.type') "  # noqa: S608 - made of constants
    "FROM bodies WHERE position = e.position) ELSE e.type END"
)

log = logging.getLogger("sourcepulse.consumer")


class Pulls:
    """The pulls of one consumer, one after the other; `add` may be called from any thread."""

    def __init__(self, progress: InProgress, takes: Callable[[str], bool], exchange: str, *, are_ready: bool) -> None:
        self._progress = progress
        self._takes = takes
        self._exchange = exchange
        self._are_ready = are_ready
        self._pulls: deque[Pull] = deque()
        #: The events in hand by name, and where each is from; those that were given back are pulled again.
        self._from: dict[str, tuple[Path, str]] = {}
        self._given_back: dict[tuple[Path, str], list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._pulls or self._given_back)

    @property
    def hold_back(self) -> bool:
        """Whether what comes from the broker waits, because it may be younger than all that is pulled."""
        return any(pull.goes_on for pull in tuple(self._pulls))

    def add(self, what: Gap | float, path: Path) -> int:
        """Add the events of a gap, or those stored since a time; return how many of the gap come, 0 for a time.

        The errors of `Consumer.replay`.
        """
        stream = _stream_of(path, self._exchange)
        if isinstance(what, Gap):
            if stream_of(what.source) == RESTRICTED and stream != RESTRICTED:
                raise ConfigError(
                    f"{what.source} is restricted, and this consumer reads the exchange {self._exchange!r}, which "
                    f"is not the one of restricted events in {path}"
                )
            come = _count_missing(path, what)
            selection = _of_gap(what)
        else:
            come = 0
            selection = since(what, stream)
        self._pulls.append(Pull(path, selection, self._takes))
        return come

    def next(self, record_handled: Callable[[], None]) -> Item | None:
        """Return the next event, which is in hand then; None if there is none or it waits for others.

        `record_handled` is called if there is no room, because the handled ones may be recorded together.
        """
        for (path, stream), ids in self._given_back.items():
            with suppress(OutboxError):
                self._pulls.appendleft(Pull(path, with_ids(ids, stream), self._takes))
        self._given_back.clear()
        if not self._has_room():
            record_handled()
        item = self._fetch()
        if item is not None:
            self._progress.add(item.name)
            self._progress.hand_out(item)
        return item

    def give_back(self, item: Item) -> None:
        """Note that an event was not handled after all: it is checked again, and comes first."""
        if (origin := self._from.get(item.name)) is not None:
            self._given_back.setdefault(origin, []).append(item.event.id)

    def close(self) -> None:
        """Forget what was not pulled yet."""
        self._given_back.clear()
        while self._pulls:
            self._pulls.popleft().close()

    def _fetch(self) -> Item | None:
        while self._pulls and self._has_room():
            try:
                pulled = self._pulls[0].next()
            except (OutboxError, VisibilityUnknownError) as error:
                # It is not shown, because it may not be public any more.
                log.warning("the replay ends early, ask for it again later: %s", error)
                pulled = None
            if pulled is None:
                self._pulls.popleft().close()
            elif (item := self._item(pulled)) is not None:
                if len(self._from) > 2 * IN_PROGRESS_MAX:
                    # Those that were settled.
                    self._from = {name: it for name, it in self._from.items() if self._progress.handed_out(name)}
                self._from[item.name] = self._pulls[0].origin
                return item
        return None

    def _has_room(self) -> bool:
        return not self._pulls or self._progress.pulled < self._most()

    def _most(self) -> int:
        try:
            return 1 if self._pulls[0].is_asked() else IN_PROGRESS_MAX
        except OutboxError:
            # `next` reports it.
            return IN_PROGRESS_MAX

    def _item(self, pulled: Pulled) -> Item | None:
        event = pulled.event
        name = name_of(event._replace(replayed=False), pulled.body, CONTENT_TYPE)
        try:
            if self._progress.repeats(name, event, pulled.body) is not None:
                return None
        except DecodeError:
            # It was handled before a part of it was withheld.
            return None
        delivery = Delivery(
            routing_key=event.routing_key,
            body=pulled.body,
            content_type=CONTENT_TYPE,
            redelivered=False,
            handle=None,
        )
        return Item(
            event=event, name=name, delivery=delivery, generation=PULLED, lane=None, number=0, ready=self._are_ready
        )


def _stream_of(path: Path, exchange: str) -> str:
    """Return the stream that an outbox publishes to an exchange; public unless it is certain that it is the other."""
    with Outbox.open(path, create=False) as outbox:
        public, restricted = (_exchange_of(bound_broker(outbox, stream)) for stream in (PUBLIC, RESTRICTED))
    return RESTRICTED if exchange == (restricted or DEFAULT_RESTRICTED_EXCHANGE) and exchange != public else PUBLIC


def _exchange_of(place: str | None) -> str | None:
    return place.rpartition(" ")[2] if place else None


def _of_gap(gap: Gap) -> Selection:
    # The relay sends those that wait.
    where, values = _missing(gap)
    return Selection(stream_of(gap.source), f"{where} AND e.state = '{DELIVERED}'", values)


def _count_missing(path: Path, gap: Gap) -> int:
    """Return how many events of a gap come: those that can be pulled, and those that the relay has yet to send."""
    where, values = _missing(gap)
    kept = "position IN (SELECT position FROM bodies)"
    with Outbox.open(path, create=False) as outbox, outbox.reading() as db:
        _check_is_known(db, gap, path)
        come = _count(db, f"{where} AND e.state IN ('{DELIVERED}', '{PENDING}') AND {kept}", values)
        buried = _count(db, f"{where} AND state = '{BURIED}'", values)
    missing = gap.last_missing - gap.first_missing + 1
    if come < missing:
        text = (
            f"of the {missing} missing events of {gap.source} the outbox {path} has {come}: {buried} are buried "
            f"(`sourcepulse outbox list --state buried` shows why), {missing - come - buried} have expired"
        )
        if not come:
            raise NothingThereError(text)
        log.warning("%s", text)
    return come


def _missing(gap: Gap) -> tuple[str, tuple[object, ...]]:
    first, last = min(gap.first_missing, SEQUENCE_MAX), min(gap.last_missing, SEQUENCE_MAX)
    where = "e.source = ? AND e.epoch = ? AND e.{number} BETWEEN ? AND ?"
    if gap.type is None:
        return where.format(number="sequence"), (gap.source, gap.epoch, first, last)
    # A withheld event keeps the number of its type.
    where = f"{where.format(number='typesequence')} AND {_TYPE} = ?"
    return where, (gap.source, gap.epoch, first, last, gap.type)


def _check_is_known(db: Connection, gap: Gap, path: Path) -> None:
    epochs = {row[0] for row in db.execute("SELECT epoch FROM numbers WHERE source = ?", (gap.source,))}
    if not epochs:
        raise NothingThereError(f"the outbox {path} has no events of {gap.source}; another outbox sent them")
    if gap.epoch not in epochs:
        raise NothingThereError(
            f"the outbox {path} has no events of {gap.source} in epoch {gap.epoch}; they were in an earlier file"
        )


def _count(db: Connection, where: str, values: tuple[object, ...]) -> int:
    return int(db.execute(f"SELECT count(*) FROM events e WHERE {where}", values).fetchone()[0])  # noqa: S608 - as above
