# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One drain.pl connected to one outbox, from its hello until one of them fails or it is time to end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from sourcepulse.events.event import format_time
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import clear_problem, count_collect_errors, set_problem
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse_bugzilla.drain import drain_batch
from sourcepulse_bugzilla.errors import DrainerError, LockedError, PausedError
from sourcepulse_bugzilla.history.marks import MarksFile
from sourcepulse_bugzilla.history.reconcile import Reconciled, reconcile
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.perl.child import Child
from sourcepulse_bugzilla.perl.requests import SCRIPT, Drainer, Hello, Stats
from sourcepulse_bugzilla.visibility.folder_of_site import claim_site, folder_of, open_site
from sourcepulse_bugzilla.visibility.folders import ORIGIN_KIND

#: The name in `status` of the problem that the extension writes no rows although it should.
SILENT = "bugzilla-silent"

logger = logging.getLogger(__name__)


class Work(NamedTuple):
    """What to drain and where to: the command of drain.pl, the folder of Bugzilla, the outbox, the size of an event."""

    command: Sequence[str]
    folder: Path
    outbox: Path
    max_bytes: int


class Session:
    """Drains and compares; every error is left to the caller, which opens another session."""

    def __init__(self, drainer: Drainer, hello: Hello, outbox: Outbox, work: Work, stop: Stop) -> None:
        self.drainer = drainer
        self.hello = hello
        self.marks_file = MarksFile(outbox.path, hello.site)
        self._outbox = outbox
        self._folder = work.folder
        self._emitter = Emitter(f"bugzilla://{hello.site}", hello.secret, work.max_bytes)
        self._stop = stop
        #: The number of rows published and buried so far.
        self.published = self.buried = 0

    def drain(self) -> bool:
        """Empty the table; return False if it is time to end before that."""
        left = True
        while left and time.monotonic() < self._stop.give_up_at():
            drained = drain_batch(self.drainer, self._outbox, self._emitter)
            self.published += drained.published
            self.buried += drained.buried
            left = drained.left > 0
        return not left

    def has_missed(self, missed: int) -> bool:
        """Return whether Bugzilla has missed more changes since its whole history was last compared."""
        kept = self.marks_file.read()
        if kept is None or missed == kept.missed:
            return False
        if missed == 0:
            # The list was emptied.
            self.marks_file.write(kept._replace(missed=0))
        return missed > 0

    def is_replaced(self) -> bool:
        """Return whether an administrator claimed another folder for this Bugzilla."""
        return folder_of(self._outbox, self.hello.site) not in (None, self._folder)

    def note_silence(self, stats: Stats) -> str:
        """Record in the outbox, for `status`, whether the extension is silent; return the sentence, or ""."""
        if stats.silent_since is None:
            clear_problem(self._outbox, SILENT, place=self.hello.site)
            return ""
        sentence = (
            f"the extension has written no row since {format_time(stats.silent_since)}, though Bugzilla has recorded "
            f"public changes after that; is {self._folder / SCRIPT.parent.parent} readable for the web server?"
        )
        set_problem(self._outbox, SILENT, sentence, place=self.hello.site)
        return sentence

    def reconcile(self) -> Reconciled:
        """Publish what is missing; the first time, only set the marks."""
        return reconcile(
            self.drainer,
            self._outbox,
            self._emitter,
            self.marks_file,
            drain=self.drain,
            stopping=self._stop.is_set,
        )


@contextmanager
def open_session(work: Work, stop: Stop, manager: ServiceManager) -> Iterator[Session]:
    """Open a session that does not hold the lock yet.

    OutboxError if the outbox cannot be used; SetupError, PausedError or DrainerError as drain.pl answers;
    SiteConflictError if another folder serves this Bugzilla.
    """
    with _opened(work, stop, manager) as (outbox, drainer, hello):
        open_site(outbox, hello.site, work.folder, work.command[0])
        if not hello.enabled:
            logger.warning("the parameter sourcepulse_enabled is off: this Bugzilla publishes no events")
        if hello.requirelogin:
            logger.info("this Bugzilla shows nothing without a login: nothing in it is public")
        yield Session(drainer, hello, outbox, work, stop)


def claim(work: Work, stop: Stop, manager: ServiceManager) -> None:
    """Make the folder the one that serves its Bugzilla; raises the same errors as `open_session`."""
    with _opened(work, stop, manager) as (outbox, _, hello):
        claim_site(outbox, hello.site, work.folder, work.command[0])


@contextmanager
def _opened(work: Work, stop: Stop, manager: ServiceManager) -> Iterator[tuple[Outbox, Drainer, Hello]]:
    with ExitStack() as stack:
        # The outbox may contain restricted data, so only its owner may read it.
        outbox = stack.enter_context(Outbox.open(work.outbox, private=True))
        child = Child(work.command, step=manager.alive, give_up_at=stop.give_up_at)
        drainer = stack.enter_context(Drainer(child))
        try:
            yield outbox, drainer, drainer.hello()
        except (PausedError, LockedError):
            raise
        except DrainerError:
            count_collect_errors(outbox, ORIGIN_KIND)
            raise
