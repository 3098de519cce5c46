# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The fork servers of a test session: an hg of its own process for each command, without half a second of imports."""

from __future__ import annotations

import functools
import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from signal import SIGKILL

from support.hg.fork_client import Forked

_SERVER = Path(__file__).with_name("fork_server.py")
#: The variable with the server's socket; without it a process is started in the usual way.
FORK_SERVER = "FORK_SERVER"
START_LIMIT_SECONDS = 60
PIPE_BYTES = 65_536


class ForkServer:
    """Starts the server of one hg when it is first needed."""

    def __init__(self, hg: Path) -> None:
        self.hg = hg
        # A socket's path must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="hg-"))
        self.socket = str(self._folder / "socket")
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def run(
        self, arguments: Sequence[str | bytes | Path], environ: dict[str, str], folder: Path, limit_s: float
    ) -> subprocess.CompletedProcess[bytes] | None:
        """Do what `subprocess.run` does; return None if the server would not fork for this environment."""
        self._start(environ)
        ends = [os.pipe(), os.pipe()]
        null = os.open(os.devnull, os.O_RDONLY)
        given = (null, ends[0][1], ends[1][1])
        command = [os.fsencode(word) for word in (self.hg, *arguments)]
        try:
            forked = Forked(
                self.socket, command, {os.fsencode(k): os.fsencode(v) for k, v in environ.items()}, bytes(folder), given
            )
        finally:
            for fd in given:
                os.close(fd)
        try:
            return _communicate(forked, [end[0] for end in ends], command, limit_s) if forked.pid else None
        finally:
            for reader, _ in ends:
                os.close(reader)

    def close(self) -> None:
        """End it; processes that it forked are not ended."""
        if self._process is not None:
            self._process.communicate(timeout=START_LIMIT_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, environ: dict[str, str]) -> None:
        with self._lock:
            if self._process is not None:
                return
            # The interpreter that the program itself names.
            python = self.hg.read_bytes().partition(b"\n")[0].removeprefix(b"#!").strip()
            self._process = subprocess.Popen(
                [python, _SERVER, self.socket, self.hg],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            assert line == b"ready\n", (line, self._process.communicate(timeout=START_LIMIT_SECONDS))


def _communicate(
    forked: Forked, readers: list[int], command: list[bytes], limit_s: float
) -> subprocess.CompletedProcess[bytes]:
    """As `Popen.communicate`: until the process ended and no other process holds its outputs."""
    outputs = {fd: bytearray() for fd in readers}
    code = 0
    deadline = time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        for source in (*readers, forked):
            selector.register(source, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                os.kill(forked.pid, SIGKILL)
                raise subprocess.TimeoutExpired(command, limit_s)
            for key, _ in ready:
                if key.fileobj is forked:
                    selector.unregister(forked)
                    code = forked.wait()
                    continue
                data = os.read(key.fd, PIPE_BYTES)
                outputs[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    out, err = (bytes(outputs[fd]) for fd in readers)
    return subprocess.CompletedProcess(command, code, out, err)


class ForkServers:
    """Those of a test session."""

    def __init__(self) -> None:
        self._made: dict[Path, ForkServer] = {}

    def get(self, hg: Path) -> ForkServer:
        """Return that of an hg."""
        if hg not in self._made:
            self._made[hg] = ForkServer(hg)
        return self._made[hg]

    def close(self) -> None:
        """End all of them."""
        while self._made:
            self._made.popitem()[1].close()


@functools.cache
def fork_servers() -> ForkServers:
    """Return those of this process."""
    return ForkServers()
