# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A small file beside a consumer's memory: what it was done with since it last wrote there, for the case that it dies.

A line costs a hundredth of a transaction, and survives a killed process as well.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sourcepulse.gaps import Lane
from sourcepulse.serialize import to_json

#: What is remembered of an event: its id (without it the event may come again), its lane, its number there.
Entry = tuple[str | None, Lane | None, int]

#: Far more than one consumer leaves behind.
LEFT_MAX_BYTES = 1024 * 1024
_MODE = 0o600


class DoneFile:
    """The entries of one living consumer; its file is locked by it, and made when there is a first entry."""

    def __init__(self, memory: Path) -> None:
        self.entries: list[Entry] = []
        self.memory = memory
        self._path: Path | None = None
        self._fd = -1
        self._is_empty = True

    def add(self, entry: Entry) -> bool:
        """Keep an entry; False if the file cannot be written."""
        event_id, lane, number = entry
        place = [lane.source, lane.epoch, lane.type] if lane is not None else []
        line = to_json([event_id, number, *place]).encode("utf-8", "surrogatepass") + b"\n"
        try:
            if self._fd < 0:
                self._create()
            self._is_empty = False
            if os.write(self._fd, line) < len(line):
                return False
        except OSError:
            return False
        self.entries.append(entry)
        return True

    def clear(self) -> None:
        """Drop all entries: the memory has them."""
        self.entries.clear()
        if not self._is_empty:
            # An entry that stays is only written to the memory once more.
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
                self._is_empty = True

    def close(self) -> None:
        """Remove the file, or leave it behind with the entries that the memory does not have; may be called again."""
        if self._path is not None:
            with suppress(OSError):
                if not self.entries:
                    self._path.unlink()
            with suppress(OSError):
                os.close(self._fd)
            self._path, self._fd, self._is_empty = None, -1, True
            self.entries.clear()

    def _create(self) -> None:
        path = _path(self.memory, uuid.uuid4().hex)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0:
                # Somebody took it for left behind before it was locked.
                raise FileNotFoundError(path)
        except BaseException:
            os.close(fd)
            raise
        self._path, self._fd, self._is_empty = path, fd, True


def take_over(memory: Path, record: Callable[[list[Entry]], None]) -> None:
    """Have the entries recorded that consumers left behind when they were killed; raises what `record` raises."""
    prefix = _path(memory, "").name
    try:
        with os.scandir(memory.parent) as found:
            names = [entry.name for entry in found if entry.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        with _left_behind(memory.with_name(name)) as raw:
            if raw is not None:
                record(list(_entries(raw)))


@contextmanager
def _left_behind(path: Path) -> Iterator[bytes | None]:
    """Give the content of a file whose owner is dead, else None; remove it afterwards."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raw = os.read(fd, LEFT_MAX_BYTES)
        except OSError:
            yield None
            return
        yield raw
        with suppress(OSError):
            path.unlink()
    finally:
        os.close(fd)


def _entries(raw: bytes) -> Iterator[Entry]:
    # The last line may have been cut by a full disk.
    for line in raw.split(b"\n")[:-1]:
        with suppress(ValueError, TypeError):
            event_id, number, *place = json.loads(line.decode("utf-8", "surrogatepass"))
            yield event_id, Lane(*place) if place else None, int(number)


def _path(memory: Path, token: str) -> Path:
    return memory.with_name(f"{memory.name}.done-{token}")
