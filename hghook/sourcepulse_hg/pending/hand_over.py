# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""After the locks are released: move the first copies to the outbox and start a relay if none is running.

The pusher waits for this, and it must not raise. It waits for locks at most 200 ms in total; first copies that it
cannot collect in time are left to the next push or the relay.
"""

import os
import re
import weakref
from typing import Any, NamedTuple, Self

from sourcepulse_hg.messages import Teller
from sourcepulse_hg.settings import DEFAULT_OUTBOX, Settings, exposed_password_file

#: For each of five locks: the collector's, and those of opening the outbox, reading and storing the origin, one append.
LOCK_WAIT_SECONDS = 0.04
#: More first copies than this allows are left to the next push or the relay.
COLLECT_LIMIT_SECONDS = 0.3

#: Events that have waited for less are not reported.
TROUBLE_SECONDS = 5.0
#: The length of a reason that a pusher on another machine sees.
ERROR_MAX_CHARACTERS = 200
_PATH = r"(^|[\s'\"=(:])/[^\s'\";,:)]+"

_SCHEDULED = "_sourcepulse_scheduled"


class Aftermath(NamedTuple):
    """What to do for one repository after its locks are released."""

    repo: weakref.ref[Any]
    settings: Settings
    teller: Teller

    @classmethod
    def of(cls, repo: Any, settings: Settings, teller: Teller) -> Self:
        """Keep the repository by a weak reference, as Mercurial's own callbacks do."""
        return cls(weakref.ref(repo.unfiltered()), settings, teller)

    def schedule(self) -> None:
        """Make Mercurial call `run` after the outermost lock is released, once for all transactions under it."""
        repo = self.repo()
        if repo is None or getattr(repo, _SCHEDULED, False):
            return

        def after_lock(_success: bool) -> None:
            here = self.repo()
            if here is not None:
                object.__setattr__(here, _SCHEDULED, False)
            self.run()

        try:
            object.__setattr__(repo, _SCHEDULED, True)
            repo._afterlock(after_lock)
        except Exception as failure:  # noqa: BLE001 - the transaction is committed
            self.teller.note(f"events are saved and will be published with the next push: {failure!r}")

    def run(self) -> None:
        """Collect the first copies and start a relay; never raises."""
        try:
            self._collect()
            self._start_relay()
        except Exception as failure:  # noqa: BLE001 - the push is committed; we must not break its reply
            self.teller.warn(f"events are saved and will be published with the next push: {failure!r}")

    def _collect(self) -> None:
        from sourcepulse.errors import OutboxLockedError, SourcePulseError
        from sourcepulse.outbox.outbox import Outbox
        from sourcepulse_hg.pending.collect import collect_place
        from sourcepulse_hg.pending.files import ensure_folder
        from sourcepulse_hg.pending.layout import find_place

        settings = self.settings
        if settings.outbox == os.path.join(settings.dot_hg, DEFAULT_OUTBOX):
            ensure_folder(os.path.dirname(settings.outbox), like=settings.dot_hg)
        try:
            with Outbox.open(os.fsdecode(settings.outbox), lock_wait_s=LOCK_WAIT_SECONDS) as outbox:
                found = collect_place(
                    find_place(os.fsdecode(settings.dot_hg)),
                    outbox,
                    deadline_s=COLLECT_LIMIT_SECONDS,
                    lock_wait_s=LOCK_WAIT_SECONDS,
                )
                self._warn_of_trouble(outbox)
        except OutboxLockedError as error:
            self.teller.note(f"events are saved and will be published with the next push: {error}")
            return
        except SourcePulseError as error:
            self.teller.warn(f"events are saved and will be published with the next push: {error}")
            return
        if found.quarantined:
            self.teller.warn(
                f"{len(found.quarantined)} first copies are damaged or from a copied repository; "
                "run 'hg sourcepulse-recover' on the server to list them"
            )
        # Only logged if all is well, because Mercurial's own tests compare the output of --debug.
        (self.teller.note if found.left else self.teller.log)(
            f"collected {found.collected} new, {found.repeats} known, {found.left} left"
        )

    def _warn_of_trouble(self, outbox: Any) -> None:
        """Warn the pusher that events wait, and why."""
        from sourcepulse.events.event import PUBLIC, RESTRICTED

        trouble = outbox.trouble(RESTRICTED if self.settings.restricted else PUBLIC)
        waited_s = 0.0 if trouble is None else outbox.now() - trouble.since
        if trouble is None or waited_s < TROUBLE_SECONDS:
            return
        self.teller.warn(
            f"{trouble.waiting} events wait to be published, the first for {waited_s:.0f} s: {self._fit(trouble.error)}"
        )

    def _fit(self, sentence: str) -> str:
        # A pusher on another machine must not see the server's paths.
        return re.sub(_PATH, r"\1...", sentence)[:ERROR_MAX_CHARACTERS] if self.teller.is_remote else sentence

    def _start_relay(self) -> None:
        settings = self.settings
        if not settings.start_relay or (settings.broker is None and settings.broker_file is None):
            return
        from sourcepulse_hg.pending.relay_start import failure_of_last_start, start_relay

        failure = failure_of_last_start(settings.outbox)
        repo = self.repo()
        exposed = None if repo is None else exposed_password_file(repo.ui, settings)
        if exposed is not None:
            sentence = (
                f"{os.fsdecode(exposed)} shows the broker's password to every user of this machine; "
                "move the URL to a file of mode 0640 and set broker_file in [sourcepulse]"
            )
            # A pusher on another machine is not shown this.
            (self.teller.note if self.teller.is_remote else self.teller.warn)(sentence)
        problem = start_relay(settings.outbox, broker=settings.broker, broker_file=settings.broker_file)
        if problem is not None:
            self.teller.warn(f"{self._fit(problem)}; the events wait until an admin runs `sourcepulse relay`")
        elif failure is not None:
            self.teller.warn(
                f"the relay that sends the events did not start after an earlier push: {self._fit(failure)}; "
                "see `sourcepulse status` on the server"
            )
