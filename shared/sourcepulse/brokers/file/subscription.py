# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Subscribing to the embedded broker, `file:///path/log.db`: one log that publishers append to."""

from __future__ import annotations

import time
import uuid
from collections import deque
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection
from typing import TYPE_CHECKING

from sourcepulse.brokers import Delivery, SubscriptionSpec
from sourcepulse.brokers.file.dead_consumers import Owner, ear_path, is_alive, remove_files, remove_orphans
from sourcepulse.brokers.file.log import forget_consumer, release_dead, remove_queue, sweep
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.queue import Leased, bury, declare, first_waiting, lease, load_again
from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.tables import LogFile, opened
from sourcepulse.errors import BrokerError, BrokerUnavailableError, SubscriptionError
from sourcepulse.events.topics import check_pattern
from sourcepulse.wake.listener import Listener
from sourcepulse.wake.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sourcepulse.brokers.url import BrokerUrl

__all__ = ["LocalPublisher", "LocalSubscription"]

#: The time between two looks at an idle log while its publishers send wakes.
POLL_ANNOUNCED_SECONDS = 0.25
#: The same while they do not: at first, and after it has been idle for a while.
POLL_SECONDS = 0.02
POLL_IDLE_SECONDS = 0.05
POLL_IDLE_AFTER_SECONDS = 5.0
#: The time between two checks whether the other consumers of the queue are still alive.
PROBE_SECONDS = 0.25
#: While messages flow, an acknowledgement is committed at the latest after this time or with this many others.
ACK_DELAY_SECONDS = 0.02
ACK_BATCH = 50
#: How often a waiting consumer records that it is alive.
TOUCH_SECONDS = 15.0


class LocalSubscription:
    """One consumer of one queue in the log.

    A queue that is not shared serves one consumer at a time, the one subscribed longest; the others receive
    nothing until it ends, however it ends. While messages flow fast, acknowledgements are committed in groups,
    so the last few messages of a killed consumer are redelivered.
    """

    unbinds = True
    notes = ()

    def __init__(self, url: BrokerUrl, spec: SubscriptionSpec) -> None:
        self.interrupted = False
        self._was_open = False
        self._path = Path(url.path)
        self._spec = spec
        # A temporary queue keeps its name, so that reopening finds it if that happens soon enough.
        self._name = spec.queue if spec.durable and spec.queue else f"temporary-{uuid.uuid4()}"
        self._log: LogFile | None = None
        self._owner: Owner | None = None
        self._ear: Listener | None = None
        self._pace = Pace()
        self._queue = self._consumer = 0
        self._busy_at = 0.0
        self._forget()

    @property
    def served(self) -> bool:
        """Whether it subscribed before all others that are alive."""
        if self._log is None or self._spec.shared:
            return False
        with self._log.read() as db:
            return self._is_my_turn(db)

    def open(self) -> None:
        """Declare the queue and register as its consumer; raises what LogFile raises.

        SubscriptionError if the specification cannot be met.
        """
        self.abandon()
        for pattern in self._spec.patterns:
            check_pattern(pattern)
        if not self._spec.patterns or self._spec.durable != bool(self._spec.queue):
            raise SubscriptionError("a subscription needs patterns, and a queue name exactly if it is durable")
        log = LogFile(self._path, for_reading=True)
        try:
            self._owner = Owner.claim(self._path)
            # Before the first look, so that no later message goes unannounced.
            self._ear = Listener(Path(ear_path(self._path, self._owner.token)), without="the log is polled instead")
            self._listen()
            now = time.time()
            with log.write() as db:
                sweep(db, self._path, now)
                declared = declare(db, self._path, self._name, self._spec, now)
                self._consumer = db.execute(
                    "INSERT INTO consumers (queue, token, seen_at) VALUES (?, ?, ?) RETURNING consumer",
                    (declared.queue, self._owner.token, now),
                ).fetchone()[0]
                known = {row[0] for row in db.execute("SELECT token FROM consumers")}
        except BaseException:
            self.abandon()
            log.close()
            raise
        remove_orphans(self._path, known)
        self._log, self._queue, self.interrupted = log, declared.queue, declared.interrupted
        if declared.created and self._was_open:
            self.interrupted = True
        self._was_open = True

    def receive(self, wait_seconds: float) -> Delivery | None:
        """Wait at most `wait_seconds` for one message."""
        log = opened(self._log, self._path)
        deadline = time.monotonic() + wait_seconds
        while not self._ready:
            if self._look(log):
                continue
            now = time.monotonic()
            if now >= deadline:
                return None
            self._pause(deadline - now)
        self._forget_withdrawn(log)
        if not self._ready:
            return None
        item = self._ready.popleft()
        self._out.add(item.position)
        self._busy_at = time.monotonic()
        return Delivery(
            routing_key=item.routing_key,
            body=item.body,
            content_type=item.content_type,
            redelivered=item.deliveries > 1,
            handle=item.position,
        )

    def acknowledge(self, delivery: Delivery) -> None:
        """Remove the message from the queue, at the latest when no other message is ready."""
        log = opened(self._log, self._path)
        if delivery.handle not in self._out:
            raise BrokerUnavailableError("the message was received before the subscription was opened again")
        assert isinstance(delivery.handle, int)  # noqa: S101 - what `receive` put there
        self._out.discard(delivery.handle)
        self._acknowledged.append(delivery.handle)
        now = time.monotonic()
        # There may be room again for messages that were already found waiting.
        self._data_version = -1
        if len(self._acknowledged) >= ACK_BATCH or now >= self._committed_at + ACK_DELAY_SECONDS:
            with log.write(durable=False) as db:
                self._commit_acks(db)
            self._acknowledged.clear()

    def acknowledge_all(self, deliveries: Sequence[Delivery]) -> None:
        """Remove the messages from the queue, as `acknowledge` does."""
        for delivery in deliveries:
            self.acknowledge(delivery)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move the message to the queue's dead letters."""
        log = opened(self._log, self._path)
        if delivery.handle not in self._out:
            raise BrokerUnavailableError("the message was received before the subscription was opened again")
        assert isinstance(delivery.handle, int)  # noqa: S101 - what `receive` put there
        with log.write() as db:
            self._commit_acks(db)
            bury(db, self._queue, delivery.handle, reason, time.time())
        self._data_version = -1
        self._out.discard(delivery.handle)
        self._acknowledged.clear()

    def abandon(self) -> None:
        """Leave as a crash would; the queue's next consumer receives the unacknowledged messages."""
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        if self._owner is not None:
            self._owner.release()
            self._owner = None
        if self._log is not None:
            self._log.close()
            self._log = None
        self._forget()

    def close(self) -> None:
        """Return the unacknowledged messages to the queue and leave; a temporary queue is removed."""
        if self._log is not None:
            with suppress(BrokerError), self._log.write(durable=False) as db:
                self._commit_acks(db)
                # Messages that were leased and never received do not count as delivered.
                db.executemany(
                    "UPDATE leases SET deliveries = deliveries - 1 WHERE queue = ? AND position = ? AND consumer = ?",
                    [(self._queue, item.position, self._consumer) for item in self._ready],
                )
                forget_consumer(db, self._consumer)
                if not self._spec.durable:
                    remove_queue(db, self._queue)
        self.abandon()

    def _forget(self) -> None:
        self._ready: deque[Leased] = deque()
        self._out: set[int] = set()
        self._acknowledged: list[int] = []
        self._reach: Reach | None = None
        self._scanned = 0
        self._data_version = self._checked_version = self._withdrawals = -1
        self._committed_at = 0.0
        self._probed_at = 0.0
        self._touched_at = self._busy_at = time.monotonic()

    def _forget_withdrawn(self, log: LogFile) -> None:
        """Read again what was leased before something was withdrawn; what was trimmed meanwhile cannot be checked."""
        version = log.data_version()
        if version == self._checked_version:
            return
        with log.read() as db:
            (withdrawals,) = db.execute("SELECT withdrawals FROM log").fetchone()
            if withdrawals != self._withdrawals:
                self._ready = deque(load_again(db, self._ready))
        self._checked_version, self._withdrawals = version, withdrawals

    def _listen(self) -> None:
        if self._ear is not None and self._ear.open():
            self._ear.share()

    def _pause(self, seconds_left: float) -> None:
        """Wait until a publisher wakes this consumer, or until it is time to look again."""
        assert self._ear is not None  # noqa: S101 - an open subscription has one
        is_idle = time.monotonic() - self._busy_at > POLL_IDLE_AFTER_SECONDS
        pause = POLL_IDLE_SECONDS if is_idle else POLL_SECONDS
        if self._ear.is_open and self._pace.is_announced:
            pause = POLL_ANNOUNCED_SECONDS
        self._pace.waited(woken=bool(self._ear.wait(min(pause, seconds_left))))

    def _look(self, log: LogFile) -> bool:
        """Look at the log once; True if another look at once may find more."""
        now = time.monotonic()
        room = self._spec.prefetch - len(self._out)
        others_died = False
        with log.read() as db:
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if now >= self._probed_at + PROBE_SECONDS:
                self._probed_at = now
                self._listen()
                log.check_in_place()
                others_died = self._others_died(db)
            due = bool(self._acknowledged) or others_died or now >= self._touched_at + TOUCH_SECONDS
            if version == self._data_version and not due:
                return False
            if not db.execute("SELECT 1 FROM consumers WHERE consumer = ?", (self._consumer,)).fetchone():
                raise self._taken_for_dead()
            self._reach = Reach.load(db, self._queue, self._reach)
            before = self._scanned
            waiting, self._scanned = first_waiting(db, self._queue, self._reach, self._scanned)
            mine = self._is_my_turn(db)
        if due or (waiting and mine and room > 0):
            return self._lease(log, room)
        if self._scanned == before or not mine:
            self._data_version = version
            return False
        return True

    def _lease(self, log: LogFile, room: int) -> bool:
        gone: list[str] = []
        now = time.time()
        with log.write(durable=False) as db:
            self._commit_acks(db)
            if time.monotonic() >= self._touched_at + TOUCH_SECONDS:
                db.execute("UPDATE queues SET used_at = ? WHERE queue = ?", (now, self._queue))
                self._touched_at = time.monotonic()
            gone = release_dead(db, self._path, self._queue, self._consumer, now)
            reach = Reach.load(db, self._queue, self._reach)
            leased = (
                lease(db, self._queue, self._consumer, reach, self._scanned, room, now)
                if room > 0 and self._is_my_turn(db)
                else []
            )
        self._acknowledged.clear()
        self._ready.extend(leased)
        if leased:
            self._pace.found_work()
        for token in gone:
            remove_files(self._path, token)
        return bool(leased)

    def _commit_acks(self, db: Connection) -> None:
        if not db.execute(
            "UPDATE consumers SET seen_at = ? WHERE consumer = ?", (time.time(), self._consumer)
        ).rowcount:
            raise self._taken_for_dead()
        # An expired lease may belong to another consumer by now, and so does the message.
        db.executemany(
            "DELETE FROM leases WHERE queue = ? AND position = ? AND (consumer = ? OR consumer IS NULL)",
            [(self._queue, position, self._consumer) for position in self._acknowledged],
        )
        self._committed_at = time.monotonic()

    def _taken_for_dead(self) -> BrokerUnavailableError:
        return BrokerUnavailableError(
            f"this consumer of {self._name!r} was silent for too long and was considered dead"
        )

    def _is_my_turn(self, db: Connection) -> bool:
        if self._spec.shared:
            return True
        first = db.execute("SELECT min(consumer) FROM consumers WHERE queue = ?", (self._queue,)).fetchone()[0]
        return bool(first == self._consumer)

    def _others_died(self, db: Connection) -> bool:
        tokens = db.execute(
            "SELECT token FROM consumers WHERE queue = ? AND consumer <> ?", (self._queue, self._consumer)
        ).fetchall()
        return any(not is_alive(self._path, token) for (token,) in tokens)
