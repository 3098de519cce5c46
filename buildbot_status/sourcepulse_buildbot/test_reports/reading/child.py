# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The process in which a large report is read, so that the reactor of the master does not wait for it.

Standard input has a line of JSON, the task and the names and sizes of the files, and the files behind it. Standard
output has the lines of `report_work`. Secrets come this way too, never as arguments. Run by its path, with no settings
of the environment and no packages but ours.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

#: The master and its builds come first.
NICER = 5


def main() -> None:
    """Read what is to be read, and write what it holds."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from sourcepulse_buildbot.test_reports.reading.work import Task, lines_of

    with suppress(OSError):
        os.nice(NICER)
    # Whatever is made here is needed to the end.
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
