# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run a command of the program without a process of its own, which would take most of a short test's time."""

from __future__ import annotations

import io
import logging
import signal
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from sourcepulse.cli.main import main


class Ran(NamedTuple):
    """How a command ended, and what it printed and logged."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*arguments: str) -> Ran:
    """Run a command to its end, and restore what it changed of this process."""
    root = logging.getLogger()
    level, handlers = root.level, {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(list(arguments))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for number, former in handlers.items():
            signal.signal(number, former)
    return Ran(code, out.getvalue(), err.getvalue())
