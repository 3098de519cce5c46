# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The relay: one process per outbox that collects first copies and publishes each stream to its broker."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.errors import OutboxError, OutboxReplacedError, OutboxWriteError, RelayRunningError
from sourcepulse.outbox.files import is_locked, lock_until
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.retention import Keep, prune_by_a_sound_clock
from sourcepulse.relay.health.announce import Announcer
from sourcepulse.relay.health.liveness import Turns, lock_path
from sourcepulse.relay.health.watch import Watch
from sourcepulse.relay.sender import Delivery, DeliveryReport
from sourcepulse.relay.wakes import Waiter, Wakes

if TYPE_CHECKING:
    from sourcepulse.relay.health.best_effort.side_job import SideJob
    from sourcepulse.relay.health.queues.watch import QueueWatch

#: The hook holds the lock for a moment when it checks whether a relay runs.
LOCK_PATIENCE_SECONDS = 1.0
#: How often the relay checks whether it is to end.
HOUSE_SECONDS = 1.0
HOUSE_SHORT_SECONDS = 0.1
#: How often the relay looks for first copies that a crash left.
SWEEP_SECONDS = 15.0
#: How soon, and how often, an announced place is collected again while another collector holds its lock; then the sweep
#: does it.
COLLECT_AGAIN_SECONDS = 0.2
COLLECT_TRIES_MAX = 100
#: For so long events are sent before anything is announced.
EVENTS_FIRST_SECONDS = 1.0
#: After an unexpected error a job that is not delivery begins again; one that hangs is left behind when the relay ends.
MONITOR_AGAIN_SECONDS = 60.0
MONITOR_LIMIT_SECONDS = 6.0
#: How often expired events are dropped.
PRUNE_SECONDS = 600.0
#: How often an idle connection may answer heartbeats; the shortest interval that a URL can set is one second.
KEEP_ALIVE_SECONDS = 0.4
#: The wait after the outbox itself failed (full disk, long lock).
OUTBOX_RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


@contextmanager
def relay_lock(outbox: Path) -> Iterator[int]:
    """Hold the right to relay this outbox, or raise RelayRunningError; yield the open lock file."""
    mode = outbox.stat().st_mode & 0o666
    lock = lock_path(outbox)
    try:
        # In a folder that a group may write to, a link here could make root open any file.
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except OSError as error:
        raise OutboxWriteError(
            f"the relay's lock file {lock} cannot be opened: {error.strerror}; check or remove it"
        ) from None
    try:
        if os.fstat(fd).st_uid == os.geteuid():
            os.fchmod(fd, mode)
        if not lock_until(fd, time.monotonic() + LOCK_PATIENCE_SECONDS):
            raise RelayRunningError(f"another relay already serves the outbox {outbox}")
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def is_relayed(outbox: Path) -> bool:
    """Return whether a relay serves this outbox now."""
    try:
        return is_locked(lock_path(outbox))
    except OSError:
        return False


class Relay:
    """Runs the deliveries of one outbox until stopped, or until idle.

    `sweep` collects first copies and returns how many were new. `collect` does so for one place that a wake announced
    and returns whether it is done with it.
    Each delivery and `collect` run in a thread with its own outbox connection, so that none waits for another.
    `metrics` writes a file every few seconds and at the end.
    All of `turned` are called in one of them each time that the loops of all deliveries have turned. `announcers` are
    the ways to publish events about the system, by stream; there are none with `heartbeat_s = 0`. A relay that ends
    when idle does not look at queues, and makes no `queue_watch`.
    """

    def __init__(
        self,
        outbox: Outbox,
        deliveries: Sequence[Delivery],
        *,
        sweep: Callable[[], int],
        keep: Keep,
        stop: threading.Event,
        collect: Callable[[str, str], bool] = lambda _kind, _location: True,
        turned: Sequence[Callable[[], None]] = (),
        announcers: Mapping[str, Announcer] | None = None,
        watch: Watch | None = None,
        metrics: SideJob | None = None,
        queue_watch: Callable[[], QueueWatch | None] = lambda: None,
    ) -> None:
        self._outbox = outbox
        self._deliveries = deliveries
        self._sweep = sweep
        self._collect = collect
        self._keep = keep
        self._stop = stop
        self._metrics = metrics
        self._watch = watch
        self._queue_watch = queue_watch
        self.announcers = announcers or {}
        self._turns = Turns([delivery.stream for delivery in deliveries], turned)
        self._last_work = time.monotonic()
        self._crash: Exception | None = None

    def once(self) -> list[DeliveryReport]:
        """Sweep, try once to publish everything pending, each stream in its own thread, and return."""
        try:
            self._sweep()
            with ThreadPoolExecutor(max_workers=max(1, len(self._deliveries))) as pool:
                reports = list(pool.map(lambda delivery: delivery.attempt(self._stop.is_set), self._deliveries))
            prune_by_a_sound_clock(self._outbox, self._keep)
        finally:
            self._close()
        return reports

    def run(self, *, idle_exit_s: float | None = None, gives_way: Callable[[], bool] = lambda: False) -> None:
        """Relay until `stop` is set, or until nothing came for `idle_exit_s` seconds and nothing is pending.

        Also until `gives_way` returns True, because a relay with other settings is waiting.

        OutboxReplacedError if the outbox was removed or replaced: lock and numbers belong to the old file.
        """
        self._last_work = time.monotonic()
        # A relay that exits when idle would look dead to a monitor, so it publishes nothing about itself.
        announces = idle_exit_s is None
        wakes = Wakes(self._outbox.path)
        jobs: list[tuple[str, Callable[[], None]]] = [
            ("wakes", wakes.listen),
            ("announced places", partial(self._collect_announced, wakes)),
        ]
        for delivery in self._deliveries:
            waiter = Waiter()
            wakes.streams.append(waiter)
            run = partial(self._deliver, delivery, waiter, announces=announces)
            jobs.append((f"{delivery.stream} stream", run))
        threads = [threading.Thread(target=self._guard, args=job, name=job[0]) for job in jobs]
        monitors = self._monitors(announces=announces)
        for thread in (*threads, *monitors):
            thread.start()
        try:
            self._keep_house(idle_exit_s, gives_way)
        finally:
            self._stop.set()
            wakes.close()
            for thread in threads:
                thread.join()
            until = time.monotonic() + MONITOR_LIMIT_SECONDS
            for thread in monitors:
                thread.join(max(0.0, until - time.monotonic()))
            wakes.release()
            self._close()
        if self._crash is not None:
            raise self._crash

    def _monitors(self, *, announces: bool) -> list[threading.Thread]:
        """Return the threads that only look; the process does not wait for them."""
        jobs: list[tuple[str, Callable[[], None]]] = []
        if self._watch is not None:
            jobs.append(("condition", partial(self._watch.run, self._stop, announces=announces)))
            if announces:
                self._watch.begin()
        if announces:
            jobs.append(("queues", self._watch_queues))
        guarded = [(name, partial(self._again, name, run)) for name, run in jobs]
        return [threading.Thread(target=self._guard, args=job, name=job[0], daemon=True) for job in guarded]

    def _watch_queues(self) -> None:
        queue_watch = self._queue_watch()
        if queue_watch is not None:
            queue_watch.run(self._stop)

    def _again(self, name: str, run: Callable[[], None]) -> None:
        """Run a job until it returns; after an unexpected error it begins again, and delivery goes on."""
        seen: set[str] = set()
        while not self._stop.is_set():
            try:
                return run()
            except OutboxReplacedError:
                raise
            except Exception as error:
                if repr(error) not in seen:
                    seen.add(repr(error))
                    logger.exception("the relay's thread for %s failed; it begins again", name)
            self._stop.wait(MONITOR_AGAIN_SECONDS)
        return None

    def _guard(self, name: str, run: Callable[[], None]) -> None:
        """Run one thread; an unexpected error ends the whole relay with a log entry rather than one job in silence."""
        try:
            run()
        except OutboxReplacedError as error:
            self._crash = error
            self._stop.set()
        except Exception as error:
            logger.exception("the relay's thread for %s failed", name)
            self._crash = error
            self._stop.set()

    def _deliver(self, delivery: Delivery, waiter: Waiter, *, announces: bool) -> None:
        def stopping() -> bool:
            self._turns.report(delivery.stream)
            # What is due is published between two events, even if there is always a next one.
            is_turn = announces and time.monotonic() - began > EVENTS_FIRST_SECONDS
            return self._stop.is_set() or (is_turn and delivery.is_due())

        while not self._stop.is_set():
            self._turns.report(delivery.stream)
            began = time.monotonic()
            try:
                wait_s = delivery.next_attempt_in()
                report = delivery.attempt(stopping) if wait_s <= 0 else DeliveryReport()
                if announces and delivery.is_due() and not self._stop.is_set():
                    delivery.announce()
                if wait_s > 0:
                    self._stop.wait(min(wait_s, 1.0))
                    continue
            except OutboxReplacedError:
                raise
            except OutboxError as error:
                logger.error("%s; trying again in %.0f s", error, OUTBOX_RETRY_SECONDS)
                delivery.count_failure(error)
                self._stop.wait(OUTBOX_RETRY_SECONDS)
                continue
            if report != DeliveryReport():
                self._last_work = time.monotonic()
                waiter.found_work()
            if not (announces and delivery.is_due()):
                self._rest(delivery, waiter)
        if announces and self._crash is None:
            delivery.farewell()

    def _rest(self, delivery: Delivery, waiter: Waiter) -> None:
        """Wait until there may be work, and keep the connection alive meanwhile."""
        delivery.keep_alive()
        until = time.monotonic() + waiter.poll_seconds
        while (left_s := until - time.monotonic()) > 0 and not self._stop.is_set():
            if waiter.wait(min(left_s, KEEP_ALIVE_SECONDS)):
                return
            delivery.keep_alive()

    def _collect_announced(self, wakes: Wakes) -> None:
        #: How often each was tried.
        places: dict[tuple[str, str], int] = {}
        while not self._stop.is_set():
            wakes.places.wait(COLLECT_AGAIN_SECONDS if places else HOUSE_SECONDS)
            places |= dict.fromkeys(wakes.announced(), 0)
            for place, tries in list(places.items()):
                if self._stop.is_set():
                    return
                self._last_work = time.monotonic()
                try:
                    is_done = self._collect(*place)
                except OutboxReplacedError:
                    raise
                except OutboxError as error:
                    is_done = True
                    logger.error("%s; the sweep in at most %.0f s tries again", error, SWEEP_SECONDS)
                places[place] = tries + 1
                if is_done or tries >= COLLECT_TRIES_MAX:
                    del places[place]

    def _keep_house(self, idle_exit_s: float | None, gives_way: Callable[[], bool]) -> None:
        sweep_at = prune_at = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            try:
                if now >= sweep_at:
                    sweep_at = now + SWEEP_SECONDS
                    if self._sweep():
                        self._last_work = time.monotonic()
                if now >= prune_at:
                    prune_at = now + PRUNE_SECONDS
                    prune_by_a_sound_clock(self._outbox, self._keep)
            except OutboxReplacedError:
                raise
            except OutboxError as error:
                logger.error("%s; trying again in %.0f s", error, SWEEP_SECONDS)
            if self._metrics is not None:
                self._metrics.look()
            if idle_exit_s is not None and now - self._last_work > idle_exit_s and not self.has_work():
                return
            if gives_way():
                return
            self._stop.wait(HOUSE_SHORT_SECONDS if idle_exit_s is not None and idle_exit_s < 1 else HOUSE_SECONDS)

    def next_attempt_in(self) -> float:
        """Return the seconds until the first stream may be tried again, 0 if now."""
        return min((delivery.next_attempt_in() for delivery in self._deliveries), default=0.0)

    def has_work(self) -> bool:
        """Return whether any stream has something to publish."""
        try:
            return any(delivery.has_work() for delivery in self._deliveries)
        except OutboxError:
            return True

    def _close(self) -> None:
        for delivery in self._deliveries:
            delivery.close()
        if self._metrics is not None:
            # What the last moments changed would otherwise be missing until the next relay.
            self._metrics.finish()
