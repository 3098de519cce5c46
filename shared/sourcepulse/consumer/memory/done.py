# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A small file beside a consumer's memory: the events begun and finished since the memory was last written.

It is read if the consumer is killed. A line costs a hundredth of a transaction and survives a killed process too.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from json.encoder import encode_basestring
from pathlib import Path

from sourcepulse.events.event import SEQUENCE_MAX
from sourcepulse.gaps import Lane
from sourcepulse.outbox.files import try_lock

#: What is remembered of an event: its id (None if the event may be handled again), its lane, its number there.
Entry = tuple[str | None, Lane | None, int]

#: Far more than a killed consumer leaves behind.
LEFT_MAX_BYTES = 1024 * 1024
#: Each attempt may collide with another consumer that takes over abandoned files.
CREATE_ATTEMPTS = 20
_MODE = 0o600
#: Everything after this line is out of date.
_END = b"[]\n"


class DoneFile:
    """The events that one running consumer has in progress, or has finished since its memory was last written.

    The consumer holds a lock on the file, which is created with the first line. A memory without a file has none.
    `begin` and `add` are thread-safe.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._entries: dict[str, Entry] = {}
        self._begun: dict[str, None] = {}
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._fd = -1
        self._is_empty = True

    def begin(self, event_id: str) -> None:
        """Note that an event is in progress; if the file cannot be written, only for the life of the process."""
        with self._lock:
            if event_id not in self._begun:
                self._begun[event_id] = None
                self._write(_begun_line(event_id))

    def begun(self, ids: Iterable[str]) -> list[str]:
        """Return those of the events that are in progress."""
        with self._lock:
            return [event_id for event_id in ids if event_id in self._begun]

    def add(self, event_id: str, lane: Lane | None, number: int) -> bool:
        """Write an entry; False if the file cannot be written."""
        entry = event_id, lane, number
        with self._lock:
            written = self._write(_done_line(entry))
            if written and self._memory is not None:
                self._entries[event_id] = entry
        return written

    def entries(self) -> list[Entry]:
        """Return the entries that the memory does not have yet."""
        with self._lock:
            return list(self._entries.values())

    def clear(self, ids: Collection[str]) -> None:
        """Drop the entries of these events, which the memory now has."""
        with self._lock:
            for event_id in ids:
                self._entries.pop(event_id, None)
                self._begun.pop(event_id, None)
            if self._is_empty:
                return
            lines = [*map(_begun_line, self._begun), *map(_done_line, self._entries.values())]
            # If this fails, the lines that remain are only written to the memory once more.
            with suppress(OSError):
                self._replace("".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass"))

    def close(self) -> None:
        """Remove the file, or keep it if the memory lacks its entries; may be called more than once."""
        with self._lock:
            if self._path is None:
                return
            with suppress(OSError):
                if not self._entries and not self._begun:
                    self._path.unlink()
            with suppress(OSError):
                os.close(self._fd)
            self._path, self._fd, self._is_empty = None, -1, True
            self._entries.clear()
            self._begun.clear()

    def _write(self, text: str) -> bool:
        if self._memory is None:
            return True
        line = text.encode("utf-8", "surrogatepass") + b"\n"
        try:
            if self._fd < 0:
                self._create(self._memory)
            self._is_empty = False
            return os.write(self._fd, line) == len(line)
        except OSError:
            return False

    def _replace(self, content: bytes) -> None:
        # An event in another thread may kill the process at any moment, so the remaining lines are always in the file.
        if content:
            os.pwrite(self._fd, content + _END, 0)
        os.ftruncate(self._fd, len(content))
        os.lseek(self._fd, len(content), os.SEEK_SET)
        self._is_empty = not content

    def _create(self, memory: Path) -> None:
        for _ in range(CREATE_ATTEMPTS):
            path = _path(memory, uuid.uuid4().hex)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
            try:
                if _lock_new(fd):
                    self._path, self._fd, self._is_empty = path, os.dup(fd), True
                    return
            finally:
                os.close(fd)
        raise BlockingIOError(path)


def _lock_new(fd: int) -> bool:
    # Another thread or process may take the file for an abandoned one before it is locked, and remove it.
    return try_lock(fd) and os.fstat(fd).st_nlink > 0


def take_over(memory: Path, record: Callable[[list[Entry], list[str]], None]) -> None:
    """Pass what killed consumers left behind to `record`; raises what `record` raises.

    `record` receives the entries, and the ids of the events that were in progress.
    """
    prefix = _path(memory, "").name
    try:
        with os.scandir(memory.parent) as found:
            names = [entry.name for entry in found if entry.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        with _left_behind(memory.with_name(name)) as raw:
            if raw is not None:
                record(*_read(raw))


@contextmanager
def _left_behind(path: Path) -> Iterator[bytes | None]:
    """Yield the content of a file whose owner is dead, else None; the file is removed afterwards."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        try:
            is_ours = try_lock(fd)
            # An unlinked file was already recorded by another consumer; its attempts must not be counted twice.
            raw = os.read(fd, LEFT_MAX_BYTES) if is_ours and os.fstat(fd).st_nlink else None
        except OSError:
            is_ours, raw = False, None
        yield raw
        if not is_ours:
            return
        with suppress(OSError):
            path.unlink()
    finally:
        os.close(fd)


def _read(raw: bytes) -> tuple[list[Entry], list[str]]:
    entries: list[Entry] = []
    begun: dict[str, None] = {}
    # A full disk may have cut the last line.
    for line in raw.split(b"\n")[:-1]:
        if line + b"\n" == _END:
            break
        with suppress(ValueError, TypeError):
            event_id, *rest = json.loads(line.decode("utf-8", "surrogatepass"))
            if rest:
                number, *place = rest
                entries.append(_checked(event_id, Lane(*place) if place else None, number))
                begun.pop(event_id, None)
            elif isinstance(event_id, str):
                begun[event_id] = None
    return entries, list(begun)


def _checked(event_id: object, lane: Lane | None, number: object) -> Entry:
    """Return an entry that the memory can store; ValueError for one that would make every start fail."""
    words = [event_id, *((lane.source, lane.epoch, lane.type) if lane is not None else ())]
    if not all(word is None or isinstance(word, str) for word in words):
        raise ValueError("not a text")
    for word in words:
        str(word or "").encode()
    if type(number) is not int or not 0 <= number <= SEQUENCE_MAX:
        raise ValueError("out of range")
    return event_id, lane, number  # type: ignore[return-value] # checked above


def _done_line(entry: Entry) -> str:
    event_id, lane, number = entry
    place = "" if lane is None else "".join(f",{_word(word)}" for word in lane)
    return f"[{_word(event_id)},{number}{place}]"


def _begun_line(event_id: str) -> str:
    return f"[{_word(event_id)}]"


def _word(text: str | None) -> str:
    # json.dumps takes ten times as long for a single string.
    return "null" if text is None else encode_basestring(text)


def _path(memory: Path, token: str) -> Path:
    return memory.with_name(f"{memory.name}.done-{token}")
