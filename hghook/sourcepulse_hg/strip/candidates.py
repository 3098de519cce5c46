# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The note that Mercurial is about to remove changesets, written before it does.

Neither strip nor rollback can be undone once it has begun: after a strip that died, `hg recover` finishes it. So no
transaction can hold the first copy. The note lists the changesets that may be removed. Afterwards this process, or
after a crash the next one, checks which of them are really gone and writes the first copy.
"""

from __future__ import annotations

import json
import os
from typing import Any

from sourcepulse.events.record import Record
from sourcepulse_hg.pending.first_copy import FOLDER, DamagedError, ensure_folder, replace_file

#: Beside the first copies. There is at most one, because it is written under the lock of the store.
NAME = b"removing"
STRIPPED = "hg.repo.stripped.v1"
STRIP = "strip"
ROLLBACK = "rollback"

_FORMAT = 1


class RemovalNote(Record):
    """What may be removed, by whom and when: `nodes` are the candidates, in hexadecimal, the oldest first.

    `txnid` is the transaction of the strip, or the one that is undone; `was_published` is whether the undone one has
    events.
    """

    operation: str
    txnid: str
    user: bytes | None
    time: float
    was_published: bool
    inode: int
    nodes: tuple[str, ...]


def note_path(dot_hg: bytes) -> bytes:
    return os.path.join(dot_hg, FOLDER, NAME)


def write_note(dot_hg: bytes, note: RemovalNote) -> None:
    """Write the note; raises OSError."""
    path = note_path(dot_hg)
    ensure_folder(os.path.dirname(path), like=dot_hg)
    header = {
        "sourcepulse": _FORMAT,
        "operation": note.operation,
        "txnid": note.txnid,
        "user": None if note.user is None else note.user.hex(),
        "time": note.time,
        "was_told": note.was_published,
        "inode": note.inode,
        "nodes": len(note.nodes),
    }
    lines = [json.dumps(header), *note.nodes]
    replace_file(path, "".join(f"{line}\n" for line in lines).encode("ascii"), like=dot_hg)


def read_note(dot_hg: bytes) -> RemovalNote | None:
    """Read the note, None if there is none; DamagedError if it is not as it was written."""
    try:
        with open(note_path(dot_hg), "rb") as file:
            content = file.read().decode("ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedError(f"it cannot be read: {error}") from None
    try:
        return _parse(content)
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"it cannot be read: {error!r}") from None


def _parse(content: str) -> RemovalNote:
    first, *nodes = content.splitlines()
    header: dict[str, Any] = json.loads(first)
    if header["sourcepulse"] != _FORMAT or header["nodes"] != len(nodes):
        raise ValueError("unknown format, or cut off")
    user = header["user"]
    return RemovalNote(
        operation=str(header["operation"]),
        txnid=str(header["txnid"]),
        user=None if user is None else bytes.fromhex(user),
        time=float(header["time"]),
        was_published=bool(header["was_told"]),
        inode=int(header["inode"]),
        nodes=tuple(nodes),
    )
