# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publish what others left behind: changesets without their events, and the transaction of a process that died."""

from __future__ import annotations

import os
from typing import Any

from sourcepulse.events.event import Event, event_id
from sourcepulse_hg.changegroup_hook.mark import read_mark
from sourcepulse_hg.mapping.events import PUSH
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.pending.collect import find_repository
from sourcepulse_hg.settings import Settings, read_settings
from sourcepulse_hg.transaction.record import transaction_events

#: The members that only the process knew that added the changesets.
_UNKNOWN = ("user", "source", "url", "change_set")


def unseen_events(
    repo: Any, settings: Settings, messages: Messages, *, start: int, stop: int, txnid: str
) -> list[Event]:
    """Return the events of changesets that an hg without the extension added; those that the hook published are not."""
    mark = read_mark(find_repository(os.fsdecode(repo.sharedpath)))
    revision = None if mark is None else repo.changelog.index.get_rev(bytes.fromhex(mark))
    if revision is not None:
        start = max(start, int(revision) + 1)
    if start >= stop:
        return []
    events = recovered_events(repo, settings, messages, start=start, stop=stop, txnid=txnid)
    count = next((event.data["count"] for event in events if event.type == PUSH), 0)
    if count:
        messages.log(f"{count} changesets that an hg without the extension added are published now")
    return events


def recovered_events(
    repo: Any, settings: Settings, messages: Messages, *, start: int, stop: int, txnid: str
) -> list[Event]:
    """Return the events of `range(start, stop)`, without user, source and url, which only the adding process knew.

    Their transaction is unknown, so their natural key is what they added.
    """
    events = transaction_events(
        repo, settings, messages, start=start, stop=stop, txnid=txnid, source=None, url=None, transaction_name=b""
    )
    pushed = next((event.data for event in events if event.type == PUSH), None)
    if pushed is None:
        return []
    key = ("recovered", pushed["first"], pushed["last"], str(pushed["count"]))
    return [_recovered(event, key) for event in events]


def _recovered(event: Event, key: tuple[str, ...]) -> Event:
    data = {**event.data, **dict.fromkeys(_UNKNOWN), "recovered": True}
    data["raw"] = [note for note in data["raw"] if note["field"].removeprefix("/") not in _UNKNOWN]
    return event._replace(id=event_id(event.source, event.type, *key), data=data)


def recover_abandoned(repo: Any) -> None:
    """Do what `hg recover` does, if `auto_recover` is set and the caller holds the store lock.

    The process that wrote the journal held that lock, and a live process keeps it until the journal is removed; so
    that process is dead. If the rollback fails, Mercurial refuses the new transaction as it does without us.
    """
    if repo._currentlock(repo._lockref) is None or not read_settings(repo).auto_recover:
        return
    messages = Messages(repo.ui)
    messages.warn("rolling back a transaction that a dead process left unfinished")
    try:
        repo.recover()
    except Exception as failure:  # noqa: BLE001 - Mercurial reports what to do
        messages.warn(f"the rollback failed: {failure!r}")
