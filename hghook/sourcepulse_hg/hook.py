# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The `changegroup` hook: the same event as the extension makes, written after the commit instead of with it."""

from __future__ import annotations

from typing import Any

from sourcepulse_hg.after import Aftermath
from sourcepulse_hg.ready_copy import announce
from sourcepulse_hg.settings import read_settings
from sourcepulse_hg.tell import Teller
from sourcepulse_hg.transaction import transaction_events


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
        settings = read_settings(repo)
        teller.tell_all(settings.problems)
        changelog = repo.changelog
        events = transaction_events(
            repo,
            settings,
            teller,
            start=changelog.rev(bytes.fromhex(kwargs["node"].decode("ascii"))),
            stop=changelog.rev(bytes.fromhex(kwargs["node_last"].decode("ascii"))) + 1,
            txnid=txnid,
            source=kwargs.get("source"),
            url=kwargs.get("url"),
            transaction_name=kwargs.get("txnname") or b"",
        )
        if not events:
            return
        announce(repo, txnid, events, settings, teller)
    except Exception as failure:  # noqa: BLE001 - the push is committed; nothing of ours may spoil its reply
        teller.lost(repo.sharedpath, txnid, repr(failure))
        return
    Aftermath.of(repo, settings, teller).run()
