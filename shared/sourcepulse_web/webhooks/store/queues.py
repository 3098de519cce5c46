# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The queues of hooks in the gateway's log: what waits, what was set aside, and what is sent again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Self, TypeVar

from sourcepulse.brokers import QueueLimits, SubscriptionSpec
from sourcepulse.brokers.file.admin import remove_with_letters
from sourcepulse.brokers.file.dead_consumers import ear_path
from sourcepulse.brokers.file.queue import UNLIMITED, declare
from sourcepulse.brokers.file.reader import Row
from sourcepulse.wake.send import send_wake
from sourcepulse_web.webhooks.hook import Hook, queue_of
from sourcepulse_web.webhooks.store.log import reading, redelivery
from sourcepulse_web.webhooks.store.log.figures import Counter
from sourcepulse_web.webhooks.store.log.hook_log import HookLog
from sourcepulse_web.webhooks.store.log.leasing import Leasing
from sourcepulse_web.webhooks.store.records import Figures, Held, Loaded, Matches, Recalled, SetAside, Withdrawn

#: A queue of a hook keeps its events as long as the log does, however long they wait.
LIMITS = QueueLimits(max_length=UNLIMITED, message_ttl_s=UNLIMITED, expires_s=UNLIMITED, max_deliveries=UNLIMITED)

Made = TypeVar("Made")


class HookQueues:
    """One connection to the log for the queues of all hooks; any thread may call it.

    The first `look` makes this process the consumer of a queue; a process that only asks and redelivers is none. Each
    method but `wait` and `interrupt` may raise BrokerError. LogBusyError means "later"; after any other the next call
    opens the log again, `openings` is higher, and all that was leased before is leased again by `look`: forget it.

        queues = HookQueues(Path("/var/lib/sourcepulse-web/log.db"), "sourcepulse")
        for held in queues.look("chat-room", room=100):
            loaded = queues.load(held.position)
            ...
        with queues.batch():
            queues.settle("chat-room", [17, 18])
    """

    def __init__(
        self, log: Path, exchange: str, *, private: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        """Open nothing yet. With `private`, a log that is missing is created for its owner alone."""
        self.path = log
        self._exchange = exchange
        self._clock = clock
        self._log = HookLog(log, exchange, private=private)
        self._leasing = Leasing(self._log, clock)
        self._counter = Counter()
        self.wait = self._leasing.wait
        self.interrupt = self._leasing.interrupt

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Return what is leased to the queues, at once, and close the log."""
        self._leasing.close()
        self._log.close()

    @property
    def openings(self) -> int:
        """How often the log was opened; what was leased before the last time is not ours any more."""
        return self._log.openings

    @property
    def ear(self) -> str:
        """The path of the socket on which the sender is woken; "" before the first look."""
        return self._leasing.ear

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make all changes within it one transaction; any error undoes all of them. It is not for `look` and `load`."""
        with self._log.write():
            yield

    def declare(self, hook: Hook) -> None:
        """Declare the queue of a new hook: it gets what is appended from now on, and nothing of a former hook."""
        self._log.create()
        with self._log.write(durable=True) as db:
            _remove(db, hook.name)
            declare(db, self.path, hook.queue, self._spec(hook, from_start=False), self._clock())
        self._leasing.read_again()

    def ensure(self, hook: Hook, since: float) -> bool:
        """Declare a queue that is missing, because the log was replaced, and return whether it was.

        It gets what the log has from a time on: that of the hook itself, so that nothing is left out. Events that only
        the former log had are lost.
        """
        with self._log.write(durable=True) as db:
            was_there = db.execute("SELECT 1 FROM queues WHERE name = ?", (hook.queue,)).fetchone() is not None
            if not was_there:
                declare(db, self.path, hook.queue, self._spec(hook, from_start=since), self._clock())
        self._leasing.read_again()
        return not was_there

    def rebind(self, hook: Hook) -> None:
        """Change the topics of a queue, for what is appended from now on; QueueMissingError if there is none."""
        with self._log.write(durable=True) as db:
            reading.queue_number(db, hook.name)
            declare(db, self.path, hook.queue, self._spec(hook, from_start=False), self._clock())
        self._leasing.read_again()

    def topics(self, name: str) -> tuple[str, ...] | None:
        """Return the topics to which the queue of a hook is bound; None if there is no queue."""
        with self._log.read() as db:
            return reading.topics_of(db, name)

    def unused(self, before: float) -> set[str]:
        """Return the hooks whose queues no process used since a time; the hooks may be gone. Nothing without a log."""
        if not self.path.exists():
            return set()
        with self._log.read() as db:
            return reading.unused_names(db, before)

    def remove(self, name: str) -> None:
        """Remove the queue of a hook with what was set aside, also while the sender uses it; there may be none."""
        with self._log.write(durable=True) as db:
            _remove(db, name)
            # The write-ahead log has what was set aside, with what the receiver answered.
            db.execute("UPDATE log SET scrub = 1")
        self._log.scrub()
        self._leasing.read_again()

    def look(self, name: str, room: int) -> list[Held]:
        """Lease at most `room` more events of a hook, in the order of the log; [] if none waits, at little cost.

        Those to be redelivered that are before some that are held come whatever the room, also with none: the events of
        a source are sent by position. QueueMissingError if the queue was removed: `ensure` it, unless the hook was too.
        """
        return self._leasing.look(name, room)

    def has_more(self, name: str) -> bool:
        """Return whether another `look` may find events at once, because the last one stopped before the end."""
        return self._leasing.has_more(name)

    def leave(self, name: str, positions: Iterable[int]) -> None:
        """Leave leased events in their queue, which then take no memory here; `recall` returns them again."""
        self._leasing.leave(name, positions)

    def recall(self, name: str, source: str, first: int, room: int) -> Recalled:
        """Return at most `room` events of a source that were left, from a position on and in the order of the log."""
        return self._leasing.recall(name, source, first, room)

    def held(self, name: str) -> int:
        """Return how many events of a hook are leased to this process."""
        return self._leasing.held(name)

    def load(self, position: int) -> Loaded | None:
        """Return an event as the log has it now, to be sent at once; None if the log removed it, which it counted."""
        with self._log.read() as db:
            return reading.loaded_at(db, position)

    def rows(
        self, name: str, positions: Sequence[int], letters: Sequence[int], make: Callable[[Row], Made]
    ) -> tuple[dict[int, Made], dict[int, Made]]:
        """Return what is made of events by position, and of those set aside by letter, of one instant.

        What the log has not is left out. One body at a time is in memory; of a withdrawn event it is a stand-in.
        """
        with self._log.read() as db:
            return (
                {row.position: make(row) for row in reading.rows_at(db, positions)},
                {letter: make(row) for letter, row in reading.letters_at(db, name, letters)},
            )

    def settle(self, name: str, positions: Iterable[int]) -> None:
        """Remove delivered or withheld events from the queue; those that are not leased to us are left alone."""
        self._leasing.settle(name, positions)

    def set_aside(self, name: str, position: int, reason: str) -> bool:
        """Move an event to those set aside, where at most 1,000 have room; False without room: nothing was done.

        One that was withdrawn is settled instead, because the reason may quote it.
        """
        return self._leasing.set_aside(name, position, reason)

    def set_aside_list(self, name: str) -> list[SetAside]:
        """Return the events of a hook that were set aside, oldest first."""
        with self._log.read() as db:
            return reading.set_aside_of(db, name)

    def bring_back(self, name: str, letters: Sequence[int] | None = None) -> int:
        """Send again what was set aside, by letter or all of it, and return how much that is.

        What was withdrawn is dropped instead.
        """
        return self._redelivered(name, redelivery.bring_back(self._log, name, letters, self._clock()))

    def drop(self, name: str, letter: int) -> bool:
        """Remove an event that was set aside, for good, and return whether there was one."""
        return redelivery.drop(self._log, name, letter)

    def again_event(self, name: str, event: redelivery.Meant) -> redelivery.Again:
        """Send one event again that is found by its source and id, also in a log that replaced the former one.

        One that was set aside is brought back; one that the log has no longer, or withdrew, is not sent.
        """
        found = redelivery.again_event(self._log, name, event, self._clock())
        self._redelivered(name, found.events)
        return found

    def since(self, name: str, at: float) -> int:
        """Send again all that matches the topics of a hook since a time, also before it was added; return how many.

        TooManyEventsError above 10,000, with a time that is late enough.
        """
        return self._redelivered(name, redelivery.since(self._log, name, at, self._clock()))

    def figures(self, name: str) -> Figures:
        """Return what waits for a hook."""
        return self.figures_of([name])[name]

    def figures_of(self, names: Sequence[str]) -> dict[str, Figures]:
        """Return what waits for some hooks, by name, of one instant."""
        with self._log.read() as db:
            return self._counter.figures(db, names)

    def oldest_at(self) -> float:
        """Return when the oldest event was appended that the log has, also of those set aside; infinite without any."""
        if not self.path.exists():
            return inf
        with self._log.read() as db:
            return reading.oldest_at(db)

    def matches(self, topics: Sequence[str], since: float) -> Matches:
        """Return how many events since a time match one of the topics, among the last 200,000."""
        with self._log.read() as db:
            return reading.matches_since(db, self._exchange, topics, since)

    def data_version(self) -> int:
        """Return a number that differs from the last one if another process changed the log; it costs microseconds."""
        return self._log.version()

    def withdrawn(self, token: str, after: int) -> Withdrawn:
        """Return what was withdrawn behind a position of the log with this token; of another log, all."""
        with self._log.read() as db:
            return reading.withdrawn_since(db, token, after)

    def _spec(self, hook: Hook, *, from_start: bool | float) -> SubscriptionSpec:
        return SubscriptionSpec(
            exchange=self._exchange, patterns=hook.topics, queue=hook.queue, durable=True, from_start=from_start,
            limits=LIMITS,
        )  # fmt: skip

    def _redelivered(self, name: str, count: int) -> int:
        """Wake the process that sends, and return the count."""
        self._leasing.mark_changed(name)
        with self._log.read() as db:
            tokens = db.execute(
                "SELECT token FROM consumers JOIN queues USING (queue) WHERE name = ?", (queue_of(name),)
            ).fetchall()
        for (token,) in tokens:
            send_wake(ear_path(self.path, token))
        return count


def _remove(db: Connection, name: str) -> None:
    row = db.execute("SELECT queue FROM queues WHERE name = ?", (queue_of(name),)).fetchone()
    remove_with_letters(db, -1 if row is None else row[0], queue_of(name))
