# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`hg sourcepulse-recover`: collect the events that a crash left behind and report the result."""

from __future__ import annotations

import os
from typing import Any

from mercurial import error, scmutil

from sourcepulse.errors import SourcePulseError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.pending.collect import collect_repository
from sourcepulse_hg.pending.relay_start import start_relay
from sourcepulse_hg.pending.write import make_default_outbox_folder, write_with_creation
from sourcepulse_hg.settings import Settings, read_settings
from sourcepulse_hg.strip.candidates import note_path
from sourcepulse_hg.strip.removal import settle
from sourcepulse_hg.transaction.known_before import unseen_revisions, write_seen
from sourcepulse_hg.transaction.recovered import recovered_events, unseen_events

RECOVER_LIMIT_SECONDS = 600.0


def recover_now(ui: Any, repo: Any, *, after: bytes = b"") -> int:
    """Collect a repository; returns 0 if nothing is left, 1 if something needs attention.

    `after` is the last changeset of which a restored outbox has the push; raises Mercurial's error if it is unknown.
    """
    # A mistyped one fails before anything is done.
    start = scmutil.revsingle(repo, after).rev() + 1 if after else None
    settings = read_settings(repo)
    for problem in settings.problems:
        ui.warn(_line(problem))
    is_settled = _settle_removal(repo)
    if settings.published:
        _announce_unseen(ui, repo, settings, start)
    elif settings.is_outside:
        ui.warn(_line("this repository is not below 'root' (links are followed), so it publishes nothing"))
    try:
        make_default_outbox_folder(settings)
        with Outbox.open(os.fsdecode(settings.outbox)) as outbox:
            report = collect_repository(os.fsdecode(settings.dot_hg), outbox, deadline_s=RECOVER_LIMIT_SECONDS)
    except (SourcePulseError, OSError) as error:
        ui.warn(_line(str(error)))
        return 1
    ui.status(_line(f"{report.collected} events collected, {report.repeats} already known"))
    if report.undecided or not is_settled:
        ui.warn(
            _line(
                f"{report.undecided + (not is_settled)} first copies belong to a transaction that is not finished: "
                "if no other hg is running here, run 'hg recover' and then this command again"
            )
        )
    for path in report.quarantined:
        ui.warn(_line(f"not collected, damaged or from a copied repository: {path}"))
    if report.left:
        ui.warn(_line(f"{report.left} first copies are left: another collector is running, or the time was too short"))
    if report.collected and settings.start_relay and (settings.broker is not None or settings.broker_file is not None):
        refused = start_relay(settings.outbox, broker=settings.broker, broker_file=settings.broker_file)
        ui.status(_line("a relay publishes them")) if refused is None else ui.warn(_line(refused))
    return 1 if report.undecided or report.quarantined or report.left or not is_settled else 0


def _announce_unseen(ui: Any, repo: Any, settings: Settings, start: int | None) -> None:
    """Publish the changesets that an hg without the extension added, unless another hg is running, which does so.

    From `start` on also those that were published, because the outbox has lost them.
    """
    repo = repo.unfiltered()
    if start is None and unseen_revisions(repo) is None:
        return
    try:
        with repo.lock(wait=False):
            revisions = unseen_revisions(repo) if start is None else (start, len(repo.changelog))
            if revisions is None or revisions[0] >= revisions[1]:
                return
            messages = Messages(ui)
            # First copies are named after a transaction, but which one added these is unknown.
            txnid = f"TXN:{repo.changelog.node(revisions[0]).hex()}"
            find = unseen_events if start is None else recovered_events
            events = find(repo, settings, messages, start=revisions[0], stop=revisions[1], txnid=txnid)
            if events:
                write_with_creation(repo, txnid, events, settings, messages)
            write_seen(repo)
    except (error.LockError, OSError) as failure:
        ui.warn(_line(f"changesets added without the extension will be published with the next transaction: {failure}"))


def _settle_removal(repo: Any) -> bool:
    """Publish what an interrupted strip or rollback has removed; False if that has to wait."""
    if not os.path.exists(note_path(repo.sharedpath)):
        return True
    try:
        with repo.lock(wait=False):
            return settle(repo, recovered=True)
    except error.LockError:
        return False


def _line(sentence: str) -> bytes:
    return b"sourcepulse: " + sentence.encode("utf-8", "surrogateescape") + b"\n"
