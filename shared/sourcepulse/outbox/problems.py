# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Problems that a source or a check records in the outbox, so that `status` shows them until they are over.

What a source could not collect is counted for ever.
"""

from __future__ import annotations

import json
from sqlite3 import Connection
from typing import Any

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.tables import add_to_note, note, notes, remove_notes, set_notes

#: The prefix of their rows in the table `meta`, and how much of a sentence is kept.
PROBLEMS = "problem "
PROBLEM_MAX_CHARACTERS = 1_000
#: The same for the number of collect errors of each kind of source.
_COLLECT_ERRORS = "collect errors of "
#: And how often the file of the metrics could not be written.
_METRICS_ERRORS = "metrics file errors"


def set_problem(outbox: Outbox, name: str, sentence: str, *, place: str = "") -> None:
    """Record a problem for `status`; cheap if it is already recorded, and its time is kept.

    `name` is a stable word; `place`, which is not shown, distinguishes the same problem at several places.
    """
    key, message = _key(name, place), sentence[:PROBLEM_MAX_CHARACTERS]
    known = _recorded(outbox, key)
    if known is not None and known["message"] == message:
        return
    problem = {"message": message, "since": outbox.now() if known is None else known["since"]}
    with outbox.writing() as db:
        set_notes(db, {key: json.dumps(problem)})


def clear_problem(outbox: Outbox, name: str, *, place: str = "") -> None:
    """Remove a problem; cheap if there is none."""
    key = _key(name, place)
    if _recorded(outbox, key) is not None:
        with outbox.writing() as db:
            remove_notes(db, [key])


def problem_since(outbox: Outbox, name: str, *, place: str = "") -> float | None:
    """Return when a problem was recorded, in seconds since 1970; None if it is not recorded."""
    known = _recorded(outbox, _key(name, place))
    return None if known is None else float(known["since"])


def count_collect_errors(outbox: Outbox, kind: str, number: int = 1) -> None:
    """Count what could not be collected whole from a kind of source.

    That is a sweep that failed, first copies set aside, a buried row, or a fact of which no event could be made.
    """
    with outbox.writing(durable=False) as db:
        add_to_note(db, _COLLECT_ERRORS + kind, number)


def collect_errors(db: Connection) -> dict[str, int]:
    """Return the number of collect errors since the outbox was made, by kind of source."""
    return {name.removeprefix(_COLLECT_ERRORS): int(value) for name, value in notes(db, _COLLECT_ERRORS).items()}


def count_metrics_error(outbox: Outbox) -> None:
    """Count that the file of the metrics could not be written."""
    with outbox.writing(durable=False) as db:
        add_to_note(db, _METRICS_ERRORS, 1)


def metrics_errors(db: Connection) -> int:
    """Return how often the file of the metrics could not be written since the outbox was made."""
    return int(note(db, _METRICS_ERRORS) or 0)


def _recorded(outbox: Outbox, key: str) -> dict[str, Any] | None:
    with outbox.reading() as db:
        kept = note(db, key)
    return json.loads(kept) if kept else None


def _key(name: str, place: str) -> str:
    return f"{PROBLEMS}{name} {place}"
