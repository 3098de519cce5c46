# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write the first copies of events, and move them to the outbox after the locks are released.

A first copy is a part of its transaction, or is written outside of any for changes that are already certain. The pusher
waits for the move to the outbox and for the start of a relay; neither raises. They wait for locks at most 200 ms in
total; first copies that cannot be collected in time are left to the next push or the relay.
"""

from __future__ import annotations

import os
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from mercurial import util

from sourcepulse.events.event import PUBLIC, RESTRICTED, Event
from sourcepulse.events.record import Record
from sourcepulse.relay.on_demand import are_others, identity, relay_runs
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.pending.first_copy import (
    FOLDER,
    FirstCopy,
    Identity,
    base_name,
    encode_copy,
    ensure_folder,
    next_counter,
    replace_file,
)
from sourcepulse_hg.pending.relayed import ask_to_collect, wake_relay
from sourcepulse_hg.pending.repo_created import has_creation, note_announced, with_creation
from sourcepulse_hg.settings import DEFAULT_OUTBOX, Settings, exposed_password_file

if TYPE_CHECKING:
    from sourcepulse.outbox.outbox import Outbox

#: Sorts before Mercurial's own callbacks (`-warm-cache`), so that a crash in one finds the file in its final place.
_POST_CLOSE = b"!sourcepulse"
_LATER = "events are saved; the relay or the next push publishes them"
#: For each of five locks: the collector's, and those of opening the outbox, reading and storing the origin, one append.
LOCK_WAIT_SECONDS = 0.04
#: More first copies than this allows are left to the next push or the relay.
COLLECT_LIMIT_SECONDS = 0.3

#: Events that have waited for less are not reported.
TROUBLE_SECONDS = 5.0
#: The length of a reason that a pusher on another machine sees.
ERROR_MAX_CHARACTERS = 200

_SCHEDULED = "_sourcepulse_scheduled"


def write_in_transaction(repo: Any, tr: Any, txnid: str, events: list[Event]) -> bytes:
    """Write the pending file and return its base name.

    The backup entry makes the journal name the file before it exists, so that an abort and `hg recover`
    remove it. It is written in place, because no process reads it before the commit.
    """
    base, content = _encode_numbered(repo, txnid, events)
    name = FOLDER + b"/p" + base
    tr.addbackup(name)
    try:
        with repo.svfs(name, b"wb") as file:
            file.write(content)
    except OSError:
        # The transaction may go on without the file, and half a file is worse than none.
        with suppress(OSError):
            repo.svfs.unlink(name)
        raise
    return base


def publish_on_close(
    repo: Any, tr: Any, base: bytes, events: list[Event], settings: Settings, messages: Messages
) -> None:
    """Move the pending file out of the store once the transaction is committed, and then to the outbox."""
    pending = repo.svfs.join(FOLDER + b"/p" + base)
    dot_hg = repo.sharedpath
    folder = os.path.join(dot_hg, FOLDER)
    is_first = has_creation(events)
    hand_over = HandOver.of(repo, settings, messages)

    def promote(_tr: Any) -> None:
        try:
            ensure_folder(folder, like=dot_hg)
            util.rename(pending, os.path.join(folder, b"r" + base))
            with suppress(OSError):
                # Only transactions write here, and this one still holds the lock of the store.
                os.rmdir(os.path.dirname(pending))
            if is_first:
                note_announced(dot_hg)
        except OSError as failure:
            # The collector also looks in the store.
            messages.note(f"the first copy stays in the store: {failure}")
        hand_over.schedule()

    tr.addpostclose(_POST_CLOSE, promote)


def write_with_creation(
    repo: Any, txnid: str, events: list[Event], settings: Settings, messages: Messages, *, mark: str | None = None
) -> None:
    """Write the first copy of some events, with `hg.repo.created` if that was never published; raises OSError."""
    events = with_creation(repo, events, settings, messages)
    write_outside_transaction(repo, txnid, events, mark)
    if has_creation(events):
        with suppress(OSError):
            note_announced(repo.sharedpath)


def write_outside_transaction(repo: Any, txnid: str, events: list[Event], mark: str | None = None) -> None:
    """Write the first copy of some events atomically; raises OSError."""
    base, content = _encode_numbered(repo, txnid, events, mark)
    folder = os.path.join(repo.sharedpath, FOLDER)
    ensure_folder(folder, like=repo.sharedpath)
    replace_file(os.path.join(folder, b"r" + base), content, like=repo.sharedpath)


def _encode_numbered(repo: Any, txnid: str, events: list[Event], mark: str | None = None) -> tuple[bytes, bytes]:
    """Return the base name and the content of the next first copy."""
    ready = os.path.join(repo.sharedpath, FOLDER)
    counter = next_counter([repo.svfs.join(FOLDER), ready])
    content = encode_copy(
        FirstCopy(
            counter=counter,
            txnid=txnid,
            identity=Identity.of(repo.sharedpath),
            time=time.time(),
            events=events,
            mark=mark,
        )
    )
    return base_name(counter, txnid).encode("ascii"), content


class HandOver(Record):
    """What to do for one repository after its locks are released."""

    repo: weakref.ref[Any]
    settings: Settings
    messages: Messages

    @classmethod
    def of(cls, repo: Any, settings: Settings, messages: Messages) -> Self:
        """Keep the repository by a weak reference, as Mercurial's own callbacks do."""
        return cls(weakref.ref(repo.unfiltered()), settings, messages)

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
            self.messages.note(f"{_LATER}: {failure!r}")

    def run(self) -> None:
        """Leave the first copies to the relay that runs, or collect them and start one; never raises."""
        try:
            if not self._wake_relay():
                if not self._collect():
                    # A relay that runs may be able to, and need not wait for its sweep.
                    ask_to_collect(self.settings.outbox, self.settings.dot_hg)
                self._start_relay()
        except Exception as failure:  # noqa: BLE001 - the push is committed; we must not break its reply
            self.messages.warn(f"{_LATER}: {failure!r}")

    def _wake_relay(self) -> bool:
        # A relay with other settings than those in the hgrc must be replaced.
        if (self._may_start_relay and self._is_other_relay()) or not wake_relay(
            self.settings.outbox, self.settings.dot_hg
        ):
            return False
        self.messages.log("the relay collects the events")
        if self._may_start_relay:
            self._warn_of_exposed_password()
        return True

    def _collect(self) -> bool:
        """Collect the first copies; return whether none is left."""
        from sourcepulse.errors import OutboxLockedError, SourcePulseError
        from sourcepulse.outbox.outbox import Outbox
        from sourcepulse_hg.pending.collect import KIND, collect_first_copies, find_repository

        settings = self.settings
        make_default_outbox_folder(settings)
        try:
            with Outbox.open(os.fsdecode(settings.outbox), lock_wait_s=LOCK_WAIT_SECONDS) as outbox:
                found = collect_first_copies(
                    find_repository(os.fsdecode(settings.dot_hg)),
                    outbox,
                    deadline_s=COLLECT_LIMIT_SECONDS,
                    lock_wait_s=LOCK_WAIT_SECONDS,
                )
                if found.quarantined:
                    from sourcepulse.outbox.problems import count_collect_errors

                    count_collect_errors(outbox, KIND)
                self._warn_of_trouble(outbox)
        except OutboxLockedError as error:
            self.messages.note(f"{_LATER}: {error}")
            return False
        except SourcePulseError as error:
            self.messages.warn(f"{_LATER}: {error}")
            return False
        if found.quarantined:
            self.messages.warn(
                f"{len(found.quarantined)} first copies are damaged or from a copied repository; "
                "run 'hg sourcepulse-recover' on the server to list them"
            )
        # Only logged if all is well, because Mercurial's own tests compare the output of --debug.
        (self.messages.note if found.left else self.messages.log)(
            f"collected {found.collected} new, {found.repeats} known, {found.left} left"
        )
        return not found.left

    def _warn_of_trouble(self, outbox: Outbox) -> None:
        """Warn the pusher that events wait, and why."""
        trouble = outbox.trouble(RESTRICTED if self.settings.restricted else PUBLIC)
        waited_s = 0.0 if trouble is None else outbox.now() - trouble.since
        if trouble is None or waited_s < TROUBLE_SECONDS:
            return
        self.messages.warn(
            f"{trouble.waiting} events wait to be published, the first for {waited_s:.0f} s: {self._fit(trouble.error)}"
        )

    def _fit(self, sentence: str) -> str:
        return self.messages.for_reader(sentence)[:ERROR_MAX_CHARACTERS] if self.messages.is_remote else sentence

    @property
    def _may_start_relay(self) -> bool:
        settings = self.settings
        return settings.start_relay and (settings.broker is not None or settings.broker_file is not None)

    def _is_other_relay(self) -> bool:
        settings = self.settings
        used = identity(broker=settings.broker, broker_file=settings.broker_file)
        return are_others(os.fsdecode(settings.outbox), used)

    def _start_relay(self) -> None:
        settings = self.settings
        if not self._may_start_relay:
            return
        self._warn_of_exposed_password()
        # Nearly always a relay runs, and then a push need not load what starts one.
        if relay_runs(os.fsdecode(settings.outbox)) and not self._is_other_relay():
            return
        from sourcepulse_hg.pending.relay_start import failure_of_last_start, start_relay

        failure = failure_of_last_start(settings.outbox)
        problem = start_relay(settings.outbox, broker=settings.broker, broker_file=settings.broker_file)
        if problem is not None:
            self.messages.warn(f"{self._fit(problem)}; the events wait until an admin runs `sourcepulse relay`")
        elif failure is not None:
            self.messages.warn(
                f"the relay that sends the events did not start after an earlier push: {self._fit(failure)}; "
                "see `sourcepulse status` on the server"
            )

    def _warn_of_exposed_password(self) -> None:
        repo = self.repo()
        exposed = None if repo is None else exposed_password_file(repo.ui, self.settings)
        if exposed is not None:
            sentence = (
                f"{os.fsdecode(exposed)} shows the broker's password to every user of this machine; "
                "move the URL to a file of mode 0640 and set broker_file in [sourcepulse]"
            )
            # A pusher on another machine is not shown this.
            (self.messages.note if self.messages.is_remote else self.messages.warn)(sentence)


def make_default_outbox_folder(settings: Settings) -> None:
    """Make the folder in `.hg` that the default outbox is in; other folders must exist. Raises OSError."""
    if settings.outbox == os.path.join(settings.dot_hg, DEFAULT_OUTBOX):
        ensure_folder(os.path.dirname(settings.outbox), like=settings.dot_hg)
