# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the public stream never showed, so that it does not report either that it was hidden.

Marks in the outbox, by source: `unseen` for a bug, comment or attachment whose first event was withheld before it was
sent, and the highest `offered` position, up to which events may have been sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse.errors import DecodeError
from sourcepulse.events.wire import decode
from sourcepulse.outbox.epoch import VALUES_AT_ONCE
from sourcepulse.outbox.outbox import DELIVERED, Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import Verdict
from sourcepulse.outbox.tables import remove_notes, set_notes

_PARTS = frozenset({"bug", "comment", "attachment"})
_CREATED, _PUBLISHED = "created", "published"

_UNSEEN = "bugzilla unseen "
_OFFERED = "bugzilla offered "


class Step(NamedTuple):
    """An event that shows a thing, such as `bug/7`, to the public, or hides it.

    `bug` is the bug of a comment or an attachment; `is_first` means that no earlier event can have shown the thing.
    """

    thing: str
    shows: bool
    bug: int | None = None
    is_first: bool = False


def step_of(type_: str, data: Mapping[str, Any]) -> Step | None:
    """Return how an event changes the visibility of a thing; None if it does not."""
    words = type_.split(".")
    if words[0] != "bugzilla" or len(words) != 4 or words[1] not in _PARTS:
        return None
    part, fact = words[1:3]
    try:
        if fact in (_CREATED, _PUBLISHED):
            shown = data[part]
            # A recovered event may follow other events of the thing.
            is_first = fact == _CREATED and not data.get("recovered")
            return Step(f"{part}/{shown['id']}", shows=True, bug=shown.get("bug_id"), is_first=is_first)
        if fact == "hidden" or (part, fact) == ("bug", "deleted"):
            return Step(f"{part}/{data['id']}", shows=False, bug=data.get("bug_id"))
    except (LookupError, TypeError):
        pass
    return None


def bug_in(type_: str, data: Mapping[str, Any]) -> str | None:
    """Return the bug, such as `bug/7`, that an event shows by being sent, whatever its subject; None if none."""
    words = type_.split(".")
    if words[0] != "bugzilla" or len(words) != 4 or words[2] in ("hidden", "deleted"):
        return None
    part = data.get(words[1])
    number = part.get("id" if words[1] == "bug" else "bug_id") if isinstance(part, Mapping) else None
    number = data.get("bug_id") if number is None else number
    return None if number is None else f"bug/{number}"


def apply_marks(
    outbox: Outbox,
    source: str,
    events: Sequence[Claimed],
    datas: Sequence[Mapping[str, Any] | None],
    verdicts: Sequence[Verdict],
) -> list[Verdict]:
    """Return the verdicts on events of one source; events that hide a thing that was never shown are withheld.

    The marks are written before this returns. A replay repeats what was sent, so it makes no marks.
    """
    known = [(event.type, data) for event, data in zip(events, datas, strict=True)]
    steps = [None if data is None else step_of(type_, data) for type_, data in known]
    bugs = [None if data is None else bug_in(type_, data) for type_, data in known]
    things = {step.thing for step in steps if step is not None}.union(bug for bug in bugs if bug is not None)
    names = [_unseen(source, thing) for thing in sorted(things)]
    marks = _read(outbox, [*names, _OFFERED + source])
    replays = _delivered(outbox, [event.position for event, step in zip(events, steps, strict=True) if step])
    offered = int(marks.pop(_OFFERED + source, 0))
    now, final = set(marks), list[Verdict]()
    for event, step, bug, verdict in zip(events, steps, bugs, verdicts, strict=True):
        judged = verdict
        if bug is not None and verdict.send:
            # A comment also shows its bug.
            now.discard(_unseen(source, bug))
        if step is not None:
            mark = _unseen(source, step.thing)
            if verdict.send and step.shows:
                now.discard(mark)
            elif event.position in replays or (verdict.send and mark not in now):
                pass
            elif not step.shows:
                judged = _without_hiding(step, verdict) if mark in now else verdict
            elif event.position > offered and (step.is_first or not _was_shown(outbox, source, step, offered)):
                now.add(mark)
        final.append(judged)
    sent = [event.position for event, judged in zip(events, final, strict=True) if judged.send]
    _write(outbox, source, set(marks), now, max(sent, default=0) if max(sent, default=0) > offered else None)
    return final


def _without_hiding(step: Step, verdict: Verdict) -> Verdict:
    # If the event may be sent, the bug of its comment or attachment is public.
    is_public = verdict.send and step.bug is not None
    return Verdict(send=False, subject=f"bug/{step.bug}" if is_public else verdict.subject)


def _was_shown(outbox: Outbox, source: str, step: Step, offered: int) -> bool:
    """Return whether the stream may have an event that shows the thing, including one whose payload has expired.

    It reads all events of the source, but only if something was shown and hidden again before it was sent.
    """
    subject = step.thing if step.bug is None else f"bug/{step.bug}"
    query = (
        "SELECT e.type, e.routing_key, b.body FROM events e LEFT JOIN bodies b USING (position) "
        "WHERE e.source = ? AND e.subject = ? AND (e.state = ? OR e.position <= ?)"
    )
    with outbox.reading() as db:
        found = db.execute(query, (source, subject, DELIVERED, offered)).fetchall()
    return any(_shows(type_, routing_key, body, step) for type_, routing_key, body in found)


def _shows(type_: str, routing_key: str, body: bytes | None, step: Step) -> bool:
    words = type_.split(".")
    if words[0] != "bugzilla":
        # A placeholder for a withheld event.
        return False
    if step.bug is None:
        # Every readable event of a bug shows it.
        return words[2] not in ("hidden", "deleted")
    if words[1] != step.thing.partition("/")[0] or words[2] not in (_CREATED, _PUBLISHED):
        return False
    if body is None:
        return True
    try:
        shown = step_of(type_, decode(body, routing_key=routing_key).data)
    except DecodeError:
        return True
    return shown is not None and shown.thing == step.thing


def _unseen(source: str, thing: str) -> str:
    return f"{_UNSEEN}{source} {thing}"


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
    return (values[start : start + VALUES_AT_ONCE] for start in range(0, len(values), VALUES_AT_ONCE))


def _write(outbox: Outbox, source: str, before: set[str], now: set[str], offered: int | None) -> None:
    if before == now and offered is None:
        return
    # The next withholding is written durably, and these marks with it.
    with outbox.writing(durable=False) as db:
        remove_notes(db, before - now)
        values = dict.fromkeys(sorted(now - before), "1")
        if offered is not None:
            values[_OFFERED + source] = str(offered)
        set_notes(db, values)
