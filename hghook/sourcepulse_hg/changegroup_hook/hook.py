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
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse.events.record import Record
from sourcepulse_hg.changegroup_hook.mark import LOCK_NAME, read_mark
from sourcepulse_hg.commands.setting_keys import SECTION
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.pending.collect import RepositoryFiles, find_repository
from sourcepulse_hg.pending.first_copy import ensure_folder, folder_lock
from sourcepulse_hg.pending.write import HandOver, write_with_creation
from sourcepulse_hg.settings import Settings, read_settings, silence
from sourcepulse_hg.transaction.record import transaction_events
from sourcepulse_hg.transaction.recovered import recovered_events

#: The hook of an earlier push may be a little late; its own event has more facts than one that we would recover.
OVERTAKEN_WAIT_SECONDS = 0.1
#: Only small files are read and written under this lock.
LOCK_WAIT_SECONDS = 0.06

_STRIP = b"strip"
_POLL_SECONDS = 0.01


class _Push(Record):
    """A push of the revisions `range(start, stop)`, as Mercurial passed it to the hook."""

    repo: Any
    files: RepositoryFiles
    settings: Settings
    messages: Messages
    txnid: str
    start: int
    stop: int


def changegroup(ui: Any, repo: Any, *, hooktype: bytes = b"changegroup", **kwargs: Any) -> None:
    """Publish a push, which Mercurial describes by `node`, `node_last`, `source`, `url` and `txnid`.

    Does nothing if the extension watches the repository.
    """
    messages = Messages(ui, kwargs.get("url"))
    if hooktype != b"changegroup":
        messages.warn(f"this is a changegroup hook; it does nothing as a {hooktype.decode('ascii', 'replace')} hook")
        return
    if getattr(repo, "sourcepulse_watches", False):
        return
    repo = repo.unfiltered()
    txnid = (kwargs.get("txnid") or b"").decode("ascii", "replace")
    try:
        _declare(repo.ui)
        settings = read_settings(repo)
        messages.warn_all(settings.problems)
        if not settings.published:
            if (why := silence(settings)) is not None:
                messages.note(f"nothing is published: {why}")
            return
        files = find_repository(os.fsdecode(repo.sharedpath))
        start, stop = _pushed_revisions(repo.changelog, kwargs["node"], kwargs["node_last"])
        is_written = _publish(_Push(repo, files, settings, messages, txnid, start, stop), kwargs)
    except Exception as failure:  # noqa: BLE001 - the push is committed; we must not break its reply
        messages.lost(repo.sharedpath, txnid, repr(failure))
        return
    if is_written:
        HandOver.of(repo, settings, messages).run()


def _pushed_revisions(changelog: Any, first: bytes, last: bytes) -> tuple[int, int]:
    start, end = (changelog.rev(bytes.fromhex(node.decode("ascii"))) for node in (first, last))
    return start, end + 1


def _publish(push: _Push, kwargs: dict[str, Any]) -> bool:
    """Write the first copy of a push; False if there is nothing to collect."""
    if kwargs.get("source") == _STRIP:
        _after_strip(push)
        return False
    events = transaction_events(
        push.repo,
        push.settings,
        push.messages,
        start=push.start,
        stop=push.stop,
        txnid=push.txnid,
        source=kwargs.get("source"),
        url=kwargs.get("url"),
        transaction_name=kwargs.get("txnname") or b"",
    )
    return _write_copy(push, events)


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
            push.messages.note("another hook holds the lock; this push will be published with the next one")
            return False
        count = _published_count(push)
        # If the mark is among the pushed changesets, it had been stripped and was added again.
        if count is not None and count > push.stop:
            push.messages.note("the hook of a later push has published this one")
            return False
        found = _unpublished(push, count) if count is not None and _is_behind(count, push.start) else []
        last = push.repo.changelog.node(push.stop - 1).hex()
        write_with_creation(push.repo, push.txnid, [*found, *events], push.settings, push.messages, mark=last)
    return True


def _unpublished(push: _Push, start: int) -> list[Event]:
    """Return the events of older changesets whose own hook died."""
    return recovered_events(push.repo, push.settings, push.messages, start=start, stop=push.start, txnid=push.txnid)


def _after_strip(push: _Push) -> None:
    """Restore the mark after strip has added changesets again; these are not published again."""
    with _mark_lock(push) as is_ours:
        # If the marked changeset exists, the same changesets follow it as before, so the mark is still right.
        if not is_ours or read_mark(push.files) is None or _published_count(push) is not None:
            return
        last = push.repo.changelog.node(push.stop - 1).hex()
        write_with_creation(push.repo, push.txnid, [], push.settings, push.messages, mark=last)


def _mark_lock(push: _Push) -> AbstractContextManager[bool]:
    ensure_folder(push.files.folder, like=push.files.dot_hg)
    elsewhere = Path(os.fsdecode(push.settings.outbox)).with_suffix(f".{LOCK_NAME}")
    return folder_lock(push.files.folder / LOCK_NAME, elsewhere=elsewhere, wait_s=LOCK_WAIT_SECONDS)


def _published_count(push: _Push) -> int | None:
    """Return how many revisions are published, None if unknown because a strip removed the marked one."""
    mark = read_mark(push.files)
    if mark is None:
        return None
    revision = push.repo.changelog.index.get_rev(bytes.fromhex(mark))
    return None if revision is None else int(revision) + 1


def _is_behind(count: int | None, start: int) -> bool:
    return count is not None and count < start
