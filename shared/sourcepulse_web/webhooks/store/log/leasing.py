# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sender's part of the queues of hooks: one consumer of all of them leases events, settles them, is woken."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.brokers.file.dead_consumers import Owner, ear_path, remove_files, remove_orphans
from sourcepulse.brokers.file.log import forget_consumer, release_dead
from sourcepulse.brokers.file.queue import DEAD_LETTERS_MAX, bury, first_waiting, lease_positions
from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.upkeep import is_unread
from sourcepulse.errors import BrokerError, BrokerUnavailableError
from sourcepulse.wake.listener import Listener
from sourcepulse.wake.pace import Pace
from sourcepulse_web.webhooks.errors import QueueMissingError
from sourcepulse_web.webhooks.hook import queue_of
from sourcepulse_web.webhooks.store.log.hook_log import HookLog
from sourcepulse_web.webhooks.store.log.reading import held_at, queue_number
from sourcepulse_web.webhooks.store.records import Held

#: The most events of a hook that are leased at once, beside those to be redelivered.
HELD_MAX = 10_000
#: How many chunks of the log one look scans for a hook; the next look goes on.
SCANS_MAX = 20
#: A cursor that is so far behind what was scanned is moved, so that a later process need not scan it again.
CURSOR_LAG_ROWS = 1_000
#: The time between two looks at the log while its publishers send wakes, and while they do not.
POLL_ANNOUNCED_SECONDS = 0.25
POLL_SECONDS = 0.05
#: How often it is looked whether another consumer, which came before, is still alive.
PROBE_SECONDS = 1.0
#: How often it is recorded that this consumer is alive.
TOUCH_SECONDS = 15.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tap:
    """One queue as this consumer uses it; `more` while another look may find something although nothing changed."""

    queue: int
    consumer: int
    reach: Reach
    scanned: int = 0
    version: int = -1
    more: bool = True
    #: When it was last looked whether the consumer that came before is still alive; None if there is none.
    other_seen_at: float | None = None
    held: set[int] = field(default_factory=set)

    def drop(self, positions: Iterable[int]) -> None:
        self.held.difference_update(positions)
        self.more = True


class _Found(Enum):
    SOME = "some"
    NOTHING = "nothing"
    #: The queue is gone, or another one has its name.
    REMOVED = "removed"
    #: This consumer was taken for dead.
    DEAD = "dead"
    #: Another consumer came before.
    OTHER = "other"


class Leasing:
    """Leases what waits for hooks; see `HookQueues`."""

    def __init__(self, log: HookLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._taps: dict[str, _Tap] = {}
        self._opening = 0
        self._owner: Owner | None = None
        self._ear: Listener | None = None
        self._pace = Pace()
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._ring.setblocking(False)
        self._waited_version = -1
        self._touched_at = time.monotonic()

    @property
    def ear(self) -> str:
        """The path of the socket on which this consumer is woken; "" before the first look."""
        owner = self._owner
        return "" if owner is None else ear_path(self._log.path, owner.token)

    def look(self, name: str, room: int) -> list[Held]:
        """Lease the next events of a hook."""
        with self._log.lock:
            version = self._log.version()
            self._renew()
            tap = self._taps.get(name) or self._register(name)
            room = min(room, HELD_MAX - len(tap.held))
            if tap.version == version and (not tap.more or room <= 0):
                return []
            below = max(tap.held, default=0)
            with self._log.read() as db:
                found = self._scan(db, name, tap, below, room)
            tap.version = version
            if found is _Found.REMOVED:
                del self._taps[name]
                raise QueueMissingError(f"the queue of the webhook {name!r} was removed")
            if found is _Found.DEAD:
                self._log.close()
                raise BrokerUnavailableError(
                    "the sender of webhooks was silent for too long and was considered dead; it begins again"
                )
            if found is _Found.OTHER:
                self._wait_for_other(name, tap)
                return []
            tap.other_seen_at = None
            return self._lease(tap, room, below) if found is _Found.SOME else []

    def held(self, name: str) -> int:
        """Return how many events of a hook are leased to this process."""
        tap = self._taps.get(name)
        return 0 if tap is None else len(tap.held)

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
            tap.more, tap.version = True, -1

    def wait(self, seconds: float) -> bool:
        """Wait until something is published or `interrupt` is called; return whether that was so."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            ear = self._ear
            is_announced = ear is not None and ear.is_open and self._pace.is_announced
            pause = min(left, POLL_ANNOUNCED_SECONDS if is_announced else POLL_SECONDS)
            if ear is None:
                ear = Listener(self._log.path, without="")
            woken = bool(ear.wait(max(0.0, pause), self._bell))
            self._pace.waited(woken=woken)
            rung = self._was_rung()
            changed = self._changed()
            if changed:
                self._pace.found_work()
            if woken or rung or changed:
                return True
            if time.monotonic() >= deadline:
                return False

    def interrupt(self) -> None:
        """End a wait that is going on, or else the next one; any thread may call it."""
        with suppress(OSError):
            self._ring.send(b"1")

    def leave(self) -> None:
        """Return what is leased to the queues, and stop being their consumer."""
        with self._log.lock:
            if self._taps and self._opening == self._log.openings:
                with suppress(BrokerError), self._log.write() as db:
                    for tap in self._taps.values():
                        forget_consumer(db, tap.consumer)
            self._drop()

    def close(self) -> None:
        """Leave, for good."""
        self.leave()
        self._bell.close()
        self._ring.close()

    def _drop(self) -> None:
        self._taps.clear()
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    def _renew(self) -> None:
        """Become a consumer, again if the log was opened again: what was leased before waits for redelivery."""
        if self._owner is not None and self._opening == self._log.openings:
            if self._ear is not None and self._ear.open():
                self._ear.share()
            return
        self._drop()
        with self._log.read() as db:
            known = {row[0] for row in db.execute("SELECT token FROM consumers")}
        remove_orphans(self._log.path, known)
        self._owner = Owner.claim(self._log.path)
        # Before the first look, so that no later message goes unannounced.
        self._ear = Listener(Path(ear_path(self._log.path, self._owner.token)), without="the log is polled instead")
        if self._ear.open():
            self._ear.share()
        self._opening = self._log.openings
        self._touched_at = time.monotonic()

    def _register(self, name: str) -> _Tap:
        assert self._owner is not None  # noqa: S101 - _renew has one
        now = self._clock()
        with self._log.write() as db:
            queue = queue_number(db, name)
            gone = release_dead(db, self._log.path, queue, None, now)
            row = db.execute(
                "INSERT INTO consumers (queue, token, seen_at) VALUES (?, ?, ?) RETURNING consumer",
                (queue, self._owner.token, now),
            ).fetchone()
            tap = _Tap(queue, row[0], Reach.load(db, queue))
            self._log.afterwards(lambda: self._taps.__setitem__(name, tap))
        for token in gone:
            # A former sender had one token for all of its queues.
            with self._log.read() as db:
                in_use = db.execute("SELECT 1 FROM consumers WHERE token = ?", (token,)).fetchone()
            if in_use is None:
                remove_files(self._log.path, token)
        return tap

    @staticmethod
    def _scan(db: Connection, name: str, tap: _Tap, below: int, room: int) -> _Found:
        row = db.execute("SELECT queue, cursor FROM queues WHERE name = ?", (queue_of(name),)).fetchone()
        if row is None or row[0] != tap.queue:
            return _Found.REMOVED
        first, is_alive = db.execute(
            "SELECT min(consumer), max(consumer = ?) FROM consumers WHERE queue = ?", (tap.consumer, tap.queue)
        ).fetchone()
        if not is_alive:
            return _Found.DEAD
        if first != tap.consumer:
            return _Found.OTHER
        reach = Reach.load(db, tap.queue, tap.reach)
        if reach is not tap.reach:
            tap.reach, tap.scanned = reach, 0
        if room <= 0:
            again = "SELECT 1 FROM leases WHERE queue = ? AND position < ? AND consumer IS NULL LIMIT 1"
            return _Found.SOME if db.execute(again, (tap.queue, below)).fetchone() else _Found.NOTHING
        for _ in range(SCANS_MAX):
            before = tap.scanned
            waits, tap.scanned = first_waiting(db, tap.queue, reach, before)
            tap.more = waits or tap.scanned != before
            if waits:
                return _Found.SOME
            if not tap.more:
                break
        # Also without an event for this hook the cursor is moved from time to time.
        return _Found.SOME if tap.scanned - row[1] >= CURSOR_LAG_ROWS else _Found.NOTHING

    def _wait_for_other(self, name: str, tap: _Tap) -> None:
        now = time.monotonic()
        if tap.other_seen_at is None:
            logger.warning("another process delivers the webhook %s, and this one waits for it to end", name)
        elif now < tap.other_seen_at + PROBE_SECONDS:
            return
        tap.other_seen_at, tap.more = now, True
        with self._log.write() as db:
            release_dead(db, self._log.path, tap.queue, tap.consumer, self._clock())

    def _lease(self, tap: _Tap, room: int, below: int) -> list[Held]:
        with self._log.write() as db:
            if is_unread(db):
                # What a program of format 1 withdrew meanwhile must be obeyed first.
                tap.more = True
                return []
            found = lease_positions(
                db, tap.queue, tap.consumer, tap.reach, tap.scanned, room, self._clock(), below=below
            )
            leased = held_at(db, [each.position for each in found])
        tap.held.update(each.position for each in leased)
        return leased

    def _ours(self, name: str, positions: Iterable[int]) -> tuple[_Tap | None, list[int]]:
        """Return those of the positions that are leased to this process."""
        tap = self._taps.get(name)
        if tap is None or self._opening != self._log.openings:
            return None, []
        return tap, sorted(tap.held.intersection(positions))

    def _changed(self) -> bool:
        """Return whether something was committed since the last wait; a failure is left to the next look."""
        try:
            version = self._log.version()
            if time.monotonic() >= self._touched_at + TOUCH_SECONDS:
                self._touch()
        except BrokerError:
            return False
        changed = version != self._waited_version
        self._waited_version = version
        return changed

    def _touch(self) -> None:
        self._touched_at = time.monotonic()
        if self._owner is not None and self._opening == self._log.openings:
            now = self._clock()
            with self._log.write() as db:
                db.execute("UPDATE consumers SET seen_at = ? WHERE token = ?", (now, self._owner.token))
                db.executemany(
                    "UPDATE queues SET used_at = ? WHERE queue = ?", [(now, tap.queue) for tap in self._taps.values()]
                )

    def _was_rung(self) -> bool:
        with suppress(BlockingIOError):
            return bool(self._bell.recv(1_000))
        return False
