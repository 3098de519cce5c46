# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Leases events for the hooks, and begins their POSTs: one per hook, in turns, as long as threads are free."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from sourcepulse.brokers.file.envelopes import is_stand_in
from sourcepulse.errors import DecodeError, SourcePulseError
from sourcepulse.outbox.outgoing.visibility import is_asked
from sourcepulse_web.webhooks.errors import QueueMissingError
from sourcepulse_web.webhooks.post.body import cloudevent_of
from sourcepulse_web.webhooks.post.signature import webhook_id_of
from sourcepulse_web.webhooks.send.books import Books
from sourcepulse_web.webhooks.send.line import LOOK_EVENTS, Line
from sourcepulse_web.webhooks.send.lines import Lines, Parts
from sourcepulse_web.webhooks.send.threads.posting import POSTS_MAX, Job, Posting, with_body
from sourcepulse_web.webhooks.store.records import Held

#: How many of the threads hooks may use whose receivers failed the last time, so that the others need not wait.
FAILING_POSTS_MAX = POSTS_MAX // 2
#: How many events in a row one hook may skip in a turn, so that the others go on.
SKIPS_MAX = 200
#: How long a hook whose queue was never seen is one that is just being added: its queue is declared after it is stored.
ADDING_SECONDS = 60.0

logger = logging.getLogger(__name__)


class Dispatch:
    """Used by the sender's thread only. `asks` is whether a sidecar can be asked what is public."""

    def __init__(self, parts: Parts, lines: Lines, books: Books, posting: Posting, *, asks: bool) -> None:
        self._parts = parts
        self._lines = lines
        self._books = books
        self._posting = posting
        self._asks = asks
        self._openings = parts.queues.openings
        #: The names in the order in which they may begin a POST.
        self._turns: deque[str] = deque()

    def look(self) -> None:
        """Hold more events of the hooks that have few; what the log raises passes through."""
        for line in list(self._lines.by_name.values()):
            if line.is_on:
                self._for(line, self._look)

    def begin(self) -> None:
        """Begin the POSTs that are due; what the log raises passes through."""
        self._turns.extend(self._lines.by_name.keys() - set(self._turns))
        failing = self._failing_in_flight()
        for _ in range(len(self._turns)):
            if not self._posting.free:
                return
            name = self._turns.popleft()
            line = self._lines.by_name.get(name)
            if line is None:
                continue
            self._turns.append(name)
            if line.is_on and line.in_flight is None and not (line.is_failing and failing >= FAILING_POSTS_MAX):
                self._for(line, self._begin)
                failing += line.is_failing and line.in_flight is not None

    def due_in(self) -> float:
        """Return in how many seconds a POST can begin or more can be looked for, as far as is known now."""
        now, queues = self._parts.monotonic(), self._parts.queues
        if any(line.wants_events(now) and queues.has_more(line.name) for line in self._lines.by_name.values()):
            return 0.0
        if not self._posting.free:
            return float("inf")
        is_full = self._failing_in_flight() >= FAILING_POSTS_MAX
        dues = [
            due
            for line in self._lines.by_name.values()
            if line.is_on and line.in_flight is None and not (is_full and line.is_failing)
            if (due := line.lanes.due_at(now)) is not None
        ]
        return min(dues, default=float("inf")) - now

    def _failing_in_flight(self) -> int:
        return sum(line.is_failing and line.in_flight is not None for line in self._lines.by_name.values())

    def _for(self, line: Line, act: Callable[[Line], None]) -> None:
        """Do something for one hook; a fault of ours parks this hook, and the others go on."""
        try:
            act(line)
        except SourcePulseError:
            raise
        except Exception as error:
            logger.exception("the webhook %s is parked, because the sender failed at it", line.name)
            self._books.park(line, error)

    def _look(self, line: Line) -> None:
        # Also without room, because events that were asked for again come before those that are held.
        room = LOOK_EVENTS if line.wants_events(self._parts.monotonic()) else 0
        try:
            events = self._parts.queues.look(line.name, room)
        except QueueMissingError:
            self._is_other_opening()
            line.forget_events()
            if self._lines.is_gone(line):
                return
            is_new = not line.had_queue and self._parts.clock() - line.added_at < ADDING_SECONDS
            if self._parts.queues.ensure(line.hook, line.added_at) and not is_new:
                logger.warning("the log had no queue of the webhook %s; it gets what the log has for it", line.name)
                self._books.note_interruption(line)
            if self._lines.is_free(line.name):
                # Its hook was removed meanwhile.
                self._parts.queues.remove(line.name)
            return
        line.had_queue = True
        self._is_other_opening()
        # What was delivered before the log was opened again is still to be settled there.
        self._hold(line, events)
        for source in line.to_recall():
            found = self._parts.queues.recall(line.name, source, line.left[source].first, LOOK_EVENTS)
            if self._is_other_opening():
                return
            line.recalled(source, found)
            self._hold(line, found.events)

    def _hold(self, line: Line, events: list[Held]) -> None:
        wanted = [event for event in events if not self._books.is_done(line.name, event.position)]
        left = line.hold(wanted, self._parts.clock(), self._parts.monotonic(), self._parts.schedule)
        if left:
            self._parts.queues.leave(line.name, left)

    def _is_other_opening(self) -> bool:
        """Return whether the log was opened again since the last call; then no event is held any more."""
        if self._parts.queues.openings == self._openings:
            return False
        self._lines.forget_events()
        if self._books.log_was_opened():
            self._lines.forget_troubles()
        self._openings = self._parts.queues.openings
        return True

    def _begin(self, line: Line) -> None:
        for _ in range(SKIPS_MAX):
            event = line.lanes.take(self._parts.monotonic())
            if event is None:
                return
            if event.source in line.asked:
                # What ended the waits of all sources did not answer the question.
                line.ask(*line.asked[event.source])
                continue
            job = self._job(line, event)
            if job is None:
                continue
            if self._asks and is_asked(event.source, event.type):
                if self._post_public(line, job):
                    return
                continue
            line.in_flight = job
            self._posting.post(job)
            return

    def _post_public(self, line: Line, job: Job) -> bool:
        """POST what is public of an event by an answer of just now; False if that is asked now."""
        checked = line.cleared.pop(job.event.position, None)
        verdict = None if checked is None else checked.verdict
        # Other bytes: the log has withdrawn something of it meanwhile.
        is_same = checked is not None and checked.job.body == job.body
        if verdict is not None and is_same and verdict.is_fresh(self._parts.monotonic()):
            line.in_flight = with_body(job, verdict.body)
            self._posting.post(line.in_flight, checked)
            return True
        line.ask(job, self._parts.monotonic())
        self._posting.check(job)
        return False

    def _job(self, line: Line, event: Held) -> Job | None:
        """Return the POST of an event with the bytes that the log has now; None if it is not sent, which is noted."""
        loaded = self._parts.queues.load(event.position)
        if self._is_other_opening():
            # It may be another log, with another event at this position.
            return None
        if loaded is None or loaded.withdrawn or is_stand_in(loaded.type):
            self._skip(line, event, withheld=loaded is not None)
            return None
        try:
            if not (event.source and event.id):
                raise DecodeError("the message is not an event of sourcepulse: it has no source or id", loaded.body)
            body = cloudevent_of(loaded.body, loaded.routing_key)
        except DecodeError as error:
            logger.warning("a message is not sent to the webhook %s: %s", line.name, error)
            self._skip(line, event, withheld=False)
            return None
        return Job(
            hook=line.hook,
            added_at=line.added_at,
            event=event,
            log=self._books.token,
            webhook_id=webhook_id_of(event.source, event.id),
            tries=self._books.tries_of(line, event) + 1,
            body=body,
            secrets=tuple(line.secrets_at(self._parts.clock())),
            consent=line.consent,
        )

    def _skip(self, line: Line, event: Held, *, withheld: bool) -> None:
        line.drop(event.position)
        line.troubles.pop(event.position, None)
        self._books.skip(line, event.position, withheld=withheld)
