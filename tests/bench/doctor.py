# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse doctor` on an outbox with very many rows, pending or delivered: its seconds and its memory."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.backlog import MANY, fill
from bench.stats import AtMost, Figure, row
from sourcepulse.outbox.outbox import Outbox

ROUNDS = 7
LIMIT_SECONDS = 60.0
#: Prints the memory of this process, because getrusage counts that of the process that started it.
_RUN = """\
import re, sys
from sourcepulse.cli.main import main
main(sys.argv[1:], files=())
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def measure(*command: str) -> tuple[float, float]:
    """Run a command of ours and return its seconds and the MiB of its memory."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    )
    spent = time.perf_counter() - begun
    return spent, int(re.findall(r"\d+", done.stderr)[-1]) / 1024


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        path = Path(name, "many.db")
        fill(path, MANY)
        ask = ("doctor", "--outbox", str(path), "--broker", f"file://{name}/log.db")
        for state in ("pending", "delivered"):
            if state == "delivered":
                with Outbox.open(path) as outbox, outbox.writing() as db:
                    db.execute("UPDATE events SET state = 'delivered', settled_at = stored_at")
            taken = [measure(*ask) for _ in range(rounds + 1)][1:]
            row(f"doctor at {MANY:,} rows {state}, s", Figure.of([spent for spent, _ in taken]), AtMost(1.0))
            row(f"doctor at {MANY:,} rows {state}, memory MiB", Figure.of([size for _, size in taken]), AtMost(60.0))


if __name__ == "__main__":
    main()
