# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pass facts to the writer in the order in which the bus announced them, even those that need an answer first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

from sourcepulse_buildbot.writer import Fact, Writer

#: A fact whose answer takes longer is left to recovery, because all facts behind it wait.
ANSWER_LIMIT_SECONDS = 30.0
#: How long a stopping master waits for answers.
DRAIN_LIMIT_SECONDS = 3.0
#: How many facts may wait behind one that needs an answer.
WAITING_MOST = 50_000


log = Logger("sourcepulse")


class _Slot:
    """The place of facts in the order; None while the answer is awaited."""

    __slots__ = ("facts",)

    def __init__(self) -> None:
        self.facts: Sequence[Fact] | None = None


class Intake:
    """A FIFO queue: facts are written in the order in which they were announced, even if a later one is ready first."""

    def __init__(self, writer: Writer, reactor: Any, *, missed: Callable[[str], None]) -> None:
        self._writer = writer
        self._reactor = reactor
        #: Called with the reason when facts must be recovered from the database.
        self._missed = missed
        self._waiting: deque[_Slot] = deque()
        self._on_empty: list[defer.Deferred[None]] = []

    def add(self, fact: Fact) -> None:
        if not self._waiting:
            self._put(fact)
            return
        slot = _Slot()
        slot.facts = (fact,)
        self._append(slot)

    def add_later(
        self, answer: Coroutine[Any, Any, Sequence[Fact]], *, limit_s: float | None = ANSWER_LIMIT_SECONDS
    ) -> None:
        """Reserve a place for facts that come with an answer; it is given up if there is no answer in time."""
        slot = _Slot()
        deferred: defer.Deferred[Sequence[Fact]] = defer.ensureDeferred(answer)
        if deferred.called and not self._waiting:
            deferred.addCallbacks(self._put_all, self._failed)
            return
        self._append(slot)
        if limit_s is not None and not deferred.called:
            deferred.addTimeout(limit_s, self._reactor)

        def fill(facts: Sequence[Fact]) -> None:
            slot.facts = facts
            self._advance()

        def give_up(failure: Failure) -> None:
            self._failed(failure)
            slot.facts = ()
            self._advance()

        deferred.addCallbacks(fill, give_up)
        deferred.addErrback(lambda failure: log.failure("facts could not be queued", failure))

    @property
    def is_free(self) -> bool:
        """Return whether no answer is awaited."""
        return not self._waiting

    def drained(self, limit_s: float = DRAIN_LIMIT_SECONDS) -> defer.Deferred[None]:
        """Fire when no answer is awaited any more, after `limit_s` at the latest."""
        empty: defer.Deferred[None] = defer.Deferred()
        if not self._waiting:
            empty.callback(None)
            return empty
        self._on_empty.append(empty)
        return empty.addTimeout(limit_s, self._reactor, onTimeoutCancel=lambda *_: None)

    def _append(self, slot: _Slot) -> None:
        if len(self._waiting) >= WAITING_MOST:
            self._missed("too many messages arrived while one waited for the database")
            return
        self._waiting.append(slot)

    def _advance(self) -> None:
        while self._waiting and self._waiting[0].facts is not None:
            self._put_all(self._waiting.popleft().facts or ())
        if not self._waiting:
            fired, self._on_empty = self._on_empty, []
            for empty in fired:
                if not empty.called:
                    empty.callback(None)

    def _put_all(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            self._put(fact)

    def _put(self, fact: Fact) -> None:
        if not self._writer.put(fact):
            self._missed("events arrived faster than the outbox could store them")

    def _failed(self, failure: Failure) -> None:
        log.failure("an event is left to the next recovery", failure)
        self._missed("the database did not return what an event needs")
