# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A process that answers each line of JSON with a line; waits and answers are bounded."""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sourcepulse_bugzilla.errors import DrainerGoneError, PausedError, SetupError
from sourcepulse_bugzilla.perl.stderr import StderrLines

ANSWER_WAIT_SECONDS = 60.0
#: About 8 MiB of rows are returned at a time, encoded twice as JSON.
ANSWER_MAX_BYTES = 64 * 1024 * 1024
#: How long a process that was asked to end may take before it is killed.
END_WAIT_SECONDS = 2.0
#: How often a waiting caller can do other work.
STEP_SECONDS = 0.5
READ_BYTES = 1024 * 1024

#: The variables that Perl and Bugzilla may need; our own settings, with their secrets, are not passed on.
ENVIRONMENT_NAMES = (
    *("HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "PERL5LIB", "PGPASSFILE"),
    *("TMPDIR", "TZ", "USER"),
)
#: The exit codes of drain.pl if the folder is not a Bugzilla, or Bugzilla or the extension cannot be loaded.
SETUP_EXIT_CODES = (2, 3)

PAUSED = "Bugzilla is paused: drain.pl answered with something other than JSON"

logger = logging.getLogger(__name__)


def minimal_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that is passed to the process."""
    return {name: environ[name] for name in ENVIRONMENT_NAMES if name in environ}


class Child:
    """A process that is used until it ends or fails once; after that every call raises DrainerGoneError.

    During a wait, `step` is called at least twice a second. No wait continues after the monotonic time that
    `give_up_at` returns, whatever its own limit.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        step: Callable[[], object] = lambda: None,
        give_up_at: Callable[[], float] = lambda: float("inf"),
        wait_s: float = ANSWER_WAIT_SECONDS,
        answer_max_bytes: int = ANSWER_MAX_BYTES,
    ) -> None:
        self._step = step
        self._give_up_at = give_up_at
        self._wait_s = wait_s
        self._answer_max_bytes = answer_max_bytes
        self._errors = StderrLines(lambda line: logger.warning("drain.pl says: %s", line), clock=time.monotonic)
        self._ended = False
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env=minimal_environment(os.environ),
                # Ctrl-C is for us: the request in progress is finished first.
                start_new_session=True,
            )
        except OSError as error:
            self._ended = True
            raise SetupError(f"{command[0]} cannot be started: {error.strerror}") from None
        self._in, self._out, self._err = (
            pipe.fileno() for pipe in (self._process.stdin, self._process.stdout, self._process.stderr) if pipe
        )
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request, whatever its content.

        PausedError if it is not JSON: that is Bugzilla's maintenance page. DrainerGoneError if the process ended, was
        silent for too long, or wrote too much; SetupError if it cannot work at all. After each of these the process
        has ended.
        """
        if self._ended:
            raise DrainerGoneError("drain.pl has ended")
        try:
            line = self._exchange(json.dumps(request).encode("ascii") + b"\n")
            try:
                answer = json.loads(line)
            except (ValueError, RecursionError):
                answer = None
            if not isinstance(answer, dict):
                raise PausedError(PAUSED)
        except BaseException:
            self.close(kill=True)
            raise
        return answer

    def close(self, *, kill: bool = False) -> None:
        """End the process, after END_WAIT_SECONDS at the latest; may be called again."""
        if self._ended:
            return
        self._ended = True
        process = self._process
        if kill:
            process.kill()
        if process.stdin:
            with suppress(OSError):
                process.stdin.close()
        try:
            process.wait(END_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(OSError):
            self._read_errors()
        self._errors.end()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def _exchange(self, request: bytes) -> bytes:
        """Send a request and return the line that answers it."""
        deadline = time.monotonic() + self._wait_s
        unsent = memoryview(request)
        chunks: list[bytes] = []
        size = 0
        poll = select.poll()
        for fd in (self._out, self._err):
            poll.register(fd, select.POLLIN)
        poll.register(self._in, select.POLLOUT)
        while True:
            left_s = min(deadline, self._give_up_at()) - time.monotonic()
            if left_s <= 0:
                raise DrainerGoneError(f"drain.pl did not answer within {self._wait_s:g} s")
            for fd, _ in poll.poll(1000 * min(left_s, STEP_SECONDS)):
                if fd == self._in:
                    unsent = self._send(unsent)
                    if not unsent:
                        poll.unregister(self._in)
                elif fd == self._err:
                    if not self._read_errors():
                        poll.unregister(self._err)
                else:
                    chunk = _read(self._out)
                    if chunk == b"":
                        self._raise_ended(has_output=bool(chunks))
                    chunks.append(chunk or b"")
                    size += len(chunk or b"")
                    if size > self._answer_max_bytes:
                        raise DrainerGoneError(f"drain.pl answered with more than {self._answer_max_bytes} bytes")
                    if b"\n" in chunks[-1]:
                        return self._one_line(b"".join(chunks))
            self._step()

    def _one_line(self, output: bytes) -> bytes:
        line, _, more = output.partition(b"\n")
        if more and line.lstrip()[:1] == b"{":
            raise DrainerGoneError("drain.pl wrote more than one answer")
        return line

    def _send(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(self._in, unsent) :]
        except BlockingIOError:
            return unsent
        except OSError:
            # It has ended; what it wrote before is still to be read.
            return unsent[:0]

    def _read_errors(self) -> bool:
        """Pass on what can be read from standard error now; return False at its end."""
        while chunk := _read(self._err):
            self._errors.add(chunk)
        return chunk is None

    def _raise_ended(self, *, has_output: bool) -> None:
        try:
            code = self._process.wait(END_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise DrainerGoneError("drain.pl closed its output") from None
        self._read_errors()
        self._errors.end()
        if code == 0 and has_output:
            # Bugzilla exits like this during maintenance.
            raise PausedError(PAUSED)
        last = ": " + " ".join(self._errors.last) if self._errors.last else ""
        if code in SETUP_EXIT_CODES:
            raise SetupError(f"drain.pl cannot work{last}")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise DrainerGoneError(f"drain.pl {how}{last}")


def _read(fd: int) -> bytes | None:
    """Read what is available: None if nothing is, b"" at the end."""
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None
