# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write the events of an outbox as lines of JSON, each with its state, its numbers and its bytes (outbox-export.v1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sourcepulse.errors import OutboxDamagedError
from sourcepulse.operations.copies.new_file import Progress, no_progress
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows

#: What is read at a time, so that the memory stays small and no writer waits.
STEP_ROWS = 500


def export(outbox: Outbox, selection: Selection, *, progress: Progress = no_progress) -> Iterator[str]:
    """Yield a line for each event in the order of storing; OutboxDamagedError for a body that is not text."""
    with outbox.reading() as db:
        (last,) = db.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
    after = 0
    while True:
        found = rows(outbox, replace(selection, after=after), limit=STEP_ROWS)
        if found:
            bodies = _bodies(outbox, found[0]["position"], found[-1]["position"])
            yield from (_line(row, bodies.get(row["position"])) for row in found)
            after = found[-1]["position"]
            progress(after, last)
        if len(found) < STEP_ROWS:
            return


def _bodies(outbox: Outbox, first: int, last: int) -> dict[int, bytes]:
    with outbox.reading() as db:
        return dict(db.execute("SELECT position, body FROM bodies WHERE position BETWEEN ? AND ?", (first, last)))


def _line(row: dict[str, Any], body: bytes | None) -> str:
    try:
        text = None if body is None else body.decode()
    except UnicodeDecodeError:
        raise OutboxDamagedError(
            f"the payload of the event at position {row['position']} is not text; `sourcepulse outbox check` looks "
            "for more"
        ) from None
    return json.dumps({**row, "bytes": None if body is None else len(body), "body": text}, separators=(",", ":"))
