# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A thread that turns facts into events and stores them in batches, so that the reactor never waits for the disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse.errors import EventError, OutboxError
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox, Stored
from sourcepulse.outbox.problems import count_collect_errors
from sourcepulse_buildbot.mapping.emitter import Emitter

#: Makes the events of a fact; called in the writer's thread, so it must hold only copies.
Fact = Callable[[Emitter], Event | Iterable[Event]]

#: How long facts are gathered for one commit after a pause, because facts come in groups; and how long after the last
#: commit, which costs as much CPU as several events. A killed master leaves at most this much to recovery.
GATHER_SECONDS = 0.05
BETWEEN_COMMITS_SECONDS = 0.1
#: After so many events at once the thread sleeps, so that the reactor has its turns.
BATCH_EVENTS = 200
BATCH_PAUSE_SECONDS = 0.02
#: A fact takes about two KiB; what does not fit is recovered from Buildbot's database.
QUEUE_MOST_FACTS = 50_000
#: The wait after the outbox could not be written; it doubles up to the maximum.
RETRY_FIRST_SECONDS = 0.2
RETRY_MOST_SECONDS = 30.0
#: How long the reactor waits at the end; the rest is recovered at the next start.
STOP_LIMIT_SECONDS = 5.0

#: The name of this kind of source in the count of collect errors.
KIND = "buildbot"

#: What an event raises that cannot be encoded; OutboxError is not among them.
_BAD_EVENT = (EventError, ValueError, TypeError, OverflowError)

_Result = TypeVar("_Result")


class Writer:
    """Stores facts in order; while the disk is full or the outbox is locked, it retries.

    `open_outbox` is called in the thread. `warn` is called, in the thread, with sentences for the log of the master.
    """

    def __init__(self, open_outbox: Callable[[], Outbox], emitter: Emitter, *, warn: Callable[[str], None]) -> None:
        self._open_outbox = open_outbox
        self._emitter = emitter
        self._warn = warn
        self._queue: deque[Fact | _Errand] = deque()
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._trouble = ""
        #: When the last commit ended, by the monotonic clock.
        self._committed_at = 0.0
        #: The remaining events of the current fact, which may have more than fit in a commit.
        self._made: Iterator[Event] = iter(())
        self._thread = threading.Thread(target=self._run, name="sourcepulse-writer", daemon=True)
        #: How many facts were stored, could not be mapped, were refused.
        self.stored = self.unmapped = self.refused = 0
        #: How many of them the outbox has counted.
        self._counted = 0

    def start(self) -> None:
        self._thread.start()

    def put(self, fact: Fact) -> bool:
        """Queue a fact; return False, without queueing it, if too many are waiting."""
        if len(self._queue) >= QUEUE_MOST_FACTS:
            self.refused += 1
            return False
        self.put_found(fact)
        return True

    def put_found(self, fact: Fact) -> None:
        """Queue a fact regardless of the limit; for a caller that waits between batches."""
        self._queue.append(fact)
        self._work.set()

    def run(self, work: Callable[[Outbox], _Result], done: Callable[[_Result | Exception], None]) -> None:
        """Run `work` with the outbox after everything queued so far is stored.

        `done` is called in the thread, with the result or the error; OutboxError if the writer ended before.
        """
        self._queue.append(_Errand(work, done))
        self._work.set()

    def stop(self) -> None:
        """Store what is queued and end, after STOP_LIMIT_SECONDS at the latest; may be called from any thread."""
        self._stopping.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_LIMIT_SECONDS)

    @property
    def in_trouble(self) -> bool:
        """Return whether the last attempt to write the outbox failed."""
        return bool(self._trouble)

    @property
    def waiting(self) -> int:
        """The number of facts that are not stored yet."""
        return len(self._queue)

    def _run(self) -> None:
        outbox: Outbox | None = None
        failures = 0
        batch: list[Event] = []
        while True:
            if not batch:
                self._work.wait()
                if not self._queue and self._stopping.is_set():
                    break
                until = self._committed_at + BETWEEN_COMMITS_SECONDS
                self._stopping.wait(max(GATHER_SECONDS, until - time.monotonic()))
                self._work.clear()
            try:
                if outbox is None:
                    outbox = self._open_outbox()
                self._store_all(outbox, batch)
            except Exception as error:  # noqa: BLE001 - a thread that ended would lose every later event
                is_known = isinstance(error, OutboxError)
                self._note_trouble(str(error) if is_known else f"events cannot be stored: {type(error).__name__}")
                # The file may have been removed or replaced.
                _closed(outbox)
                outbox = None
                self._work.set()
                wait_s = backoff_seconds(failures, first=RETRY_FIRST_SECONDS, most=RETRY_MOST_SECONDS)
                if self._stopping.wait(wait_s):
                    break
                failures += 1
            else:
                failures = 0
                self._note_trouble("")
                if self._queue or self._stopping.is_set():
                    self._work.set()
        _closed(outbox)
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, _Errand):
                item.done(OutboxError("the reporter ended before the outbox could be used"))

    def _store_all(self, outbox: Outbox, batch: list[Event]) -> None:
        """Store what is queued, batch after batch; what could not be stored stays in `batch`."""
        while True:
            errand = self._fill(batch)
            full = len(batch) >= BATCH_EVENTS
            if batch:
                stored = self._append(outbox, batch)
                batch.clear()
                self.stored += sum(one.new for one in stored)
                self._committed_at = time.monotonic()
            self._count(outbox)
            if errand is not None:
                result = _tried(errand.work, outbox)
                self._queue.popleft()
                errand.done(result)
            elif full:
                self._stopping.wait(BATCH_PAUSE_SECONDS)
            else:
                # What arrived during the commit waits for the next one.
                return

    def _count(self, outbox: Outbox) -> None:
        errors = self.unmapped + self.refused
        if errors > self._counted:
            count_collect_errors(outbox, KIND, errors - self._counted)
            self._counted = errors

    def _append(self, outbox: Outbox, batch: list[Event]) -> list[Stored]:
        try:
            return outbox.append(batch, max_bytes=self._emitter.max_bytes)
        except _BAD_EVENT:
            # It must not hold up the others.
            stored: list[Stored] = []
            while batch:
                stored += self._append_one(outbox, batch[0])
                del batch[0]
            return stored

    def _append_one(self, outbox: Outbox, event: Event) -> list[Stored]:
        try:
            return outbox.append([event], max_bytes=self._emitter.max_bytes)
        except _BAD_EVENT as error:
            # The same event would fail again.
            self.unmapped += 1
            self._warn(self._emitter.redactor.text(f"{event.type} {event.id} cannot be stored: {error}"))
            return []

    def _fill(self, batch: list[Event]) -> _Errand | None:
        """Fill the batch from the queue; return the errand that follows it, if any."""
        while True:
            batch.extend(islice(self._made, BATCH_EVENTS - len(batch)))
            if len(batch) >= BATCH_EVENTS or not self._queue:
                return None
            item = self._queue[0]
            if isinstance(item, _Errand):
                return item
            self._queue.popleft()
            self._made = self._events(item)

    def _events(self, fact: Fact) -> Iterator[Event]:
        try:
            made = fact(self._emitter)
            if isinstance(made, Event):
                yield made
            else:
                yield from made
        except Exception as error:  # noqa: BLE001 - a bad fact must not end the thread
            # The same fact would fail again and block all facts behind it.
            self.unmapped += 1
            name = getattr(getattr(fact, "func", fact), "__name__", "a fact")
            self._warn(self._emitter.redactor.text(f"no event could be made by {name}: {error}"))

    def _note_trouble(self, sentence: str) -> None:
        if sentence != self._trouble:
            self._trouble = sentence
            self._warn(f"{sentence}; events wait" if sentence else "the outbox can be written again")


class _Errand(NamedTuple):
    """Work to be done with the outbox, queued among the facts."""

    work: Callable[[Outbox], Any]
    done: Callable[[Any], None]


def _tried(work: Callable[[Outbox], Any], outbox: Outbox) -> Any:
    """Do the work and return its result or its error; the caller retries if the outbox cannot be used."""
    try:
        return work(outbox)
    except OutboxError:
        raise
    except Exception as error:  # noqa: BLE001 - the caller gets the error, and the thread continues
        return error


def _closed(outbox: Outbox | None) -> None:
    if outbox is not None:
        with suppress(OutboxError):
            outbox.close()
