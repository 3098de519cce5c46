# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read reports outside the reactor: small ones in a thread, large ones in a separate process.

A thread that parses takes Python's lock from the reactor for milliseconds at a time, and the objects that it makes are
walked by the cycle collector, which stops all threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from sourcepulse_buildbot.test_reports.reading.files import ReportFile
from sourcepulse_buildbot.test_reports.reading.work import ReadReport, Task, lines_of

#: A smaller report is read in less time than a process needs to start.
CHILD_FROM_BYTES = 128 * 1024
#: A slow machine needs a minute for the largest report.
READ_LIMIT_SECONDS = 900.0
#: How much is written to the process at once.
PIECE_BYTES = 256 * 1024
#: A process that has written everything needs no more time than this to exit.
END_LIMIT_SECONDS = 10.0
_CHILD = Path(__file__).with_name("child.py")


class Reading:
    """One reading of reports; `read` is called in a thread, `stop` from any thread."""

    def __init__(self, task: Task, files: Sequence[ReportFile]) -> None:
        self._task = task
        self._files = files
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._why_stopped = ""

    def read(self) -> ReadReport:
        """Return the content of the reports; if the process failed, a report that says so."""
        size = sum(len(file.data) for file in self._files)
        child = self._started() if size >= CHILD_FROM_BYTES else None
        return self._read_here(self._files) if child is None else self._read_in(child)

    def stop(self, why: str) -> None:
        """Kill the process, if there is one; the report then counts as broken."""
        with self._lock:
            self._why_stopped = self._why_stopped or why
            if self._child is not None:
                self._child.kill()

    def _read_here(self, files: Sequence[ReportFile], *problems: str) -> ReadReport:
        task = self._task._replace(problems=[*self._task.problems, *problems])
        return ReadReport.of(lines_of(task, [(file.name, file.data) for file in files]))

    def _started(self) -> subprocess.Popen[bytes] | None:
        """Start the process; return None if that is not possible and the report must be read here."""
        if not sys.executable:
            return None
        command = [sys.executable, "-I", "-S", str(_CHILD)]
        with self._lock, suppress(OSError):
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            if self._why_stopped:
                self._child.kill()
        return self._child

    def _read_in(self, child: subprocess.Popen[bytes]) -> ReadReport:
        report: ReadReport | None = None
        given, answer = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
        limit = threading.Timer(READ_LIMIT_SECONDS, self.stop, [f"it took more than {READ_LIMIT_SECONDS:.0f} s"])
        limit.daemon = True
        limit.start()
        try:
            # The process reads everything before it writes anything, so neither blocks the other. If it stopped
            # reading, its output explains why.
            with suppress(OSError):
                for piece in self._pieces():
                    given.write(piece)
            _close(given)
            report = ReadReport.of(answer)
        except (OSError, ValueError, TypeError, LookupError):
            # If the answer is incomplete, the exit status of the process explains why.
            report = None
        finally:
            limit.cancel()
            # A process that waits for more input would never exit.
            _close(given)
            answer.close()
            ended = _ended(child)
        if report is None:
            why = self._why_stopped or f"its process ended with {ended}"
            report = self._read_here([], f"the report could not be read: {why}")
        return report

    def _pieces(self) -> Iterator[bytes | memoryview]:
        files = [(file.name, len(file.data)) for file in self._files]
        yield json.dumps({"task": self._task._asdict(), "files": files}).encode() + b"\n"
        for file in self._files:
            data = memoryview(file.data)
            for begin in range(0, len(data), PIECE_BYTES):
                yield data[begin : begin + PIECE_BYTES]


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):
        pipe.close()


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Wait for the process to exit, and kill it if that takes too long; return its exit status."""
    try:
        return child.wait(END_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
