# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sender: one thread that owns the stores and decides, and others that POST for it."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sourcepulse.errors import SourcePulseError
from sourcepulse_web.webhooks.errors import HookStoreReplacedError
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.notices import Notices
from sourcepulse_web.webhooks.post.handshake import Consent, ask
from sourcepulse_web.webhooks.post.post import Poster, origin_of
from sourcepulse_web.webhooks.send.books import Books
from sourcepulse_web.webhooks.send.dispatch import Dispatch
from sourcepulse_web.webhooks.send.lines import Lines, Parts
from sourcepulse_web.webhooks.send.reporting import Reporter
from sourcepulse_web.webhooks.send.threads.posting import Posting, Result
from sourcepulse_web.webhooks.send.trials import Trials
from sourcepulse_web.webhooks.send.upkeep import Upkeep
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore
from sourcepulse_web.webhooks.visibility import Asker

#: The longest time between two looks at the hook store, which other processes change.
POLL_SECONDS = 0.25
#: The pause after a turn that failed.
FAILURE_PAUSE_SECONDS = 1.0
#: At the end, POSTs are waited for so much longer than one may last.
END_SECONDS = 2.0
END_POLL_SECONDS = 0.1

logger = logging.getLogger(__name__)


class Sender:
    """POSTs what waits in the queues of all hooks, until it is stopped; one thread alone uses the stores.

    A store or log that cannot be used ends nothing: it waits, and `problem` has the reason.

    >>> sender = Sender(store, queues, Poster(settings), notices, Asker(None), settings)
    >>> sender.run(stop)
    """

    def __init__(
        self,
        store: HookStore,
        queues: HookQueues,
        poster: Poster,
        notices: Notices,
        asker: Asker,
        settings: WebhookSettings,
        clock: Callable[[], float] = time.time,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        ask_consent: Callable[[Hook], Consent] | None = None,
        host: str | None = None,
    ) -> None:
        self._queues = queues
        self._settings = settings
        #: Why nothing can be sent now, as a sentence; "" if all is well.
        self.problem = ""
        #: Turns that failed, and hooks at which the sender itself failed.
        self.failures = 0
        parts = Parts(
            store=store, queues=queues, reporter=Reporter(notices, queues), schedule=settings.schedule, clock=clock,
            monotonic=monotonic, jitter=jitter,
        )  # fmt: skip
        self._books = Books(parts)
        self._lines = Lines(parts)
        self._posting = Posting(
            poster, ask_consent or (lambda hook: ask(hook, settings)), origin_of(settings), asker, queues.load,
            queues.interrupt, clock,
        )  # fmt: skip
        asks = settings.bugzilla_outbox is not None
        self._dispatch = Dispatch(parts, self._lines, self._books, self._posting, asks=asks)
        self._trials = Trials(store, self._lines, self._posting, clock, host or socket.gethostname())
        self._upkeep = Upkeep(store, queues, clock, monotonic)
        self._is_over = False
        #: What the threads finished and no store has yet.
        self._results: list[Result] = []

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set; then wait for the POSTs that are under way, and record them. Never raises.

        `HookQueues.interrupt` ends a wait at once. It also returns if another file is in the place of the hook store:
        open that, and make another sender.
        """
        while not (stop.is_set() or self._is_over):
            pause = self._guarded(self.turn)
            if pause is None:
                stop.wait(FAILURE_PAUSE_SECONDS)
            else:
                self._queues.wait(pause)
        self._end()

    def turn(self) -> float:
        """Do what is to be done now, and return how many seconds may pass before the next turn.

        What the stores raise passes through; nothing is lost by it, and the next turn goes on.
        """
        self._upkeep.touch()
        if self._lines.reload():
            self._trials.read()
        self._record()
        self._trials.begin()
        self._books.settle()
        self._dispatch.look()
        self._upkeep.bind(self._lines.by_name.values())
        self._dispatch.begin()
        self._books.settle()
        if self._lines.by_name:
            # Before the first hook there may be no log.
            self._upkeep.forget_withdrawn()
        self._upkeep.trim()
        return max(0.0, min(POLL_SECONDS, self._dispatch.due_in()))

    def _record(self) -> None:
        self._results += self._posting.finished()
        if self._results:
            self._books.enter(self._results, self._lines.by_name)
            self._trials.end(self._results)
            self._results.clear()

    def _guarded(self, turn: Callable[[], float]) -> float | None:
        try:
            pause = turn()
        except SourcePulseError as error:
            self._is_over = self._is_over or isinstance(error, HookStoreReplacedError)
            self._failed(str(error))
            return None
        except Exception as error:
            # A fault of ours must be seen, and no hook may be stopped by it for ever.
            logger.exception("the sender of webhooks failed, and goes on")
            self._failed(f"the sender failed: {error!r}")
            return None
        if self.problem and not self._is_over:
            logger.info("webhooks are sent again")
            self.problem = ""
        return pause

    def _failed(self, sentence: str) -> None:
        self.failures += 1
        if sentence != self.problem:
            logger.error("%s; webhooks wait, and none is lost", sentence)
        self.problem = sentence

    def _end(self) -> None:
        """Record what is under way, as far as that is possible; the rest is POSTed again by the next process."""
        deadline = time.monotonic() + self._settings.post_seconds + END_SECONDS
        while self._lines.in_flight() and time.monotonic() < deadline:
            self._guarded(self._record_the_last)
            self._queues.wait(END_POLL_SECONDS)
        self._posting.stop(max(0.0, deadline - time.monotonic()))
        self._guarded(self._record_the_last)
        with suppress(SourcePulseError):
            self._upkeep.end()

    def _record_the_last(self) -> float:
        self._record()
        self._books.settle()
        return 0.0
