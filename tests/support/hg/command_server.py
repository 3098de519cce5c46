# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""hg for what only prepares or reads, by Mercurial's command server: a command in one process that stays.

A process of its own takes ten times the CPU, also one that chg forks. What a test is about never runs here.
"""

from __future__ import annotations

import functools
import os
import select
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

CLOSE_LIMIT_SECONDS = 10
_HEADER = struct.Struct(">cI")
_RESULT = struct.Struct(">i")
_LENGTH = struct.Struct(">I")
_READ_BYTES = 65_536

#: They do nothing outside their repository, and start no other process.
_LOCAL = frozenset(
    {"add", "bookmark", "branch", "commit", "debugbuilddag", "id", "log", "merge", "phase", "tag", "update"}
)
#: A repository with one of these has settings, of its own or of another.
_SETTINGS = ("hgrc", "hgrc-not-shared", "sharedpath")


class CommandServer:
    """One hg that stays, with the user's settings in this text and those of no repository; starts when needed."""

    def __init__(self, hg: Path, hgrc: str) -> None:
        self._hg, self._hgrc = hg, hgrc
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def run(
        self, arguments: tuple[str | bytes | Path, ...], environ: dict[str, str], folder: Path, limit_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Do what `subprocess.run` does, in this folder; the first environment is that of all commands."""
        words = [os.fsencode(word) for word in ("--cwd", folder, *arguments)]
        deadline = time.monotonic() + limit_s
        with self._lock:
            process = self._process or self._start(environ, deadline)
            self._process = process
            assert process.stdin is not None
            message = b"\0".join(words)
            process.stdin.write(b"runcommand\n" + _LENGTH.pack(len(message)) + message)
            process.stdin.flush()
            outputs: dict[bytes, bytes] = {b"o": b"", b"e": b""}
            while True:
                channel, data = self._chunk(process, deadline)
                if channel == b"r":
                    return subprocess.CompletedProcess(words, _RESULT.unpack(data)[0], outputs[b"o"], outputs[b"e"])
                assert channel in outputs, f"hg {words} asks: {channel!r}"
                outputs[channel] += data

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate(timeout=CLOSE_LIMIT_SECONDS)
            self._process = None

    def _start(self, environ: dict[str, str], deadline: float) -> subprocess.Popen[bytes]:
        # hg reads its settings before it greets.
        with tempfile.NamedTemporaryFile("w", suffix=".hgrc", encoding="utf-8") as hgrc:
            hgrc.write(self._hgrc)
            hgrc.flush()
            process = subprocess.Popen(
                [self._hg, "serve", "--cmdserver", "pipe"],
                env={**environ, "HGRCPATH": hgrc.name, "HGRCSKIPREPO": "1"},
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
            self._chunk(process, deadline)
        return process

    @staticmethod
    def _chunk(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
        channel, length = _HEADER.unpack(_read(process, _HEADER.size, deadline))
        return channel, _read(process, length, deadline)


def _read(process: subprocess.Popen[bytes], count: int, deadline: float) -> bytes:
    assert process.stdout is not None
    data = b""
    while len(data) < count:
        ready = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]
        more = os.read(process.stdout.fileno(), min(count - len(data), _READ_BYTES)) if ready else b""
        if not more:
            process.kill()
            process.wait()
            raise TimeoutError("hg's command server does not answer" if not ready else "hg's command server ended")
        data += more
    return data


class CommandServers:
    """Those of a test session."""

    def __init__(self) -> None:
        self._made: dict[tuple[Path, str], CommandServer] = {}

    def get(self, hg: Path, hgrc: str) -> CommandServer:
        """Return that of an hg with these user's settings."""
        if (hg, hgrc) not in self._made:
            self._made[hg, hgrc] = CommandServer(hg, hgrc)
        return self._made[hg, hgrc]

    def close(self) -> None:
        """End all of them."""
        while self._made:
            self._made.popitem()[1].close()


@functools.cache
def command_servers() -> CommandServers:
    """Return those of this process."""
    return CommandServers()


def is_local(path: Path, arguments: tuple[str | bytes | Path, ...]) -> bool:
    """Return whether a command does the same without settings, in a process of its own or not."""
    if arguments[0] not in _LOCAL or any(os.fsdecode(word) in {"--config", "--cwd"} for word in arguments):
        return False
    return not any((path / ".hg" / name).exists() and (path / ".hg" / name).stat().st_size for name in _SETTINGS)
