# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Take back what a dead process left unfinished, before the next transaction, where the admin wants that."""

from __future__ import annotations

from typing import Any

from sourcepulse_hg.settings import read_settings
from sourcepulse_hg.tell import Teller


def recover_abandoned(repo: Any) -> None:
    """Do what `hg recover` does, if `auto_recover` is set and the caller holds the store lock.

    Whoever wrote the journal held that lock, and a living process keeps it until the journal is gone: so its owner is
    dead. What cannot be taken back stays, and Mercurial refuses the transaction as without us.
    """
    if repo._currentlock(repo._lockref) is None or not read_settings(repo).auto_recover:
        return
    teller = Teller(repo.ui)
    teller.warn("taking back a transaction that a dead process left unfinished")
    try:
        repo.recover()
    except Exception as failure:  # noqa: BLE001 - Mercurial says what is to be done
        teller.warn(f"that failed: {failure!r}")
