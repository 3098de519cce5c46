# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the public stream never showed, so that it does not say of it either that it was hidden.

Marks in the outbox, by source: `unseen` for a bug, comment or attachment whose showing was withheld before it was sent,
`shown` for one whose hiding was withheld, and the highest position that was `offered`, which may have been sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse.outbox import DELIVERED, IDS_AT_ONCE, Claimed, Outbox
from sourcepulse.visibility import Verdict

_PARTS = frozenset({"bug", "comment", "attachment"})
_SHOWING = frozenset({"created", "published"})

_UNSEEN = "bugzilla unseen "
_SHOWN = "bugzilla shown "
_OFFERED = "bugzilla offered "


class Step(NamedTuple):
    """One event that shows a thing, `bug/7`, to the public, or hides it, with the bug that it still names."""

    thing: str
    shows: bool
    bug: int | None = None


def step_of(type_: str, data: Mapping[str, Any]) -> Step | None:
    """Return what an event does to the sight of a thing; None if it does nothing."""
    words = type_.split(".")
    if words[0] != "bugzilla" or len(words) != 4 or words[1] not in _PARTS:
        return None
    part, fact = words[1:3]
    try:
        if fact in _SHOWING:
            return Step(f"{part}/{data[part]['id']}", shows=True)
        if fact == "hidden" or (part, fact) == ("bug", "deleted"):
            return Step(f"{part}/{data['id']}", shows=False, bug=data.get("bug_id"))
    except (LookupError, TypeError):
        pass
    return None


def apply_marks(
    outbox: Outbox, source: str, events: Sequence[Claimed], steps: Sequence[Step | None], verdicts: Sequence[Verdict]
) -> list[Verdict]:
    """Return the verdicts on events of one source, with what hides a thing that was never shown withheld.

    The marks are written before it returns. A replay is of something that was sent, so it makes no marks.
    """
    names = [prefix + _of(source, step) for step in steps if step is not None for prefix in (_UNSEEN, _SHOWN)]
    marks = _read(outbox, [*names, _OFFERED + source])
    replays = _delivered(outbox, [event.position for event, step in zip(events, steps, strict=True) if step])
    offered = int(marks.pop(_OFFERED + source, 0))
    now, final = set(marks), list[Verdict]()
    for event, step, verdict in zip(events, steps, verdicts, strict=True):
        judged = verdict
        if step is not None:
            is_new = event.position not in replays
            judged = _after(step, verdict, now, _of(source, step), is_new=is_new, may_be_sent=event.position <= offered)
        final.append(judged)
    sent = [event.position for event, judged in zip(events, final, strict=True) if judged.send]
    _write(outbox, source, set(marks), now, max(sent, default=0) if max(sent, default=0) > offered else None)
    return final


def _after(step: Step, verdict: Verdict, marks: set[str], thing: str, *, is_new: bool, may_be_sent: bool) -> Verdict:
    """Return the verdict on one step, and change the marks of its thing."""
    unseen, shown = _UNSEEN + thing, _SHOWN + thing
    if step.shows:
        if verdict.send:
            marks -= {unseen, shown}
        elif is_new and not may_be_sent and shown not in marks:
            marks.add(unseen)
    elif is_new and unseen in marks:
        # That it may be sent means that the bug of a comment or an attachment is public.
        is_public = verdict.send and step.bug is not None
        return Verdict(send=False, subject=f"bug/{step.bug}" if is_public else verdict.subject)
    elif verdict.send:
        marks.discard(shown)
    elif is_new:
        marks.add(shown)
    return verdict


def _of(source: str, step: Step) -> str:
    return f"{source} {step.thing}"


def _read(outbox: Outbox, names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    with outbox.reading() as db:
        for part in _parts(names):
            wanted = ",".join("?" * len(part))
            found.update(db.execute(f"SELECT name, value FROM meta WHERE name IN ({wanted})", part))  # noqa: S608
    return found


def _delivered(outbox: Outbox, positions: Sequence[int]) -> set[int]:
    found: set[int] = set()
    with outbox.reading() as db:
        for part in _parts(positions):
            wanted = ",".join("?" * len(part))
            query = f"SELECT position FROM events WHERE state = ? AND position IN ({wanted})"  # noqa: S608
            found.update(row[0] for row in db.execute(query, (DELIVERED, *part)))
    return found


def _parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + IDS_AT_ONCE] for start in range(0, len(values), IDS_AT_ONCE))


def _write(outbox: Outbox, source: str, before: set[str], now: set[str], offered: int | None) -> None:
    if before == now and offered is None:
        return
    # What is withheld next is written durably, and these with it.
    with outbox.writing(durable=False) as db:
        db.executemany("DELETE FROM meta WHERE name = ?", [(name,) for name in before - now])
        rows = [(name, "1") for name in sorted(now - before)]
        if offered is not None:
            rows.append((_OFFERED + source, str(offered)))
        db.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", rows)
