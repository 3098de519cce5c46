# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The small files beside an outbox that belong to its state: how far a source has compared itself with it.

They go with the outbox into a backup and back, because newer ones would hide what the restored outbox lacks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.outbox.files import replace_file
from sourcepulse.outbox.tables import notes, remove_notes, set_notes

#: Such as outbox.db.bugzilla-SITE.json.
PATTERN = ".*.json"
#: A larger file is not one of ours.
FILE_MAX_BYTES = 1024 * 1024
MODE = 0o600

#: The prefix of their rows in the table `meta` of a backup.
_NOTE = "beside "


def read_beside(outbox: Path) -> dict[str, str]:
    """Return their contents by what follows the name of the outbox."""
    found = {}
    for path in sorted(outbox.parent.glob(outbox.name + PATTERN)):
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
        with suppress(UnicodeDecodeError):
            if len(content) <= FILE_MAX_BYTES:
                found[path.name.removeprefix(outbox.name)] = content.decode()
    return found


def pack(backup: Connection, files: Mapping[str, str]) -> None:
    """Write them into a backup, in the open transaction."""
    set_notes(backup, {_NOTE + suffix: content for suffix, content in files.items()})


def unpack(restored: Connection) -> dict[str, str]:
    """Return those that a backup contains, and remove them from its copy, in the open transaction."""
    found = notes(restored, _NOTE)
    remove_notes(restored, found)
    return {name.removeprefix(_NOTE): content for name, content in found.items()}


def put_back(outbox: Path, files: Mapping[str, str], *, like: Path, aside: str) -> None:
    """Write them beside an outbox for the owner of `like`; a former one gets a name that ends with `aside`."""
    owner = like.stat()
    for suffix, content in files.items():
        path = outbox.with_name(outbox.name + suffix)
        if path.exists():
            path.rename(path.with_name(path.name + aside))
        replace_file(path, content.encode(), mode=MODE, durable=True)
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
