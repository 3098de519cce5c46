# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who may use the hook store: it has secrets, so its file and folder are its owner's alone."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from sourcepulse_web.webhooks.errors import HookStoreRefusedError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_place(path: Path) -> None:
    """Raise HookStoreRefusedError unless this user may use the file, and no other one may read or replace it.

    Its owner may, and root. A file that does not exist yet is judged by its folder.
    """
    try:
        folder = path.parent.stat()
        file = path.stat() if path.exists() else None
    except FileNotFoundError:
        raise HookStoreRefusedError(
            f"the folder of the hook store {path} does not exist; create it, or correct `file` in [webhooks]"
        ) from None
    except OSError as error:
        raise HookStoreRefusedError(
            f"the hook store {path} cannot be used by {name_of(os.geteuid())}: {error.strerror}; run this as the user "
            "of the gateway, or as root"
        ) from error
    if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise HookStoreRefusedError(
            f"others may write to {path.parent}, the folder of the hook store, and so replace it; run "
            f"chmod go-w {path.parent}, or name another folder by `file` in [webhooks]"
        )
    owner = folder.st_uid if file is None else file.st_uid
    if os.geteuid() not in (0, owner):
        raise HookStoreRefusedError(
            f"the hook store {path} belongs to {name_of(owner)}, and this is {name_of(os.geteuid())}; "
            f"run the command as {name_of(owner)} or as root"
        )
    if file is not None and file.st_mode & _OTHERS:
        raise HookStoreRefusedError(
            f"others may read or write the hook store {path}, which has secrets; run chmod 600 {path}, and then "
            "`sourcepulse webhook rotate` for each webhook if they did"
        )


def name_of(uid: int) -> str:
    """Return the name of a user, or the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
