# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sends a hook again what it got: one event, all since a time, or what was set aside; never what was withdrawn.

What is asked for at once comes in the order of the log, before anything later of the same queue.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

from sourcepulse.brokers.file.admin import remove_dead_letters, restore_dead_letters
from sourcepulse.brokers.file.envelopes import known_positions
from sourcepulse.brokers.file.queue import beyond_reach, lease_delivered, widen
from sourcepulse.brokers.file.tables import LogBusyError, text_of
from sourcepulse.events.event import format_time
from sourcepulse.events.topics import matches
from sourcepulse_web.webhooks.errors import TooManyEventsError
from sourcepulse_web.webhooks.hook import queue_of
from sourcepulse_web.webhooks.store.log.hook_log import HookLog
from sourcepulse_web.webhooks.store.log.reading import position_before, queue_number, set_aside_of

#: How many events one request redelivers; its commit takes some milliseconds, in which publishers wait.
REDELIVER_MAX = 10_000
#: How many messages may have been passed by the sender since they were looked for, so that the write scans few.
PASSED_ROWS = 5_000
#: How often it is looked for what is to be redelivered, while the queue changes.
PLANS_MAX = 20


class Meant(NamedTuple):
    """An event that is to be sent again, and where the log had it when it was sent."""

    source: str
    id: str
    position: int


class Again(NamedTuple):
    """How many events are redelivered, and if none, why: the log has it no longer, it was withdrawn, or it waits."""

    events: int
    is_gone: bool = False
    is_withdrawn: bool = False


class _Plan(NamedTuple):
    """What is to be sent again of a queue, as it was at one moment.

    `delivered` are the positions in (after, cursor] that match its present patterns, and `beyond` those behind that
    its bindings do not reach. They hold for one version of the bindings.
    """

    queue: int
    version: int
    after: int
    cursor: int
    delivered: list[int]
    beyond: list[int]


def again_event(log: HookLog, name: str, event: Meant, now: float) -> Again:
    """Redeliver one event of the log by its source and id; if it was set aside, it is brought back.

    Its position counts only where the log has several: in a log that was replaced, another event may be there.
    """
    with log.read() as db:
        letters = [each.letter for each in set_aside_of(db, name) if (each.source, each.id) == event[:2]]
    with log.write(durable=True) as db:
        queue = queue_number(db, name)
        restored = _restore(db, name, queue, letters, now)
        known = known_positions(db, event.source, event.id)
        if restored or not known:
            return Again(restored, is_gone=not restored)
        position = event.position if event.position in known else known[-1]
        count = lease_delivered(db, queue, [position], now)
        (withdrawn,) = db.execute("SELECT withdrawn FROM envelopes WHERE position = ?", (position,)).fetchone()
        return Again(count, is_withdrawn=withdrawn != 0)


def since(log: HookLog, name: str, at: float, now: float) -> int:
    """Redeliver all that matches a hook's present topics and was appended at or after a time; return how many.

    TooManyEventsError, with a time that is late enough, if that would be more than REDELIVER_MAX. LogBusyError if the
    topics or the queue change all the while.
    """
    plan: _Plan | None = None
    for _ in range(PLANS_MAX):
        # The scan is a read, so that publishers can append meanwhile.
        with log.read() as db:
            plan = _plan(db, name, at, plan)
        with log.write(durable=True) as db:
            if _is_too_old(db, name, plan):
                continue
            cursor = _cursor(db, plan.queue)
            # What was delivered in between.
            positions = plan.delivered + _find(db, plan.queue, plan.cursor, cursor)
            restored = _restore(db, name, plan.queue, _letters_at(db, name, positions), now)
            delivered = lease_delivered(db, plan.queue, positions, now)
            return restored + delivered + widen(db, plan.queue, plan.after, plan.beyond)
    raise LogBusyError(f"the webhook {name!r} changes at this moment; try again")


def bring_back(log: HookLog, name: str, letters: Sequence[int] | None, now: float) -> int:
    """Redeliver events that were set aside, all of them for None; return how many.

    Those that were withdrawn meanwhile are dropped.
    """
    with log.write(durable=True) as db:
        queue = queue_number(db, name)
        known = {each.letter for each in set_aside_of(db, name)}
        return _restore(db, name, queue, sorted(known if letters is None else known.intersection(letters)), now)


def drop(log: HookLog, name: str, letter: int) -> bool:
    """Remove an event that was set aside, for good; return whether there was one."""
    with log.write(durable=True) as db:
        return bool(
            db.execute("DELETE FROM dead_letters WHERE queue = ? AND letter = ?", (queue_of(name), letter)).rowcount
        )


def _plan(db: Connection, name: str, at: float, former: _Plan | None) -> _Plan:
    """Find what is to be sent again; of a former plan for the same bindings, only what was delivered since is added."""
    queue, version = queue_number(db, name), _version(db)
    cursor = _cursor(db, queue)
    if former is not None and (former.queue, former.version) == (queue, version):
        delivered = former.delivered + _find(db, queue, former.cursor, cursor)
        beyond = [position for position in former.beyond if position > cursor]
        plan = former._replace(cursor=cursor, delivered=delivered, beyond=beyond)
    else:
        after = position_before(db, at)
        plan = _Plan(queue, version, after, cursor, _find(db, queue, after, cursor), beyond_reach(db, queue, after))
    if len(plan.delivered) + len(plan.beyond) > REDELIVER_MAX:
        _refuse(db, plan.delivered + plan.beyond)
    return plan


def _is_too_old(db: Connection, name: str, plan: _Plan) -> bool:
    """Return whether the bindings changed since, or more was delivered than should be scanned in a write."""
    if (queue_number(db, name), _version(db)) != (plan.queue, plan.version):
        return True
    return _cursor(db, plan.queue) > plan.cursor + PASSED_ROWS


def _find(db: Connection, queue: int, after: int, until: int) -> list[int]:
    """Return the positions in (after, until] that match a queue's present patterns."""
    bound = db.execute("SELECT exchange, pattern FROM bindings WHERE queue = ? AND until IS NULL", (queue,)).fetchall()
    known: dict[tuple[str, str], bool] = {}
    positions = []
    for position, exchange, key in db.execute(
        "SELECT position, exchange, routing_key FROM messages WHERE position > ? AND position <= ? ORDER BY position",
        (after, until),
    ):
        is_wanted = known.get((exchange, key))
        if is_wanted is None:
            name = text_of(key)
            is_wanted = any(at == exchange and matches(pattern, name) for at, pattern in bound)
            known[exchange, key] = is_wanted
        if is_wanted:
            positions.append(position)
    return positions


def _version(db: Connection) -> int:
    return int(db.execute("SELECT bindings_version FROM log").fetchone()[0])


def _cursor(db: Connection, queue: int) -> int:
    return int(db.execute("SELECT cursor FROM queues WHERE queue = ?", (queue,)).fetchone()[0])


def _letters_at(db: Connection, name: str, positions: Sequence[int]) -> list[int]:
    rows = db.execute(
        "SELECT letter FROM dead_letters WHERE queue = ? AND position IN (SELECT value FROM json_each(?)) "
        "ORDER BY letter",
        (queue_of(name), json.dumps(list(positions))),
    ).fetchall()
    return [letter for (letter,) in rows]


def _restore(db: Connection, name: str, queue: int, letters: Sequence[int], now: float) -> int:
    """Bring dead letters of the queue back, without those that were withdrawn; return how many."""
    if not letters:
        return 0
    withdrawn = {each.letter for letter in letters for each in set_aside_of(db, name, letter) if each.withdrawn}
    remove_dead_letters(db, [each for each in letters if each in withdrawn])
    kept = [each for each in letters if each not in withdrawn]
    restore_dead_letters(db, queue, kept, now)
    return len(kept)


def _refuse(db: Connection, positions: Sequence[int]) -> None:
    first = positions[-REDELIVER_MAX]
    (at,) = db.execute("SELECT at FROM messages WHERE position = ?", (first,)).fetchone()
    raise TooManyEventsError(
        f"{len(positions)} events match, and at most {REDELIVER_MAX} are redelivered at once; the last {REDELIVER_MAX} "
        f"are those since {format_time(at)}"
    )
