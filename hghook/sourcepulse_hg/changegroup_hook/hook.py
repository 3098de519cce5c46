# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The `changegroup` hook: publish the same events as the extension, but after the commit instead of as part of it.

Each changeset is published once: by the hook of its push or, if that died, by the hook of the next push. A hook that
was overtaken by the hook of a later push finds its changesets already published.
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

#: The hook of an earlier push may be a little late; its own event has more facts than one that we would recover.
OVERTAKEN_WAIT_SECONDS = 0.1
#: Only small files are read and written under this lock.
LOCK_WAIT_SECONDS = 0.06

_STRIP = b"strip"
_POLL_SECONDS = 0.01
#: The members that only the hook of that push knew.
_UNKNOWN = ("user", "source", "url", "change_set")


class _Push(NamedTuple):
    """A push of the revisions `range(start, stop)`, as Mercurial passed it to the hook."""

    repo: Any
    place: Place
    settings: Settings
    teller: Teller
    txnid: str
    start: int
    stop: int


def changegroup(ui: Any, repo: Any, *, hooktype: bytes = b"changegroup", **kwargs: Any) -> None:
    """Publish a push, which Mercurial describes by `node`, `node_last`, `source`, `url` and `txnid`.

    Does nothing if the extension watches the repository.
    """
    teller = Teller(ui, kwargs.get("url"))
    if hooktype != b"changegroup":
        teller.warn(f"this is a changegroup hook; it does nothing as a {hooktype.decode('ascii', 'replace')} hook")
        return
    if getattr(repo, "sourcepulse_watches", False):
        return
    repo = repo.unfiltered()
    txnid = (kwargs.get("txnid") or b"").decode("ascii", "replace")
    try:
        _declare(repo.ui)
        settings = read_settings(repo)
        teller.warn_all(settings.problems)
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
        if not _write_copy(push, events):
            return
    except Exception as failure:  # noqa: BLE001 - the push is committed; we must not break its reply
        teller.lost(repo.sharedpath, txnid, repr(failure))
        return
    Aftermath.of(repo, settings, teller).run()


def _declare(ui: Any) -> None:
    """Register our configuration items, because Mercurial does so only for extensions and its devel checks warn."""
    with suppress(Exception):
        if not ui._knownconfig.get(SECTION):
            from mercurial import configitems

            from sourcepulse_hg.commands.declarations import configtable

            configitems.loadconfigtable(ui, b"sourcepulse_hg", configtable)


def _write_copy(push: _Push, events: list[Event]) -> bool:
    """Write the first copy of a push and of unpublished changesets before it; False if there is nothing to collect."""
    deadline = time.monotonic() + OVERTAKEN_WAIT_SECONDS
    while _is_behind(_published_count(push), push.start) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    with _mark_lock(push) as is_ours:
        if not is_ours:
            push.teller.note("another hook holds the lock; this push will be published with the next one")
            return False
        count = _published_count(push)
        # If the mark is among the pushed changesets, it had been stripped and was added again.
        if count is not None and count > push.stop:
            push.teller.note("the hook of a later push has published this one")
            return False
        found = _recover(push, count, push.start) if count is not None and _is_behind(count, push.start) else []
        last = push.repo.changelog.node(push.stop - 1).hex()
        announce(push.repo, push.txnid, [*found, *events], push.settings, push.teller, mark=last)
    return True


def _after_strip(push: _Push) -> None:
    """Restore the mark after strip has added changesets again; these are not published again."""
    with _mark_lock(push) as is_ours:
        # If the marked changeset exists, the same changesets follow it as before, so the mark is still right.
        if not is_ours or read_mark(push.place) is None or _published_count(push) is not None:
            return
        last = push.repo.changelog.node(push.stop - 1).hex()
        announce(push.repo, push.txnid, [], push.settings, push.teller, mark=last)


def _mark_lock(push: _Push) -> AbstractContextManager[bool]:
    ensure_folder(push.place.ready, like=push.place.dot_hg)
    elsewhere = Path(os.fsdecode(push.settings.outbox)).with_suffix(f".{LOCK_NAME}")
    return folder_lock(push.place.ready / LOCK_NAME, elsewhere=elsewhere, wait_s=LOCK_WAIT_SECONDS)


def _published_count(push: _Push) -> int | None:
    """Return how many revisions are published, None if unknown because a strip removed the marked one."""
    mark = read_mark(push.place)
    if mark is None:
        return None
    revision = push.repo.changelog.index.get_rev(bytes.fromhex(mark))
    return None if revision is None else int(revision) + 1


def _is_behind(count: int | None, start: int) -> bool:
    return count is not None and count < start


def _recover(push: _Push, start: int, stop: int) -> list[Event]:
    """Return the events of revisions whose own hook died; their transaction is unknown."""
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
    """Return the event as a recovered one, with this natural key and without what only the pushing process knew."""
    data = {**event.data, **dict.fromkeys(_UNKNOWN), "recovered": True}
    data["raw"] = [note for note in data["raw"] if note["field"].removeprefix("/") not in _UNKNOWN]
    return event._replace(id=event_id(event.source, event.type, *key), data=data)
