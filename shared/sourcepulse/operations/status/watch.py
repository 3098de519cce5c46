# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A live view: on a terminal a screen that is drawn again, elsewhere one block of lines after another."""

from __future__ import annotations

import os
import select
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

#: The alternate screen keeps what was on the terminal; the cursor is hidden meanwhile.
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

#: Of a terminal that does not know its size.
DEFAULT_SIZE = (80, 24)

#: Makes the lines of the next view.
View = Callable[[], Sequence[str]]


def watch(view: View, interval_s: float) -> None:
    """Show the view at each interval until SIGINT, which raises KeyboardInterrupt, or SIGTERM, which exits."""
    if sys.stdout.isatty():
        _watch_screen(view, interval_s)
    else:
        _watch_blocks(view, interval_s)


def _watch_blocks(view: View, interval_s: float) -> None:
    with _waking() as wait:
        first = True
        while True:
            print(*([] if first else [""]), *view(), sep="\n", flush=True)
            first = False
            wait(interval_s)


def _watch_screen(view: View, interval_s: float) -> None:
    with _waking() as wait, _screen():
        while True:
            _draw(view(), interval_s)
            wait(interval_s)


def _draw(lines: Sequence[str], interval_s: float) -> None:
    width, height = _size()
    room = max(1, height - 2)
    shown = list(lines) if len(lines) <= room else [*lines[: room - 1], f"... {len(lines) - room + 1} more lines"]
    out = [f"every {interval_s:g} s; Ctrl-C ends", *shown]
    body = "\r\n".join(_cut(line, width) + _END_OF_LINE for line in out[:height])
    sys.stdout.write(_HOME + body + _END_OF_SCREEN)
    sys.stdout.flush()


def _size() -> tuple[int, int]:
    """Return columns and lines as they are now; COLUMNS and LINES of the environment are those at the start."""
    with suppress(OSError, ValueError):
        width, height = os.get_terminal_size(sys.stdout.fileno())
        if width and height:
            return width, height
    return DEFAULT_SIZE


def _cut(line: str, width: int) -> str:
    """Return the beginning of a line that fits; characters of East Asian scripts take two columns."""
    used = 0
    for place, character in enumerate(line):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > width:
            return line[:place]
    return line


@contextmanager
def _screen() -> Iterator[None]:
    """Show the alternate screen; the former one is back after every exit, and while the process is suspended."""

    def suspend(_number: int, _frame: FrameType | None) -> None:
        _write(_LEAVE)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # The process goes on here.
        signal.signal(signal.SIGTSTP, suspend)
        _write(_ENTER)

    former = signal.signal(signal.SIGTSTP, suspend)
    _write(_ENTER)
    try:
        yield
    finally:
        _write(_LEAVE)
        signal.signal(signal.SIGTSTP, former)


@contextmanager
def _waking() -> Iterator[Callable[[float], None]]:
    """Yield a wait that ends early when a signal comes: the size changed, or the process is to end."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    former = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda _number, _frame: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, _exit),
        signal.SIGHUP: signal.signal(signal.SIGHUP, _exit),
    }
    former_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait(seconds: float) -> None:
        select.select([reading], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(reading, 1024)

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(former_fd)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _write(text: str) -> None:
    # The terminal may be gone.
    with suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()
