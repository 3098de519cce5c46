# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The `changegroup` hook: the same event as the extension makes, written after the commit instead of with it.

Each changeset is told once: by the hook of its push, or, if that died, by that of the next one. A hook that another
one has overtaken finds its changesets told.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sourcepulse.events.event import Event, event_id
from sourcepulse_hg.changegroup_hook.mark import LOCK_NAME, read_mark
from sourcepulse_hg.mapping.events import PUSH
from sourcepulse_hg.messages import Teller
from sourcepulse_hg.pending.files import ensure_folder, folder_lock
from sourcepulse_hg.pending.hand_over import Aftermath
from sourcepulse_hg.pending.layout import Place, find_place
from sourcepulse_hg.pending.write import announce
from sourcepulse_hg.settings import SECTION, Settings, read_settings, silence
from sourcepulse_hg.transaction.events import transaction_events

#: The hook of an earlier push may be a little late; its own event says more than what we could find.
OVERTAKEN_WAIT_SECONDS = 0.1
#: Under the lock only small files are read and written.
LOCK_WAIT_SECONDS = 0.06

_STRIP = b"strip"
_POLL_SECONDS = 0.01
#: What only the hook of that push knew.
_UNKNOWN = ("user", "source", "url", "change_set")


class _Push(NamedTuple):
    """What Mercurial told the hook: a push of the revisions from start to before stop."""

    repo: Any
    place: Place
    settings: Settings
    teller: Teller
    txnid: str
    start: int
    stop: int


def changegroup(ui: Any, repo: Any, *, hooktype: bytes = b"changegroup", **kwargs: Any) -> None:
    """Publish what Mercurial says a push added: `node`, `node_last`, `source`, `url`, `txnid`.

    Does nothing where the extension watches the repository.
    """
    teller = Teller(ui, kwargs.get("url"))
    if hooktype != b"changegroup":
        teller.warn(f"this is a changegroup hook, it does nothing as {hooktype.decode('ascii', 'replace')}")
        return
    if getattr(repo, "sourcepulse_watches", False):
        return
    repo = repo.unfiltered()
    txnid = (kwargs.get("txnid") or b"").decode("ascii", "replace")
    try:
        _declare(repo.ui)
        settings = read_settings(repo)
        teller.tell_all(settings.problems)
        if not settings.published:
            if (why := silence(settings)) is not None:
                teller.note(f"nothing is published: {why}")
            return
        changelog = repo.changelog
        push = _Push(
            repo,
            find_place(os.fsdecode(repo.sharedpath)),
            settings,
            teller,
            txnid,
            start=changelog.rev(bytes.fromhex(kwargs["node"].decode("ascii"))),
            stop=changelog.rev(bytes.fromhex(kwargs["node_last"].decode("ascii"))) + 1,
        )
        if kwargs.get("source") == _STRIP:
            _after_strip(push)
            return
        events = transaction_events(
            repo,
            settings,
            teller,
            start=push.start,
            stop=push.stop,
            txnid=txnid,
            source=kwargs.get("source"),
            url=kwargs.get("url"),
            transaction_name=kwargs.get("txnname") or b"",
        )
        if not _tell(push, events):
            return
    except Exception as failure:  # noqa: BLE001 - the push is committed; nothing of ours may spoil its reply
        teller.lost(repo.sharedpath, txnid, repr(failure))
        return
    Aftermath.of(repo, settings, teller).run()


def _declare(ui: Any) -> None:
    """Register our configuration items, which Mercurial does for extensions only; its developers' checks want it."""
    with suppress(Exception):
        if not ui._knownconfig.get(SECTION):
            from mercurial import configitems

            from sourcepulse_hg.commands.declarations import configtable

            configitems.loadconfigtable(ui, b"sourcepulse_hg", configtable)


def _tell(push: _Push, events: list[Event]) -> bool:
    """Write the first copy of a push and of what is untold before it; False if there is nothing to collect."""
    deadline = time.monotonic() + OVERTAKEN_WAIT_SECONDS
    while _is_behind(_told(push), push.start) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    with _mark_lock(push) as is_ours:
        if not is_ours:
            push.teller.note("another hook is at work, so the next push tells this one, too")
            return False
        told = _told(push)
        # A mark among what was pushed has been stripped and comes again.
        if told is not None and told > push.stop:
            push.teller.note("the hook of a later push has told this one")
            return False
        found = _untold(push, told, push.start) if told is not None and _is_behind(told, push.start) else []
        last = push.repo.changelog.node(push.stop - 1).hex()
        announce(push.repo, push.txnid, [*found, *events], push.settings, push.teller, mark=last)
    return True


def _after_strip(push: _Push) -> None:
    """See to the mark when strip has added changesets again, which nobody has to be told."""
    with _mark_lock(push) as is_ours:
        # The changesets after that of the mark are those that were after it before, so it can stay.
        if not is_ours or read_mark(push.place) is None or _told(push) is not None:
            return
        last = push.repo.changelog.node(push.stop - 1).hex()
        announce(push.repo, push.txnid, [], push.settings, push.teller, mark=last)


def _mark_lock(push: _Push) -> AbstractContextManager[bool]:
    ensure_folder(push.place.ready, like=push.place.dot_hg)
    elsewhere = Path(os.fsdecode(push.settings.outbox)).with_suffix(f".{LOCK_NAME}")
    return folder_lock(push.place.ready / LOCK_NAME, elsewhere=elsewhere, wait_s=LOCK_WAIT_SECONDS)


def _told(push: _Push) -> int | None:
    """Count the revisions that are told, None if nobody can say; a strip may have moved the last one."""
    mark = read_mark(push.place)
    if mark is None:
        return None
    revision = push.repo.changelog.index.get_rev(bytes.fromhex(mark))
    return None if revision is None else int(revision) + 1


def _is_behind(told: int | None, start: int) -> bool:
    return told is not None and told < start


def _untold(push: _Push, start: int, stop: int) -> list[Event]:
    """Make the events of revisions whose own hook died; there was a transaction, but nobody knows which."""
    events = transaction_events(
        push.repo,
        push.settings,
        push.teller,
        start=start,
        stop=stop,
        txnid=push.txnid,
        source=None,
        url=None,
        transaction_name=b"",
    )
    pushed = next((event.data for event in events if event.type == PUSH), None)
    if pushed is None:
        return []
    key = ("recovered", pushed["first"], pushed["last"], str(pushed["count"]))
    return [recovered_event(event, key) for event in events]


def recovered_event(event: Event, key: tuple[str, ...]) -> Event:
    """Return the event as one that was found later, under this natural key, without what only a live process knew."""
    data = {**event.data, **dict.fromkeys(_UNKNOWN), "recovered": True}
    data["raw"] = [note for note in data["raw"] if note["field"].removeprefix("/") not in _UNKNOWN]
    return event._replace(id=event_id(event.source, event.type, *key), data=data)
