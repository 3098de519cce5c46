# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sender's part of the queues of hooks: one consumer of all of them leases events and settles them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.brokers.file.dead_consumers import Owner, ear_path, remove_files, remove_orphans
from sourcepulse.brokers.file.log import forget_consumer, release_dead
from sourcepulse.brokers.file.queue import DEAD_LETTERS_MAX, bury, first_waiting, lease_positions
from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.upkeep import is_unread
from sourcepulse.errors import BrokerError, BrokerUnavailableError
from sourcepulse_web.webhooks.errors import QueueMissingError
from sourcepulse_web.webhooks.hook import queue_of
from sourcepulse_web.webhooks.store.log.ear import Ear
from sourcepulse_web.webhooks.store.log.hook_log import HookLog
from sourcepulse_web.webhooks.store.log.reading import held_at, queue_number, recalled
from sourcepulse_web.webhooks.store.log.watch import Watch
from sourcepulse_web.webhooks.store.records import Held, Recalled

#: The most events of a hook that are leased at once, beside those to be redelivered.
HELD_MAX = 10_000
#: How often it is looked whether another consumer, which came before, is still alive.
PROBE_SECONDS = 1.0
#: How often it is recorded that this consumer is alive and how far it read, and read what other programs released.
TOUCH_SECONDS = 15.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tap:
    """One queue as this consumer uses it; `more` while another look may find something although there is no news."""

    queue: int
    consumer: int
    reach: Reach
    scanned: int = 0
    more: bool = True
    #: When it was last looked whether the consumer that came before is still alive; None if there is none.
    other_seen_at: float | None = None
    held: set[int] = field(default_factory=set)
    #: Up to where events are leased and not held.
    left_until: int = 0

    def drop(self, positions: Iterable[int]) -> None:
        self.held.difference_update(positions)
        self.more = True


class Leasing:
    """Leases what waits for hooks; see `HookQueues`."""

    def __init__(self, log: HookLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._taps: dict[str, _Tap] = {}
        self._opening = 0
        self._owner: Owner | None = None
        self._ear = Ear(self._has_news)
        self._watch = Watch()
        self._waited_version: tuple[int, int] | None = None
        self._touched_at = 0.0
        self.wait = self._ear.wait
        self.interrupt = self._ear.ring

    @property
    def ear(self) -> str:
        """The path of the socket on which this consumer is woken; "" before the first look."""
        owner = self._owner
        return "" if owner is None else ear_path(self._log.path, owner.token)

    def look(self, name: str, room: int) -> list[Held]:
        """Lease the next events of a hook."""
        with self._log.lock:
            self._refresh()
            tap = self._taps.get(name) or self._register(name)
            watch = self._watch
            if watch.queues.get(queue_of(name)) != tap.queue:
                del self._taps[name]
                raise QueueMissingError(f"the queue of the webhook {name!r} was removed")
            if tap.consumer not in watch.consumers:
                self._log.close()
                raise BrokerUnavailableError(
                    "the sender of webhooks was silent for too long and was considered dead; it begins again"
                )
            room = min(room, HELD_MAX - len(tap.held))
            if tap.queue not in watch.news and (not tap.more or room <= 0):
                return []
            if watch.first[tap.queue] != tap.consumer:
                self._wait_for_other(name, tap)
                return []
            tap.other_seen_at = None
            news = watch.news.get(tap.queue, 0)
            if not tap.more and news:
                tap.scanned = max(tap.scanned, news - 1)
            return self._lease(tap, max(0, room), max(tap.left_until, max(tap.held, default=0)))

    def has_more(self, name: str) -> bool:
        """Return whether another look may find events of a hook although there is no news."""
        tap = self._taps.get(name)
        return tap is not None and tap.more and tap.other_seen_at is None and len(tap.held) < HELD_MAX

    def held(self, name: str) -> int:
        """Return how many events of a hook are leased to this process."""
        tap = self._taps.get(name)
        return 0 if tap is None else len(tap.held)

    def leave(self, name: str, positions: Iterable[int]) -> None:
        """Hold leased events no longer, until they are recalled."""
        with self._log.lock:
            tap, ours = self._ours(name, positions)
            if tap is not None and ours:
                tap.held.difference_update(ours)
                tap.left_until = max(tap.left_until, ours[-1])

    def recall(self, name: str, source: str, first: int, room: int) -> Recalled:
        """Hold events of a source again that were left."""
        with self._log.lock:
            tap = self._taps.get(name)
            with self._log.read() as db:
                if tap is None or self._opening != self._log.openings:
                    return Recalled([], first)
                found = recalled(db, tap.queue, tap.consumer, source, first, room)
            tap.held.update(event.position for event in found.events)
            return found

    def settle(self, name: str, positions: Iterable[int]) -> None:
        """Remove events that are leased to this process from the queue."""
        with self._log.lock:
            tap, ours = self._ours(name, positions)
            if tap is None or not ours:
                return
            with self._log.write() as db:
                # A lease that was released meanwhile may be ours again soon, and the event is done all the same.
                db.executemany(
                    "DELETE FROM leases WHERE queue = ? AND position = ? AND (consumer = ? OR consumer IS NULL)",
                    [(tap.queue, position, tap.consumer) for position in ours],
                )
                self._log.afterwards(lambda: tap.drop(ours))

    def set_aside(self, name: str, position: int, reason: str) -> bool:
        """Move a leased event to the dead letters; False if these are full, and then nothing was done."""
        with self._log.lock:
            tap, ours = self._ours(name, [position])
            if tap is None or not ours:
                return True
            with self._log.write() as db:
                (count,) = db.execute("SELECT count(*) FROM dead_letters WHERE queue = ?", (queue_of(name),)).fetchone()
                if count >= DEAD_LETTERS_MAX:
                    return False
                row = db.execute("SELECT withdrawn FROM envelopes WHERE position = ?", (position,)).fetchone()
                if row is None or row[0]:
                    # The reason may quote what was withdrawn.
                    self.settle(name, ours)
                    return True
                bury(db, tap.queue, position, reason, self._clock())
                self._log.afterwards(lambda: tap.drop(ours))
        return True

    def mark_changed(self, name: str) -> None:
        """Make the next look at a hook read its queue, because this process changed it."""
        tap = self._taps.get(name)
        if tap is not None:
            self._watch.mark([tap.queue])

    def read_again(self) -> None:
        """Make the next look read which queues and consumers there are, because this process changed them."""
        self._watch.version = -1

    def close(self) -> None:
        """Return what is leased to the queues, and stop being their consumer."""
        with self._log.lock:
            if self._taps and self._opening == self._log.openings:
                # In a transaction for each queue, so that publishers get their turn in between. After a failure the
                # rest is released by the next consumer, because this one is dead then.
                with suppress(BrokerError):
                    for tap in self._taps.values():
                        with self._log.write() as db:
                            forget_consumer(db, tap.consumer)
            self._drop()
            self._ear.close()

    def _drop(self) -> None:
        self._taps.clear()
        self._ear.forget()
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    def _refresh(self) -> None:
        """Read what is new, and be a consumer: if the log was opened again, what was leased is to be redelivered."""
        version = self._log.version()
        if self._owner is None or self._opening != self._log.openings:
            self._drop()
            with self._log.read() as db:
                known = {row[0] for row in db.execute("SELECT token FROM consumers")}
            remove_orphans(self._log.path, known)
            self._owner = Owner.claim(self._log.path)
            # Before the first look, so that no later message goes unannounced.
            self._ear.listen(Path(self.ear))
            self._opening = self._log.openings
            self._watch = Watch()
            self._touched_at = time.monotonic()
        if version != self._watch.version:
            with self._log.read() as db:
                self._watch.refresh(db, version)
        if time.monotonic() >= self._touched_at + TOUCH_SECONDS:
            self._touch()

    def _register(self, name: str) -> _Tap:
        assert self._owner is not None  # noqa: S101 - _refresh has one
        now = self._clock()
        with self._log.write() as db:
            queue = queue_number(db, name)
            gone = release_dead(db, self._log.path, queue, None, now)
            row = db.execute(
                "INSERT INTO consumers (queue, token, seen_at) VALUES (?, ?, ?) RETURNING consumer",
                (queue, self._owner.token, now),
            ).fetchone()
            tap = _Tap(queue, row[0], Reach.load(db, queue))
            # A former sender had one token for all of its queues.
            alive = {row[0] for row in db.execute("SELECT token FROM consumers")}
            first = db.execute("SELECT min(consumer) FROM consumers WHERE queue = ?", (queue,)).fetchone()[0]
        for token in gone:
            if token not in alive:
                remove_files(self._log.path, token)
        self._taps[name] = tap
        watch = self._watch
        watch.queues[queue_of(name)], watch.first[queue] = queue, first
        watch.consumers.add(tap.consumer)
        return tap

    def _wait_for_other(self, name: str, tap: _Tap) -> None:
        now = time.monotonic()
        if tap.other_seen_at is None:
            logger.warning("another process delivers the webhook %s, and this one waits for it to end", name)
        elif now < tap.other_seen_at + PROBE_SECONDS:
            return
        tap.other_seen_at, tap.more = now, True
        with self._log.write() as db:
            release_dead(db, self._log.path, tap.queue, tap.consumer, self._clock())
            first = db.execute("SELECT min(consumer) FROM consumers WHERE queue = ?", (tap.queue,)).fetchone()[0]
        self._watch.first[tap.queue] = first

    def _passes(self, tap: _Tap) -> bool:
        """Return whether the next thousand messages have none for a queue; they are passed without the write lock."""
        with self._log.read() as db:
            reach = Reach.load(db, tap.queue, tap.reach)
            if reach is not tap.reach:
                return False
            is_found, scanned = first_waiting(db, tap.queue, reach, tap.scanned)
        if is_found or self._opening != self._log.openings:
            return False
        # Without progress there are no messages, even if there were some when the log was last read.
        tap.more = tap.scanned < scanned < self._watch.seen
        tap.scanned = scanned
        self._watch.news.pop(tap.queue, None)
        return True

    def _lease(self, tap: _Tap, room: int, below: int) -> list[Held]:
        if not self._watch.news.get(tap.queue) and self._passes(tap):
            return []
        with self._log.write() as db:
            if is_unread(db):
                # What a program of format 1 withdrew meanwhile must be obeyed first.
                tap.more = True
                return []
            if not db.execute("SELECT 1 FROM consumers WHERE consumer = ?", (tap.consumer,)).fetchone():
                self.read_again()
                return []
            reach = Reach.load(db, tap.queue, tap.reach)
            if reach is not tap.reach:
                tap.reach, tap.scanned = reach, 0
            found = lease_positions(db, tap.queue, tap.consumer, reach, tap.scanned, room, self._clock(), below=below)
            leased = held_at(db, [each.position for each in found])
            cursor, used_at = db.execute("SELECT cursor, used_at FROM queues WHERE queue = ?", (tap.queue,)).fetchone()
        self._watch.news.pop(tap.queue, None)
        tap.held.update(each.position for each in leased)
        # Up to the cursor all was scanned; without room the rest of the log is left for later.
        tap.scanned = max(tap.scanned, cursor)
        tap.more = tap.scanned < self._watch.seen or len(leased) >= room
        self._watch.used(tap.queue, used_at)
        return leased

    def _ours(self, name: str, positions: Iterable[int]) -> tuple[_Tap | None, list[int]]:
        """Return those of the positions that are leased to this process."""
        tap = self._taps.get(name)
        if tap is None or self._opening != self._log.openings:
            return None, []
        return tap, sorted(tap.held.intersection(positions))

    def _has_news(self) -> bool:
        """Return whether something was committed since the last wait; a failure is left to the next look."""
        try:
            version = self._log.openings, self._log.version()
        except BrokerError:
            return False
        changed = version != self._waited_version
        self._waited_version = version
        return changed

    def _touch(self) -> None:
        """Record that this consumer is alive and how far it read, and find what other programs released."""
        self._touched_at = time.monotonic()
        self._ear.renew()
        assert self._owner is not None  # noqa: S101 - _refresh has one
        now = self._clock()
        watch = self._watch
        with self._log.read() as db:
            # This reads all leases, while publishers can write.
            released = db.execute("SELECT DISTINCT queue FROM leases WHERE consumer IS NULL").fetchall()
        with self._log.write() as db:
            db.execute("UPDATE consumers SET seen_at = ? WHERE token = ?", (now, self._owner.token))
            (bindings_version,) = db.execute("SELECT bindings_version FROM log").fetchone()
            for tap in self._taps.values():
                db.execute("UPDATE queues SET used_at = ? WHERE queue = ?", (now, tap.queue))
                is_read = not tap.more and tap.queue not in watch.news
                if is_read and bindings_version == watch.bindings_version:
                    self._move_cursor(db, tap)
        for tap in self._taps.values():
            watch.used(tap.queue, now)
        watch.mark(queue for (queue,) in released)

    def _move_cursor(self, db: Connection, tap: _Tap) -> None:
        """Move the cursor over what is not for the queue, so that a later process need not scan it again."""
        # A publisher counts a message for the queue in the commit that appends it.
        db.execute(
            "UPDATE queues SET cursor = ?1 WHERE queue = ?2 AND cursor < ?1 AND published = taken",
            (self._watch.seen, tap.queue),
        )
