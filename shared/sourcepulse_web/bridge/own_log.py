# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The gateway's own log, as the bridge writes it: each event once, private, and trimmed also when nothing comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sourcepulse.brokers import Message, Outcome
from sourcepulse.brokers.file.log import KEEP_BYTES
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.tables import LOCK_WAIT_SECONDS, LOG_FILE, LogFile, log_end
from sourcepulse.brokers.file.upkeep import trim_now
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerError, SourcePulseError
from sourcepulse.outbox.sqlite_file import SqliteFile


class Done(NamedTuple):
    """How many messages were appended, and how many the log had already."""

    appended: int
    repeats: int


class Keep(NamedTuple):
    """For how many seconds, and how many bytes at most, events are kept."""

    seconds: float
    size: int = KEEP_BYTES


class OwnLog:
    """Used by one thread; opened with the first call, and again after a failure. Each call raises what the log raises.

    `keep` returns what is kept, by the settings of now.
    """

    def __init__(self, path: Path, exchange: str, keep: Callable[[], Keep]) -> None:
        self._path = path
        self._url = BrokerUrl(scheme="file", path=str(path))
        self._exchange = exchange
        self._keep = keep
        self._publisher: LocalPublisher | None = None
        self._publisher_keeps: Keep | None = None
        self._file: LogFile | None = None

    def append(self, messages: Sequence[Message]) -> Done:
        """Append messages in one commit; nothing is stored if it raises."""
        try:
            before = self._end()
            publisher = self._opened()
            for message in messages:
                publisher.send(message)
            settled = publisher.settle(0.0)
            # Usually the bridge is the only one that appends to this log.
            appended = min(len(messages), self._end() - before)
        except SourcePulseError:
            self.close()
            raise
        refused = [each for each in settled if each.outcome is Outcome.REFUSED]
        if refused:
            # Whatever the log never takes was refused as undecodable before.
            raise BrokerError(f"the log {self._path} refused {len(refused)} messages: {refused[0].reason}")
        return Done(appended, len(messages) - appended)

    def has_events(self) -> bool:
        """Return whether events were ever appended; also so if that cannot be read, because then they may have been."""
        try:
            return self._end() > 0
        except SourcePulseError:
            self.close()
            return True

    def trim(self) -> None:
        """Remove what is older than it is to be kept; a rest is removed by the next call."""
        keep = self._keep()
        trim_now(self._url, keep_seconds=keep.seconds, keep_bytes=keep.size)

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> LocalPublisher:
        keep = self._keep()
        if self._publisher is not None and self._publisher_keeps != keep:
            # An append trims as well, and must not go by what the settings were.
            self._publisher.close()
            self._publisher = None
        if self._publisher is None:
            publisher = LocalPublisher(
                self._url, exchange=self._exchange, keep_seconds=keep.seconds, keep_bytes=keep.size, once=True
            )
            publisher.open()
            self._publisher, self._publisher_keeps = publisher, keep
        return self._publisher

    def _end(self) -> int:
        with self._read().read() as db:
            return log_end(db)

    def _read(self) -> LogFile:
        if self._file is None:
            self._file = open_private(self._path)
        return self._file


def open_private(path: Path) -> LogFile:
    """Open the log, creating one that its owner alone can read; raises what LogFile raises."""
    if not path.exists() and path.parent.is_dir():
        SqliteFile(path, LOG_FILE, lock_wait_s=LOCK_WAIT_SECONDS, create=True, private=True).close()
    return LogFile(path)
