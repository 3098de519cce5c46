# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Serve one Bugzilla until stopped, whatever happens to it, to drain.pl or to the outbox meanwhile."""

from __future__ import annotations

import grp
import logging
import random
import time
from collections.abc import Callable

from sourcepulse.errors import OutboxError
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse.relay.retry import retry_seconds
from sourcepulse_bugzilla.errors import (
    DrainerError,
    DrainerGoneError,
    LockedError,
    PausedError,
    SetupError,
    SiteConflictError,
)
from sourcepulse_bugzilla.lifecycle.session import Session, Work, open_session
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.nudge import Nudge

#: How often the table is read without a nudge.
POLL_SECONDS = 5.0
#: How often the state of the table is requested.
STATS_SECONDS = 60.0
#: How often Bugzilla's history is compared with what was published, and how soon again after a failure.
RECONCILE_SECONDS = 3_600.0
RECONCILE_RETRY_SECONDS = 600.0
#: The first wait after a failure; it doubles up to 30 s.
RETRY_FIRST_SECONDS = 0.5
#: The wait during maintenance or while another sidecar runs, which both take long.
PAUSED_SECONDS = 15.0
LOCKED_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Service:
    """The loop of the sidecar.

    `group` is the id of the group that may write to the socket, None for that of Bugzilla. `begun` is called once,
    when the outbox is open and no error would end the service.
    """

    def __init__(
        self,
        work: Work,
        *,
        group: int | None,
        stop: Stop,
        manager: ServiceManager,
        begun: Callable[[], object] = lambda: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._work = work
        self._group = group
        self._stop = stop
        self._manager = manager
        self._begun = begun
        self._jitter = jitter
        self._failures = 0
        self._reconcile_at = self._stats_at = 0.0
        self._is_ready = False
        #: The last trouble, which is not logged again.
        self._trouble = ""
        #: The last warning that the extension is silent.
        self._silence = ""

    def run(self, *, retry_buried: bool = False) -> None:
        """Serve until `stop` is set, or until another folder is claimed for this Bugzilla.

        SetupError or OutboxError if it cannot start; later errors are retried, except SiteConflictError.
        """
        while not self._stop.is_set():
            try:
                with open_session(self._work, self._stop, self._manager) as session:
                    self._acquire_lock(session)
                    if self._stop.is_set():
                        return
                    if retry_buried:
                        logger.info("%d buried rows are tried again", session.drainer.retry())
                        retry_buried = False
                    self._serve(session)
            except SiteConflictError:
                raise
            except (SetupError, OutboxError) as error:
                if not self._is_ready:
                    raise
                self._wait_after(error)
            except DrainerError as error:
                self._ready()
                self._wait_after(error)

    def _acquire_lock(self, session: Session) -> None:
        while not self._stop.is_set():
            try:
                session.drainer.lock()
            except LockedError:
                self._ready()
                self._note("another sidecar serves this Bugzilla; waiting until it ends")
                self._stop.wait(LOCKED_SECONDS)
            else:
                return

    def _serve(self, session: Session) -> None:
        nudge = Nudge(session.hello.socket)
        try:
            while True:
                if session.is_replaced():
                    # An administrator chose this; a sidecar that fails would be restarted.
                    logger.warning("another folder was claimed for this Bugzilla; this sidecar ends")
                    self._stop.set()
                    return
                # Opened before the table is read, so that every later row sends a nudge.
                nudge.open(self._socket_group(session), wanted=self._group is not None)
                is_empty = session.drain()
                if self._stop.is_set():
                    if not is_empty:
                        logger.warning("stopped; the rows left in Bugzilla's table are for the next sidecar")
                    return
                self._failures = 0
                if self._trouble:
                    logger.info("events flow again")
                    self._trouble = ""
                self._ready()
                self._look_after(session)
                nudge.wait(POLL_SECONDS, self._stop)
        finally:
            nudge.close()

    def _look_after(self, session: Session) -> None:
        now = time.monotonic()
        if now >= self._stats_at:
            self._stats_at = now + STATS_SECONDS
            stats = session.drainer.stats()
            self._manager.status(f"serving; {stats.depth} rows wait, {stats.buried} are buried")
            self._note_silence(session.note_silence(stats))
            if session.has_missed(stats.missed):
                logger.warning("Bugzilla could not write a row for some changes; searching its history for them")
                self._reconcile_at = now
        if now >= self._reconcile_at:
            self._reconcile_at = now + RECONCILE_RETRY_SECONDS
            try:
                more = session.reconcile().more
            except (DrainerGoneError, PausedError):
                raise
            except DrainerError as error:
                # The table can still be drained.
                logger.error("Bugzilla's history cannot be compared: %s", error)
                return
            if not more:
                self._reconcile_at = now + RECONCILE_SECONDS

    def _note_silence(self, sentence: str) -> None:
        if sentence and sentence != self._silence:
            logger.warning("%s", sentence)
        self._silence = sentence

    def _socket_group(self, session: Session) -> int | None:
        if self._group is not None or session.hello.group is None:
            return self._group
        try:
            return grp.getgrnam(session.hello.group).gr_gid
        except KeyError:
            return None

    def _ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._begun()
            self._manager.ready()

    def _wait_after(self, error: Exception) -> None:
        if isinstance(error, PausedError):
            wait_s = PAUSED_SECONDS * (0.5 + 0.5 * self._jitter())
        else:
            wait_s = retry_seconds(self._failures, first=RETRY_FIRST_SECONDS, jitter=self._jitter)
            self._failures += 1
        self._note(f"{error}; events wait, and the sidecar keeps trying")
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0 and not self._stop.is_set():
            self._manager.alive()
            self._stop.wait(min(left_s, 1.0))

    def _note(self, sentence: str) -> None:
        if sentence != self._trouble:
            self._trouble = sentence
            logger.warning("%s", sentence)
            self._manager.status(sentence)
