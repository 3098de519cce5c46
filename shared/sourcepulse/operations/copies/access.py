# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who may read an outbox that is made of a copy: no other users than those who could read the one that was copied."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.outbox.files import MODE_MASK, open_shared
from sourcepulse.outbox.sqlite_file import PRIVATE_MODE
from sourcepulse.outbox.tables import note, remove_notes, set_notes

#: Rows of the table `meta` in a backup; names, because numbers are other users on another machine.
_MODE, _OWNER, _GROUP = "backup of mode", "backup of owner", "backup of group"

#: Sources whose outboxes are made for their owner alone, and streams that are not public.
_PRIVATE = """
SELECT EXISTS (SELECT 1 FROM events WHERE stream = 'restricted')
    OR EXISTS (SELECT 1 FROM numbers WHERE source GLOB 'bugzilla:*' OR source GLOB 'buildbot:*'
        OR source GLOB '*[?]restricted')
"""


def record_access(backup: Connection, outbox: Path) -> None:
    """Write mode, owner and group of the outbox into its backup, in the open transaction."""
    status = outbox.stat()
    values = {_MODE: f"{status.st_mode & MODE_MASK:o}"}
    # A user without a name cannot be found again.
    with suppress(KeyError):
        values[_OWNER] = pwd.getpwuid(status.st_uid).pw_name
    with suppress(KeyError):
        values[_GROUP] = grp.getgrgid(status.st_gid).gr_name
    set_notes(backup, values)


def forget_access(restored: Connection) -> None:
    """Remove it from the copy of a backup, in the open transaction."""
    remove_notes(restored, [_MODE, _OWNER, _GROUP])


def make_for_backup(new: Path, former: Path, backup: Connection) -> None:
    """Make the empty file that a backup is restored to; `former` is the outbox that it replaces, if there is one.

    Then the former's mode stays, less what a backup with private events does not allow. Otherwise the mode is that of
    the outbox which was backed up, and 0600 if that is unknown.
    """
    recorded = note(backup, _MODE)
    mode = PRIVATE_MODE if recorded is None else int(recorded, 8) & MODE_MASK
    (is_private,) = backup.execute(_PRIVATE).fetchone()
    if former.exists():
        fd = open_shared(new, like=former)
        allowed = os.fstat(fd).st_mode & (mode if is_private else MODE_MASK)
    else:
        fd = open_shared(new, PRIVATE_MODE)
        same_group = _hand_to(fd, note(backup, _OWNER), note(backup, _GROUP))
        allowed = PRIVATE_MODE if is_private and not same_group else mode
    try:
        os.fchmod(fd, allowed)
    finally:
        os.close(fd)


def _hand_to(fd: int, owner: str | None, group: str | None) -> bool:
    """Set owner and group as far as this user may, and return whether the group is the one that is wanted."""
    try:
        gid = grp.getgrnam(group or "").gr_gid
    except KeyError:
        gid = -1
    uid = -1
    if os.geteuid() == 0:
        with suppress(KeyError):
            uid = pwd.getpwnam(owner or "").pw_uid
    with suppress(OSError):
        os.fchown(fd, uid, gid)
    return os.fstat(fd).st_gid == gid


def make_lock_alike(lock_fd: int, outbox: Path) -> None:
    """Allow the lock of an outbox to the users of the outbox, as far as this user may."""
    status = outbox.stat()
    with suppress(OSError):
        if os.geteuid() == 0:
            os.fchown(lock_fd, status.st_uid, status.st_gid)
        os.fchmod(lock_fd, status.st_mode & MODE_MASK)
