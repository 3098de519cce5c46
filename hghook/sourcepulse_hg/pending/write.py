# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write a first copy outside a transaction, for changes that are already certain."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse_hg.messages import Teller
from sourcepulse_hg.pending.files import ensure_folder, replace_file
from sourcepulse_hg.pending.repo_created import has_creation, note_announced, with_creation
from sourcepulse_hg.settings import Settings
from sourcepulse_hg.transaction.record import FOLDER, encode_numbered


def announce(
    repo: Any, txnid: str, events: list[Event], settings: Settings, teller: Teller, *, mark: str | None = None
) -> None:
    """Write the first copy of some events, with `hg.repo.created` if that was never published; raises OSError."""
    events = with_creation(repo, events, settings, teller)
    write_ready(repo, txnid, events, mark)
    if has_creation(events):
        with suppress(OSError):
            note_announced(repo.sharedpath)


def write_ready(repo: Any, txnid: str, events: list[Event], mark: str | None = None) -> None:
    """Write the first copy of some events atomically; raises OSError."""
    base, content = encode_numbered(repo, txnid, events, mark)
    folder = os.path.join(repo.sharedpath, FOLDER)
    ensure_folder(folder, like=repo.sharedpath)
    replace_file(os.path.join(folder, b"r" + base), content, like=repo.sharedpath)
