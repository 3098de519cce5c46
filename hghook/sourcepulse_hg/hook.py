# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The `changegroup` hook: the same event as the extension makes, written after the commit instead of with it."""

from __future__ import annotations

import os
from typing import Any

from sourcepulse_hg.after import Aftermath
from sourcepulse_hg.folder import ensure_folder
from sourcepulse_hg.record import FOLDER, encode_numbered
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
        base, content = encode_numbered(repo, txnid, events)
        folder = os.path.join(repo.sharedpath, FOLDER)
        ensure_folder(folder, like=repo.sharedpath)
        _write_ready(os.path.join(folder, b"r" + base), content, os.stat(repo.sharedpath).st_mode & 0o664)
    except Exception as failure:  # noqa: BLE001 - the push is committed; nothing of ours may spoil its reply
        teller.lost(repo.sharedpath, txnid, repr(failure))
        return
    Aftermath.of(repo, settings, teller).run()


def _write_ready(path: bytes, content: bytes, mode: int) -> None:
    """Let the whole file appear at once."""
    part = path + b".part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.rename(part, path)
    except OSError:
        if os.path.exists(part):
            os.unlink(part)
        raise
