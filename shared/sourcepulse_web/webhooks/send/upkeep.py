# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the sender does now and then: it shows that it is at work, mends what a kill left, and removes what is old."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sourcepulse_web.webhooks.send.line import Line
from sourcepulse_web.webhooks.store.forgetting import Forgetting
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore

#: How often it shows that it is at work.
TOUCH_SECONDS = 1.0
#: The time between two removals of what is not kept, and while more than one of them can remove is left.
TRIM_SECONDS = 60.0
TRIM_AGAIN_SECONDS = 1.0
#: How soon the write-ahead log is emptied of what was removed, where the removal was killed or a reader was in the way.
SCRUB_SECONDS = 1.0
#: How soon what a receiver answered to a withdrawn event is blanked.
FORGET_SECONDS = 1.0
#: The time between two removals of what is known of hidden events; all that is set aside is read for it.
TRIM_FORGOTTEN_SECONDS = 3_600.0
#: A queue without a hook is removed so long after its last use; a hook that is just being added may have one.
UNUSED_SECONDS = 3_600.0


class Upkeep:
    """Used by the sender's thread only; what the stores raise passes through."""

    def __init__(
        self, store: HookStore, queues: HookQueues, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._queues = queues
        self._forgetting = Forgetting(store, queues)
        self._clock = clock
        self._monotonic = monotonic
        self._touch_at = self._trim_at = self._scrub_at = float("-inf")
        self._forget_at = self._trim_forgotten_at = float("-inf")

    def touch(self) -> None:
        """Show that the sender is at work, and where it is woken."""
        if self._monotonic() >= self._touch_at:
            self._store.touch_sender(self._clock(), self._queues.ear)
            self._touch_at = self._monotonic() + TOUCH_SECONDS

    def end(self) -> None:
        """Show at once that the sender is not at work any more."""
        self._store.note_sender_ended()

    def forget_withdrawn(self) -> None:
        """Blank what receivers answered to events that the log has withdrawn."""
        if self._monotonic() < self._forget_at:
            return
        self._forget_at = self._monotonic() + FORGET_SECONDS
        self._forgetting.turn(self._clock())

    def trim(self) -> None:
        """Remove old attempts, tests and secrets, a little each time; sooner again while there is more.

        What was removed before leaves the write-ahead log as soon as it can.
        """
        if self._monotonic() >= self._trim_at:
            self._trim_at = self._monotonic() + TRIM_SECONDS
            if self._store.trim(self._clock()):
                self._trim_at = self._monotonic() + TRIM_AGAIN_SECONDS
            self._remove_left_queues()
        if self._monotonic() >= self._scrub_at:
            self._scrub_at = self._monotonic() + SCRUB_SECONDS
            self._store.scrub()
        if self._monotonic() >= self._trim_forgotten_at:
            self._trim_forgotten_at = self._monotonic() + TRIM_FORGOTTEN_SECONDS
            self._store.attempts.trim_forgotten(self._clock(), self._queues.oldest_at())

    def bind(self, lines: Iterable[Line]) -> None:
        """Bind the queues to the topics that their hooks have: a kill between the two files leaves the former ones."""
        for line in lines:
            topics = line.hook.topics
            if line.bound == topics:
                continue
            bound = self._queues.topics(line.name)
            if bound is None:
                # It is declared with its topics when it is looked at.
                continue
            if set(bound) != set(topics):
                self._queues.rebind(line.hook)
            line.bound = topics

    def _remove_left_queues(self) -> None:
        """Remove the queues of hooks that are gone: a kill in the middle of a removal leaves one."""
        # Before the hooks are read, so that a new hook is not missed.
        unused = self._queues.unused(self._clock() - UNUSED_SECONDS)
        if unused:
            for name in unused - {hook.name for hook in self._store.hooks()}:
                self._queues.remove(name)
