# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse status` in each of its forms on an outbox with very many rows: its seconds and its memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.backlog import MANY, fill
from bench.doctor import measure
from bench.stats import AtMost, Figure, row
from sourcepulse.outbox.outbox import Outbox

ROUNDS = 7
SECONDS_MAX, MEMORY_MAX_MIB = 1.0, 60.0
FORMS = {"status": (), "status --check": ("--check",), "status --prometheus": ("--prometheus", "--per-source")}


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        path = Path(name, "many.db")
        fill(path, MANY)
        for state in ("pending", "delivered"):
            if state == "delivered":
                with Outbox.open(path) as outbox, outbox.writing() as db:
                    db.execute("UPDATE events SET state = 'delivered', settled_at = stored_at")
            for form, options in FORMS.items():
                taken = [measure("status", "--outbox", str(path), *options) for _ in range(rounds + 1)][1:]
                at = f"{form} at {MANY:,} rows {state}"
                row(f"{at}, s", Figure.of([spent for spent, _ in taken]), AtMost(SECONDS_MAX))
                row(f"{at}, memory MiB", Figure.of([size for _, size in taken]), AtMost(MEMORY_MAX_MIB))


if __name__ == "__main__":
    main()
