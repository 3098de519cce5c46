# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The first copy of a transaction's events: one small file, complete, so that nothing is looked up later.

While its transaction is open the file is `p-<counter>-<txnid>` in the store and Mercurial's journal names it;
afterwards it is `r-<counter>-<txnid>` in `.hg/sourcepulse`. It has one line of JSON about itself and one for each
event.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from sourcepulse.errors import EventError, SourcePulseError
from sourcepulse.events.event import Event

FOLDER = "sourcepulse"
FORMAT = 1
#: The events of one transaction are bounded one by one; nothing that we wrote comes near.
FILE_MAX_BYTES = 16 * 1024 * 1024

_NAME = re.compile(r"[pr]-([0-9]{16})-([0-9a-f]{40})")
_FIELDS = ("type", "source", "subject", "time", "id", "routing_key", "data")
# json.dumps would make a new encoder for each call.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class DamagedError(SourcePulseError):
    """A first copy is not as it was written; its events are lost unless somebody reads the file."""


class Identity(NamedTuple):
    """The repository that a first copy belongs to: the inode and device of its `.hg` directory.

    A copy of a repository is another directory. A device may get another number at the next boot, so only
    the inode is compared.
    """

    inode: int
    device: int

    @classmethod
    def of(cls, dot_hg: bytes | str | os.PathLike[str]) -> Self:
        """Look at a `.hg` directory; OSError if it is not there."""
        status = os.stat(dot_hg)
        return cls(status.st_ino, status.st_dev)


class FirstCopy(NamedTuple):
    """The events of one transaction; the time is in seconds since 1970.

    `mark` is the last node that the `changegroup` hook published (changegroup_hook/mark.py). The extension writes none.
    """

    counter: int
    txnid: str
    identity: Identity
    time: float
    events: Sequence[Event]
    mark: str | None = None


def base_name(counter: int, txnid: str) -> str:
    """Return the name without its first letter; a txnid is `TXN:` and 40 hexadecimal digits."""
    digits = txnid.rpartition(":")[2]
    name = f"-{counter:016d}-{digits}"
    if not _NAME.fullmatch("p" + name):
        raise EventError(f"{txnid!r} is no id of a transaction")
    return name


def parse_name(name: str) -> tuple[int, str] | None:
    """Return counter and digits of a first copy's name, None for any other file."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def next_counter(folders: Iterable[str | bytes]) -> int:
    """Return a number above that of every first copy that waits in these folders.

    Only what waits together needs an order, so no number has to outlive the last file.
    """
    highest = 0
    for folder in folders:
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            parsed = parse_name(os.fsdecode(name))
            if parsed is not None:
                highest = max(highest, parsed[0])
    return highest + 1


def encode_copy(copy: FirstCopy) -> bytes:
    """Write a first copy."""
    header = {
        "sourcepulse": FORMAT,
        "counter": copy.counter,
        "txnid": copy.txnid,
        "inode": copy.identity.inode,
        "device": copy.identity.device,
        "time": copy.time,
        "events": len(copy.events),
    }
    if copy.mark is not None:
        header["mark"] = copy.mark
    lines = [header, *({name: getattr(event, name) for name in _FIELDS} for event in copy.events)]
    return b"".join(_to_json(line).encode() + b"\n" for line in lines)


def decode_copy(content: bytes) -> FirstCopy:
    """Read a first copy; DamagedError says what is wrong with it."""
    if not content.endswith(b"\n"):
        raise DamagedError("it is cut off")
    try:
        header, *lines = [json.loads(line) for line in content.splitlines()]
        if header["sourcepulse"] != FORMAT:
            raise DamagedError(f"it has format {header['sourcepulse']!r}, this version knows {FORMAT}")
        events = [_event(line) for line in lines]
        if len(events) != header["events"]:
            raise DamagedError(f"it has {len(events)} of {header['events']} events")
        mark = header.get("mark")
        return FirstCopy(
            counter=int(header["counter"]),
            txnid=str(header["txnid"]),
            identity=Identity(int(header["inode"]), int(header["device"])),
            time=float(header["time"]),
            events=events,
            mark=None if mark is None else str(mark),
        )
    except (ValueError, TypeError, KeyError, RecursionError, EventError) as error:
        raise DamagedError(f"it cannot be read: {error!r}") from None


def _event(fields: dict[str, Any]) -> Event:
    if not isinstance(fields["data"], dict):
        raise DamagedError("the data of an event is no object")
    return Event(**{name: fields[name] for name in _FIELDS})
