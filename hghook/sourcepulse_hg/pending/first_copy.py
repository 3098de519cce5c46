# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The first copy of a transaction's events: one small file with everything that is needed to publish them.

While its transaction is open the file is `p-<counter>-<txnid>` in the store and Mercurial's journal names it;
afterwards it is `r-<counter>-<txnid>` in `.hg/sourcepulse`. It has one line of JSON as a header and one for each event.

How a file in these folders is written and locked is here as well.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from sourcepulse.errors import EventError, SourcePulseError
from sourcepulse.events.event import Event, to_json
from sourcepulse.events.record import Record
from sourcepulse.outbox.files import replace_file as replace_whole
from sourcepulse.outbox.files import try_lock

#: The folder in the store and in `.hg`.
FOLDER = b"sourcepulse"
#: The mark of the `changegroup` hook, see changegroup_hook/mark.py.
MARK_NAME = "mark"
#: The prefix of the folder in which `hg debugupgraderepo` leaves the old store.
UPGRADE_BACKUP_PREFIX = b"upgradebackup."
FORMAT = 1
#: Each event is bounded, so no file that we wrote comes near this.
FILE_MAX_BYTES = 16 * 1024 * 1024
#: Other users may never write to our files, whatever the mode of `.hg`.
_FILE_MODE_MASK = 0o664
_FOLDER_MODE_MASK = 0o2775
_POLL_SECONDS = 0.005
#: The errors of a file system without locks, such as NFS without its lock service.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_COUNTER_DIGITS = 16
_TXNID_DIGITS = 40
_FIELDS = ("type", "source", "subject", "time", "id", "routing_key", "data")


class DamagedError(SourcePulseError):
    """A first copy is damaged; its events are lost unless an admin reads the file."""


class Identity(Record):
    """The repository that a first copy belongs to: the inode and device of its `.hg` directory.

    A copy of a repository is a different directory. A device may have a different number after a reboot, so only
    the inode is compared.
    """

    inode: int
    device: int

    @classmethod
    def of(cls, dot_hg: bytes | str | os.PathLike[str]) -> Self:
        """Return the identity of a `.hg` directory; raises OSError if it does not exist."""
        status = os.stat(dot_hg)
        return cls(status.st_ino, status.st_dev)


class FirstCopy(Record):
    """The events of one transaction; the time is in seconds since 1970.

    `mark` is the last node that the `changegroup` hook published (changegroup_hook/mark.py); the extension writes none.
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
    if parse_name("p" + name) is None:
        raise EventError(f"{txnid!r} is not a transaction id")
    return name


def parse_name(name: str) -> tuple[int, str] | None:
    """Return the counter and digits in a first copy's name, None for any other file."""
    # A regular expression would take longer to compile than all of this, in every push.
    letter, _, rest = name.partition("-")
    counter, _, digits = rest.partition("-")
    if letter not in ("p", "r") or (len(counter), len(digits)) != (_COUNTER_DIGITS, _TXNID_DIGITS):
        return None
    is_name = counter.isascii() and counter.isdigit() and not digits.strip("0123456789abcdef")
    return (int(counter), digits) if is_name else None


def next_counter(folders: Iterable[str | bytes]) -> int:
    """Return a number above that of every first copy that waits in these folders.

    Only first copies that wait together need an order, so the counter may restart when all are gone.
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
    return b"".join(to_json(line).encode() + b"\n" for line in lines)


def decode_copy(content: bytes) -> FirstCopy:
    """Parse a first copy; raises DamagedError."""
    if not content.endswith(b"\n"):
        raise DamagedError("it is cut off")
    try:
        header, *lines = [json.loads(line) for line in content.splitlines()]
        if header["sourcepulse"] != FORMAT:
            raise DamagedError(f"it has format {header['sourcepulse']!r}, this version reads {FORMAT}")
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
        raise DamagedError("the data of an event is not an object")
    return Event(**{name: fields[name] for name in _FIELDS})


def ensure_folder(path: str | bytes | os.PathLike[str], *, like: str | bytes | os.PathLike[str]) -> None:
    """Make a folder with the mode of another one, including setgid, unless it exists; raises OSError."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    # mkdir() inherits the setgid bit; only the owner, which we are now, can set the others.
    with suppress(OSError):
        os.chmod(path, stat.S_IMODE(os.stat(like).st_mode) & _FOLDER_MODE_MASK)


def open_like_folder(path: os.PathLike[str]) -> int:
    """Open a file for reading and writing; a new one gets the mode of its folder. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    status = os.fstat(fd)
    if status.st_size == 0 and status.st_uid == os.geteuid():
        mode = os.stat(os.path.dirname(path)).st_mode & _FILE_MODE_MASK
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
    return fd


def replace_file(
    path: str | bytes | os.PathLike[str], content: bytes, *, like: str | bytes | os.PathLike[str], durable: bool = False
) -> None:
    """Replace a file atomically, with the mode of a folder; raises OSError, and then nothing has changed.

    With `durable` the content is synced to disk before the file gets its name.
    """
    replace_whole(path, content, mode=os.stat(like).st_mode & _FILE_MODE_MASK, durable=durable)


@contextmanager
def folder_lock(path: Path, *, elsewhere: Path, wait_s: float) -> Iterator[bool]:
    """Hold the lock of this file, or of `elsewhere` if the file system of the first has no locks.

    Yields False if the lock was not acquired in time; raises OSError if neither file can be opened or locked.
    """
    deadline = time.monotonic() + wait_s
    fd = open_like_folder(path)
    try:
        try:
            got = _try_until(fd, deadline)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            os.close(fd)
            fd = -1
            fd = open_like_folder(elsewhere)
            got = _try_until(fd, deadline)
        yield got
    finally:
        if fd >= 0:
            os.close(fd)


def _try_until(fd: int, deadline: float) -> bool:
    while not try_lock(fd):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
