# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A process of `python -m` or `python -c` without half a second of imports: a server of the test session forks it."""

from __future__ import annotations

import functools
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.hg.fork_client import Forked
from support.module_server import PROGRAM

_SERVER = Path(__file__).with_name("module_server.py")
START_LIMIT_SECONDS = 60


class ForkedModule:
    """A process that a module server forked, with what tests use of a `Popen`."""

    def __init__(self, forked: Forked, name: str) -> None:
        self._forked = forked
        self._name = name
        self.pid = forked.pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code after its end; `subprocess.TimeoutExpired` if it runs longer."""
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._forked, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self._name, timeout or 0)
            self.returncode = self._forked.wait()
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it unless it has ended."""
        self.send_signal(signal.SIGKILL)


class ModuleServer:
    """Starts the server when it is first needed."""

    def __init__(self) -> None:
        # A socket's path must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="modules-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, module: str, arguments: Sequence[str | Path], *, fds: tuple[int, int, int], environ: Mapping[str, str]
    ) -> ForkedModule | None:
        """Start a process with these standard descriptors; None if an exec with this environment is another Python."""
        path = str(self._folder / "socket")
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, _SERVER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"ready\n"
        forked = Forked(
            path,
            [PROGRAM, *map(os.fsencode, (module, *arguments))],
            {os.fsencode(name): os.fsencode(value) for name, value in environ.items()},
            os.getcwdb(),
            fds,
        )
        return ForkedModule(forked, module) if forked.pid else None

    def close(self) -> None:
        """End it; processes that it forked are not ended."""
        if self._process is not None:
            self._process.communicate(timeout=START_LIMIT_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def module_server() -> ModuleServer:
    """Return that of this process."""
    return ModuleServer()
