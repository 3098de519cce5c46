# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The process that reads a large report, so that the reactor of the master does not wait for it.

Standard input has a line of JSON (the task, and the names and sizes of the files), followed by the files. Standard
output has the lines of `work.lines_of`. Secrets are passed this way too, never as arguments. The file is run by its
path, ignoring Python's environment variables, and without packages other than ours.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

#: The master and its builds have priority.
NICER = 5


def main() -> None:
    """Read the reports from standard input, and write their content."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from sourcepulse_buildbot.test_reports.reading.work import Task, lines_of

    with suppress(OSError):
        os.nice(NICER)
    # Every object made here is needed until the end.
    gc.disable()
    head = json.loads(sys.stdin.buffer.readline())
    files = [(name, _read(size)) for name, size in head["files"]]
    for line in lines_of(Task(**head["task"]), files):
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _read(size: int) -> bytes:
    data = sys.stdin.buffer.read(size)
    if len(data) != size:
        raise EOFError("the master is gone")
    return data


if __name__ == "__main__":
    main()
