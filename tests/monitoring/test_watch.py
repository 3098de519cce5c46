# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`status --watch` on a real terminal: it follows the size, and every exit leaves the terminal as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event

SOURCEPULSE = str(Path(sys.executable).with_name("sourcepulse"))
LIMIT_SECONDS = 30.0
ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
FRAME = b"\x1b[H"


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    with Outbox.open(tmp_path / "o.db") as opened:
        opened.append([system_event(number, source=f"system://{number:02}") for number in range(30)])
    return tmp_path / "o.db"


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str], rows: int, columns: int) -> None:
        self.seen = b""
        self._shown = 0
        pid, self._fd = pty.fork()
        if pid == 0:
            os.execv(command[0], command)
        self.pid = pid
        self.resize(rows, columns)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, raw: bytes) -> None:
        os.write(self._fd, raw)

    def wait_for(self, what: bytes, *, after: int = 0) -> int:
        """Read until the output contains this behind a place; return the place behind it."""
        limit = time.monotonic() + LIMIT_SECONDS
        while (found := self.seen.find(what, after)) < 0:
            assert time.monotonic() < limit, self.seen[-2000:]
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._fd, 65_536)
                except OSError:
                    pytest.fail(f"it ended: {self.seen[-2000:]!r}")
        return found + len(what)

    def frame(self) -> list[str]:
        """Return the lines of the next whole view."""
        begin = self.wait_for(FRAME, after=self._shown)
        self._shown = self.wait_for(b"\x1b[J", after=begin)
        body = self.seen[begin : self._shown - len(b"\x1b[J")].decode()
        # The terminal adds a carriage return to each end of a line.
        return [line.rstrip("\r").removesuffix("\x1b[K") for line in body.split("\n")]

    def end(self) -> int:
        """Read the rest and return how the program ended, as a shell does."""
        limit = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < limit:
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._fd, 65_536)
                except OSError:
                    break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def terminal(outbox: Path, *, rows: int = 24, columns: int = 80, interval: str = "0.2") -> Iterator[Terminal]:
    command = [SOURCEPULSE, "status", "--watch", "--interval", interval, "--outbox", str(outbox)]
    shown = Terminal(command, rows, columns)
    try:
        shown.wait_for(ENTER)
        yield shown
    finally:
        shown.close()


def test_the_view_follows_the_outbox_and_the_size_of_the_terminal(outbox: Path) -> None:
    # With a long interval only the signal can cause the second view.
    with terminal(outbox, interval="60") as shown:
        assert shown.frame()[0] == "every 60 s; Ctrl-C ends"
        shown.resize(10, 40)
        while len(lines := shown.frame()) != 9:
            pass
        assert max(map(len, lines)) <= 40
        assert lines[1].startswith("well: 30 events on the way")
        assert lines[-1].endswith("more lines")
        with Outbox.open(outbox) as opened:
            opened.acknowledge("public", range(1, 31))
        shown.resize(70, 120)
        lines = shown.frame()
        assert lines[1].startswith("well: nothing waits, ")
        assert any(line.startswith("source     system://29: 1 of 1 confirmed, ") for line in lines)
        shown.type(b"\x03")
        assert shown.end() == 130


@pytest.mark.parametrize(("way", "code"), [(b"\x03", 130), (signal.SIGTERM, 143)])
def test_every_exit_leaves_the_terminal_as_it_was(outbox: Path, way: bytes | signal.Signals, code: int) -> None:
    with terminal(outbox) as shown:
        shown.frame()
        if isinstance(way, bytes):
            shown.type(way)
        else:
            os.kill(shown.pid, way)
        assert shown.end() == code
        assert shown.seen.count(ENTER) == shown.seen.count(LEAVE) == 1
        assert shown.seen.rstrip(b"\r\n").endswith(LEAVE)
        assert b"Traceback" not in shown.seen


def test_an_outbox_that_goes_away_and_comes_back_is_part_of_the_view(outbox: Path) -> None:
    with terminal(outbox) as shown:
        shown.wait_for(b"well: 30 events")
        aside = outbox.with_name("aside.db")
        outbox.rename(aside)
        place = shown.wait_for(b"unknown: there is no outbox at")
        aside.rename(outbox)
        shown.wait_for(b"well: ", after=place)
        shown.type(b"\x03")
        assert shown.end() == 130


def test_a_suspended_view_leaves_the_terminal_and_comes_back(outbox: Path) -> None:
    with terminal(outbox) as shown:
        shown.wait_for(b"\x1b[J")
        os.kill(shown.pid, signal.SIGTSTP)
        place = shown.wait_for(LEAVE)
        os.kill(shown.pid, signal.SIGCONT)
        place = shown.wait_for(ENTER, after=place)
        shown.wait_for(FRAME, after=place)
        shown.type(b"\x03")
        assert shown.end() == 130


def test_without_a_terminal_it_prints_one_plain_block_after_another(outbox: Path) -> None:
    command = [SOURCEPULSE, "status", "--watch", "--interval", "0.2", "--outbox", str(outbox)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ran:
        assert ran.stdout is not None
        blocks = 0
        while blocks < 2:
            line = ran.stdout.readline()
            assert "\x1b" not in line
            blocks += line.startswith("well: ")
        ran.send_signal(signal.SIGINT)
        rest = ran.stdout.read()
    assert ran.returncode == 130
    assert "\x1b" not in rest


def test_a_reader_that_leaves_ends_it_quietly(outbox: Path) -> None:
    command = f"{SOURCEPULSE} status --watch --interval 0.1 --outbox {outbox} | head -1"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert (ran.stdout.count("\n"), ran.stderr) == (1, "")
