# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of changesets that an hg without the extension added, found by the next transaction or an admin."""

from __future__ import annotations

import os
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse_hg.changegroup_hook.hook import recovered_event
from sourcepulse_hg.changegroup_hook.mark import read_mark
from sourcepulse_hg.mapping.events import PUSH
from sourcepulse_hg.messages import Teller
from sourcepulse_hg.pending.layout import find_place
from sourcepulse_hg.settings import Settings
from sourcepulse_hg.transaction.events import transaction_events


def unseen_events(repo: Any, settings: Settings, teller: Teller, *, start: int, stop: int, txnid: str) -> list[Event]:
    """Return the events of `range(start, stop)`, without user, source and url, which only the adding process knew."""
    start = max(start, _published_by_hook(repo))
    if start >= stop:
        return []
    events = transaction_events(
        repo, settings, teller, start=start, stop=stop, txnid=txnid, source=None, url=None, transaction_name=b""
    )
    pushed = next((event.data for event in events if event.type == PUSH), None)
    if pushed is None:
        return []
    teller.log(f"{pushed['count']} changesets that an hg without the extension added are published now")
    key = ("recovered", pushed["first"], pushed["last"], str(pushed["count"]))
    return [recovered_event(event, key) for event in events]


def _published_by_hook(repo: Any) -> int:
    mark = read_mark(find_place(os.fsdecode(repo.sharedpath)))
    revision = None if mark is None else repo.changelog.index.get_rev(bytes.fromhex(mark))
    return 0 if revision is None else int(revision) + 1
