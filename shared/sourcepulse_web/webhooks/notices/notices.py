# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the bus hears of hooks: stored in an outbox of the sender's own, and relayed to the broker of the settings.

Nothing here raises, and nothing delays a POST for much longer than LOCK_WAIT_SECONDS: what cannot be stored or sent now
is logged, counted, named by `problem`, and goes on later.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sourcepulse.config import Config
from sourcepulse.errors import EventError, OutboxReplacedError, SourcePulseError
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.events import (
    DELIVERED,
    Circumstances,
    disabled_event,
    failing_event,
    parked_event,
    refused_event,
    resumed_event,
)
from sourcepulse_web.webhooks.notices.relay import BURIED_AGAIN_SECONDS, NoticeRelay

#: How long a caller waits for a locked outbox.
LOCK_WAIT_SECONDS = 1.0
#: How many events wait in memory while the outbox cannot be written; the oldest are lost.
WAITING_MAX = 1_000
#: A trouble that is over sooner is not reported: two events for each POST that fails once would be more than that.
FAILING_AFTER_SECONDS = 60.0
#: Between two events about refusals of one hook.
REFUSED_SECONDS = 3_600.0
#: How often what waits is tried again, and the state of the relay is looked at.
LOOK_SECONDS = 1.0
CLOSE_LIMIT_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Refusals:
    """What was set aside for a hook since the last event about it."""

    hook: Hook
    about: Circumstances
    type_: str
    count: int = 0
    due_at: float = 0.0


class Notices:
    """Publishes the events `system.webhook.*` of a sender. Thread-safe.

        notices = Notices(store.parent / "webhooks-outbox.db", config)
        notices.start()
        notices.parked(hook, Circumstances(reason=STATUS, status=503, since=first_failure_at, waiting=12), at=now)
        notices.close()

    `at` is when it happened, in seconds since 1970. One change has one id, so a sender that was killed may report what
    it finds in its store once more. `broker_file` has the URL of a login that may publish; without it the broker of the
    settings is used. The host of a URL that `is_internal` is in no event. `failing_after_s`, `refused_s` and
    `buried_again_s` are the limits of above, in seconds.
    """

    def __init__(
        self,
        outbox_path: Path,
        config: Config,
        clock: Callable[[], float] = time.time,
        host: str | None = None,
        *,
        broker_file: Path | None = None,
        is_internal: Callable[[str], bool] = lambda _: False,
        failing_after_s: float = FAILING_AFTER_SECONDS,
        refused_s: float = REFUSED_SECONDS,
        buried_again_s: float = BURIED_AGAIN_SECONDS,
    ) -> None:
        self._path = outbox_path
        self._is_internal = is_internal
        self._clock = clock
        self._host = host or socket.gethostname()
        self._failing_after_s = failing_after_s
        self._refused_s = refused_s
        #: Events that were dropped, and failed attempts to store one, since the start.
        self.failures = 0
        self._lock = threading.RLock()
        self._outbox: Outbox | None = None
        self._waiting: deque[Event] = deque()
        self._refusals: dict[str, _Refusals] = {}
        #: The trouble of each hook that was reported, by its first failure.
        self._reported: dict[str, float | None] = {}
        self._store_problem = ""
        self._relay_problem = ""
        self._fault = ""
        self._relay = NoticeRelay(outbox_path, config, broker_file, again_s=buried_again_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhook-notices", daemon=True)

    def start(self) -> None:
        """Begin to relay, also what a former process stored."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what is stored and not sent yet is sent by the next process."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_LIMIT_SECONDS)
        self._relay.stop()
        with self._lock:
            self._store()
            self._close_outbox()

    @property
    def problem(self) -> str:
        """Return why events about hooks are not stored or not sent now, with the repair; "" if all is well."""
        return self._store_problem or self._relay_problem

    # -- what happened

    def failing(self, hook: Hook, about: Circumstances, *, at: float) -> None:
        """Report a hook that fails, once for a trouble that lasts; call it after each failed attempt."""
        with self._guarded():
            since = at if about.since is None else about.since
            if at - since < self._failing_after_s or self._reported.get(hook.name) == since:
                return
            if len(self._reported) > WAITING_MAX:
                # Of hooks that were removed; a second event of one trouble has the id of the first.
                self._reported.clear()
            self._reported[hook.name] = since
            self._emit(failing_event(self._shown(hook), about, host=self._host, at=at))

    def refused(self, hook: Hook, about: Circumstances, *, at: float, type_: str) -> None:
        """Report an event of a type that was set aside; those of the next hour are counted and reported then."""
        with self._guarded():
            known = self._refusals.setdefault(hook.name, _Refusals(hook, about, type_))
            known.hook, known.about, known.type_ = hook, about, type_
            known.count += 1
            self._report_refusals(known, at)

    def parked(self, hook: Hook, about: Circumstances, *, at: float) -> None:
        """Report a hook that the sender parked."""
        with self._guarded():
            self._emit(parked_event(self._shown(hook), about, host=self._host, at=at))

    def resumed(self, hook: Hook, about: Circumstances, *, at: float) -> None:
        """Report a hook that goes on; if it was failing, since `about.since`, only if that was reported."""
        with self._guarded():
            if (about.reason == DELIVERED or about.since is not None) and not self._was_reported(hook, about):
                return
            self._reported.pop(hook.name, None)
            self._emit(resumed_event(self._shown(hook), about, host=self._host, at=at))

    def disabled(self, hook: Hook, about: Circumstances, *, at: float) -> None:
        """Report a hook that its receiver ended."""
        with self._guarded():
            self._emit(disabled_event(self._shown(hook), about, host=self._host, at=at))

    # -- storing

    def _shown(self, hook: Hook) -> Hook:
        """Return the hook as everybody on the bus may see it: without the name of a host inside of the network."""
        return replace(hook, url="") if self._is_internal(hook.url) else hook

    def _was_reported(self, hook: Hook, about: Circumstances) -> bool:
        """Return whether the trouble was reported, by this process or a former one."""
        if about.since is None:
            return False
        if self._reported.get(hook.name) == about.since:
            return True
        return self._is_known(failing_event(hook, about, host=self._host, at=about.since).id)

    def _is_known(self, id_: str) -> bool:
        """Return whether an event is in the outbox; False if that cannot be read."""
        try:
            return bool(self._opened().known([id_]))
        except SourcePulseError as error:
            self._close_outbox()
            self._failed(error)
            return False

    def _report_refusals(self, known: _Refusals, at: float) -> None:
        # A clock that was set back does not make the pause longer.
        if not known.count or known.due_at - self._refused_s <= at < known.due_at:
            return
        count, known.count = known.count, 0
        # Two are never of the same hour, so a former process has published that of this hour if its id is known.
        hour = at // self._refused_s * self._refused_s if self._refused_s else at
        event = refused_event(
            self._shown(known.hook), known.about, host=self._host, at=at, type_=known.type_, refused=count, key=hour
        )
        if self._is_known(event.id):
            known.count, known.due_at = count, hour + self._refused_s
            return
        known.due_at = at + self._refused_s
        self._emit(event)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Hold the lock; what fails within is logged and counted, because no POST may end by it."""
        with self._lock:
            try:
                yield
            except SourcePulseError as error:
                self._count(f"an event about a webhook cannot be made and is dropped: {error}")
            except Exception:
                self.failures += 1
                logger.exception("an event about a webhook cannot be made and is dropped")

    def _emit(self, event: Event) -> None:
        self._waiting.append(event)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self._count("too many events about webhooks wait for their outbox; the oldest is dropped")
        self._store()

    def _store(self) -> None:
        """Store what waits, oldest first; keep what cannot be stored now."""
        while self._waiting:
            try:
                self._append(self._waiting[0])
            except EventError as error:
                self._count(f"an event about a webhook cannot be written and is dropped: {error}")
            except SourcePulseError as error:
                self._close_outbox()
                self._failed(error)
                return
            self._waiting.popleft()
        if self._store_problem:
            logger.info("events about webhooks are stored again in %s", self._path)
            self._store_problem = ""

    def _append(self, event: Event) -> None:
        try:
            self._opened().append([event])
        except OutboxReplacedError:
            self._close_outbox()
            self._opened().append([event])

    def _opened(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox.open(self._path, lock_wait_s=LOCK_WAIT_SECONDS, private=True, clock=self._clock)
        return self._outbox

    def _close_outbox(self) -> None:
        if self._outbox is not None:
            with suppress(SourcePulseError):
                self._outbox.close()
            self._outbox = None

    def _failed(self, error: SourcePulseError) -> None:
        sentence = f"events about webhooks wait in memory: {error}"
        self.failures += 1
        if sentence != self._store_problem:
            logger.error("%s", sentence)
        self._store_problem = sentence

    def _count(self, sentence: str) -> None:
        self.failures += 1
        logger.error("%s", sentence)

    # -- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._lock:
                    self._look()
            except Exception as error:
                if repr(error) != self._fault:
                    self._fault = repr(error)
                    logger.exception("the notices of webhooks failed; they go on")
            self._stopping.wait(LOOK_SECONDS)

    def _look(self) -> None:
        now = self._clock()
        for known in list(self._refusals.values()):
            self._report_refusals(known, now)
        self._refusals = {name: each for name, each in self._refusals.items() if each.count or now < each.due_at}
        self._store()
        try:
            # Opened here first, so that the file is private; the relay would make one that others may read.
            self._relay_problem = self._relay.look(self._opened())
        except SourcePulseError as error:
            self._close_outbox()
            self._failed(error)
