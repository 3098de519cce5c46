# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write the events of a transaction as part of it: they are committed or rolled back with it, even in a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mercurial import error, util

from sourcepulse.events.event import Event
from sourcepulse_hg.messages import Teller, refusal
from sourcepulse_hg.pending.files import ensure_folder
from sourcepulse_hg.pending.first_copy import FOLDER as FOLDER_NAME
from sourcepulse_hg.pending.first_copy import FirstCopy, Identity, base_name, encode_copy, next_counter
from sourcepulse_hg.pending.hand_over import Aftermath
from sourcepulse_hg.pending.repo_created import has_creation, note_announced, with_creation
from sourcepulse_hg.settings import Settings, read_settings
from sourcepulse_hg.transaction.before import Before, noted_before
from sourcepulse_hg.transaction.events import transaction_events
from sourcepulse_hg.transaction.vanished import note_vanished

FOLDER = FOLDER_NAME.encode("ascii")
#: Sorts before Mercurial's own callbacks (`-warm-cache`), so that a crash in one finds the file in its final place.
POST_CLOSE = b"!sourcepulse"


def record(repo: Any, tr: Any) -> None:
    """Write the first copy, as the last validator of a transaction, and schedule its collection.

    Raises error.Abort, which rolls the transaction back, only if the first copy cannot be written and `on_error` is
    `refuse`.
    """
    txnid = tr.hookargs[b"txnid"].decode("ascii")
    teller = Teller(repo.ui, tr.hookargs.get(b"url"))
    try:
        settings = read_settings(repo)
        teller.warn_all(settings.problems)
        events = transaction_events(
            repo,
            settings,
            teller,
            start=tr.changes[b"origrepolen"],
            stop=len(repo.changelog),
            txnid=txnid,
            source=tr.hookargs.get(b"source"),
            url=tr.hookargs.get(b"url"),
            transaction_name=tr.hookargs.get(b"txnname") or b"",
            changes=tr.changes,
            before=noted_before(repo),
        )
        before = noted_before(repo)
        _note_vanished(repo, tr, before, teller)
        if before.unseen is not None:
            events = [*_unseen(repo, settings, teller, txnid, before.unseen), *events]
        if not events:
            return
        events = with_creation(repo, events, settings, teller)
    except Exception as failure:  # noqa: BLE001 - our own errors must not refuse a push
        teller.lost(repo.sharedpath, txnid, repr(failure))
        return
    try:
        name = write_pending(repo, tr, txnid, events)
    except (OSError, error.Abort) as failure:
        reason = str(failure) or repr(failure)
        if settings.refuse:
            raise refusal(
                repo.ui,
                teller.for_reader(f"sourcepulse: the first copy of the push's event cannot be written: {reason}"),
                "free or repair the storage, or set 'on_error = lose' to accept pushes unpublished",
            ) from failure
        teller.lost(repo.sharedpath, txnid, reason)
        return
    except Exception as failure:  # noqa: BLE001 - as above
        teller.lost(repo.sharedpath, txnid, repr(failure))
        return
    tr.addpostclose(POST_CLOSE, _promoter(repo, name, events, settings, teller))


def _unseen(repo: Any, settings: Settings, teller: Teller, txnid: str, revisions: tuple[int, int]) -> list[Event]:
    from sourcepulse_hg.mapping.unseen import unseen_events

    return unseen_events(repo, settings, teller, start=revisions[0], stop=revisions[1], txnid=txnid)


def _note_vanished(repo: Any, tr: Any, before: Before, teller: Teller) -> None:
    try:
        note_vanished(repo, tr, before.unserved)
    except Exception as failure:  # noqa: BLE001 - if these reappear they are published twice, which is harmless
        teller.note(f"changesets that are no longer visible could not be recorded: {failure!r}")


def encode_numbered(repo: Any, txnid: str, events: list[Event], mark: str | None = None) -> tuple[bytes, bytes]:
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


def write_pending(repo: Any, tr: Any, txnid: str, events: list[Event]) -> bytes:
    """Write the pending file and return its base name.

    The backup entry makes the journal name the file before it exists, so that an abort and `hg recover`
    remove it. It is written in place, because no process reads it before the commit.
    """
    base, content = encode_numbered(repo, txnid, events)
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


def _promoter(repo: Any, base: bytes, events: list[Event], settings: Settings, teller: Teller) -> Callable[[Any], None]:
    pending = repo.svfs.join(FOLDER + b"/p" + base)
    dot_hg = repo.sharedpath
    folder = os.path.join(dot_hg, FOLDER)
    is_first = has_creation(events)
    aftermath = Aftermath.of(repo, settings, teller)

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
            teller.note(f"the first copy stays in the store: {failure}")
        aftermath.schedule()

    return promote
