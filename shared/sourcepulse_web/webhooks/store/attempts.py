# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The attempts of the last week: recorded once per turn of the sender, found by hook and event, blanked if need be."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from sqlite3 import Connection
from typing import Any

from sourcepulse.brokers.file.envelopes import hash_of
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.store.file import REWRITE, StoreFile, known_number, number_of
from sourcepulse_web.webhooks.store.pace import HOUR_SECONDS, HOURS, median_of, step_of
from sourcepulse_web.webhooks.store.records import Delivered

KEEP_SECONDS = 7 * 86_400.0
#: How many attempts are kept of one event and hook, and of all; a million takes about 400 MB.
EVENT_ATTEMPTS_MAX = 20
ATTEMPTS_MAX = 1_000_000
#: How many rows one transaction removes at most. A call ends after this time; the next one goes on.
TRIM_ROWS = 1_000
TRIM_LIMIT_SECONDS = 0.25
#: The outcome of an attempt that the receiver accepted, see `send.outcome`.
DELIVERED = "delivered"
#: What is in place of a text about a withdrawn event.
BLANKED = "the event was withdrawn"
#: What is behind our reason where the event is public, and the answer to it has the number of a hidden bug.
BLANKED_TEXT = "its text is not kept, because it may name what is hidden"
#: Headers with numbers that no receiver repeats from an event; a bug 30 is not named by each answer of the 30th.
NUMBERED_HEADERS = ("date:", "content-length:")

_NUMBER = re.compile("[0-9]+")
_COLUMNS = ", ".join(
    "(SELECT name FROM hooks WHERE hooks.hook = attempts.hook)" if each.name == "hook" else each.name
    for each in fields(Attempt)
)
_NAMES = [each.name for each in fields(Attempt)]
_WRITTEN = [name for name in _NAMES if name != "number"]
_INSERT = (
    f"INSERT INTO attempts ({', '.join(_WRITTEN)}, event, named, sent_as) "  # noqa: S608 - names of ours
    f"VALUES ({'?, ' * len(_WRITTEN)}?, ?, ?) RETURNING number"
)
_SELECT = f"SELECT {_COLUMNS} FROM attempts"  # noqa: S608 - names of ours


class Attempts:
    """The attempts of all hooks; see `HookStore`.

    >>> store.attempts.record([attempt])
    [17]
    >>> store.attempts.of_hook("chat-room", limit=50)
    [Attempt(number=17, hook='chat-room', ...)]
    """

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def record(self, attempts: Sequence[Attempt]) -> list[int]:
        """Record attempts in one commit and return their numbers, 0 for one of a hook that was removed meanwhile."""
        with self._file.write(durable=False) as db:
            return write_attempts(db, attempts)

    def of_hook(self, name: str, limit: int, before: int | None = None) -> list[Attempt]:
        """Return the last attempts of a hook, those with a number below `before`, the newest first."""
        with self._file.read() as db:
            return _read(
                db,
                "WHERE hook = ? AND number < ? ORDER BY number DESC LIMIT ?",
                (number_of(db, name), 2**62 if before is None else before, limit),
            )

    def has_event(self, name: str) -> bool:
        """Return whether an attempt of a hook is kept that is none of a test."""
        with self._file.read() as db:
            row = db.execute(
                "SELECT 1 FROM attempts WHERE hook = ? AND position > 0 LIMIT 1", (number_of(db, name),)
            ).fetchone()
        return row is not None

    def of_event(self, source: str, id_: str, name: str | None = None) -> list[Attempt]:
        """Return the attempts for an event, of one hook or of all, the newest first."""
        with self._file.read() as db:
            where, values = "", []
            if name is not None:
                where, values = " AND hook = ?", [number_of(db, name)]
            return _read(
                db,
                f"WHERE event = ? AND source = ? AND id = ?{where} ORDER BY number DESC",
                (hash_of(source, id_), source, id_, *values),
            )

    def find(self, name: str, word: str) -> list[Attempt]:
        """Return the attempts of a hook that a word names, newest first: an event's id, a webhook id, or a number."""
        if any("\ud800" <= each <= "\udfff" for each in word):
            # Bytes of a command line that are not UTF-8: nothing is kept by such a word.
            return []
        with self._file.read() as db:
            hook = number_of(db, name)
            for column, text in (("sent_as", "webhook_id"), ("named", "id")):
                found = _read(
                    db,
                    f"WHERE {column} = ? AND {text} = ? AND hook = ? ORDER BY number DESC",
                    (hash_of(word), word, hook),
                )
                if found:
                    return found
            if word.isascii() and word.isdigit() and len(word) < 19:
                return _read(db, "WHERE number = ? AND hook = ?", (int(word), hook))
        return []

    def counts_after(self, number: int | None) -> tuple[int, dict[str, int]]:
        """Return the number of the last attempt, and how many came after `number`, by outcome; none after None."""
        with self._file.read() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'attempts'").fetchone()
            last = 0 if row is None else int(row[0])
            if number is None:
                return last, {}
            counts = db.execute(
                "SELECT outcome, count(*) FROM attempts WHERE number > ? AND number <= ? GROUP BY outcome",
                (number, last),
            ).fetchall()
        return last, dict(counts)

    def delivered(self, name: str, now: float) -> Delivered:
        """Return what the receiver of a hook accepted in the last 24 hours."""
        return self.delivered_of_all(now).get(name, Delivered())

    def delivered_of_all(self, now: float) -> dict[str, Delivered]:
        """Return the same for each hook of which something was accepted, by name; it costs a few milliseconds."""
        with self._file.read() as db:
            rows = db.execute(
                "SELECT name, step, sum(delivered) FROM hours JOIN hooks USING (hook) WHERE hour > ? "
                "GROUP BY name, step ORDER BY name, step",
                (int(now // HOUR_SECONDS) - HOURS,),
            ).fetchall()
        steps: dict[str, list[tuple[int, int]]] = {}
        for name, step, count in rows:
            steps.setdefault(name, []).append((step, count))
        return {name: Delivered(sum(count for _, count in each), median_of(each)) for name, each in steps.items()}

    def forget(self, events: Iterable[tuple[str, str]], now: float) -> int:
        """Blank what receivers answered to withdrawn events, by source and id; also of attempts that come later.

        Returns how many attempts were blanked. Nothing of it remains in the files, once `trim` was called as well.
        """
        blanked = 0
        with self._file.write(durable=False) as db:
            for source, id_ in events:
                event = hash_of(source, id_)
                db.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (event, now))
                blanked += db.execute(
                    "UPDATE attempts SET headers = '', excerpt = '', reason = ? "
                    "WHERE event = ? AND source = ? AND id = ? "
                    "AND (headers <> '' OR excerpt <> '' OR reason NOT IN ('', ?))",
                    (BLANKED, event, source, id_, BLANKED),
                ).rowcount
            if blanked:
                db.execute("UPDATE keeper SET scrub = ?", (REWRITE,))
        self._file.scrub_if_due()
        return blanked

    def forget_number(self, source: str, number: str, now: float) -> int:
        """Blank what receivers answered to events of a source that names a number; also of attempts that come later.

        Their reasons stay, because they quote no receiver. Returns how many attempts were blanked.
        """
        with self._file.write(durable=False) as db:
            db.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (_hash_of_number(source, number), now))
            found = [
                (_reason_without_text(reason), attempt)
                for attempt, reason, headers, excerpt in db.execute(
                    "SELECT number, reason, headers, excerpt FROM attempts "
                    "WHERE (excerpt <> '' OR headers <> '') AND source = ?",
                    (source,),
                )
                if number in _numbers_in(headers, excerpt)
            ]
            db.executemany("UPDATE attempts SET headers = '', excerpt = '', reason = ? WHERE number = ?", found)
            if found:
                db.execute("UPDATE keeper SET scrub = ?", (REWRITE,))
        self._file.scrub_if_due()
        return len(found)

    def forgotten(self, events: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return which events, by source and id, are known not to be public any more."""
        hashes = {hash_of(source, id_): (source, id_) for source, id_ in events}
        with self._file.read() as db:
            rows = db.execute(
                "SELECT event FROM forgotten WHERE event IN (SELECT value FROM json_each(?))",
                (json.dumps(list(hashes)),),
            ).fetchall()
        return {hashes[event] for (event,) in rows}

    def trim_forgotten(self, now: float, oldest_at: float) -> None:
        """Remove what is known of events that neither an attempt nor the log can show any more.

        `oldest_at` is when the oldest event was appended that the log has, also among those that are set aside.
        """
        with self._file.write(durable=False) as db:
            db.execute("DELETE FROM forgotten WHERE at < ?", (min(oldest_at, now - KEEP_SECONDS),))

    def trim(self, now: float) -> int:
        """Remove attempts that are too old or too many, in small steps, and return how many."""
        removed = 0
        until = time.monotonic() + TRIM_LIMIT_SECONDS
        while True:
            with self._file.write(durable=False) as db:
                db.execute("DELETE FROM hours WHERE hour <= ?", (int(now // HOUR_SECONDS) - HOURS,))
                # Counted by the numbers, because counting rows would read the whole table.
                count = db.execute(
                    "DELETE FROM attempts WHERE number IN (SELECT number FROM attempts ORDER BY number LIMIT ?) "
                    "AND (at < ? OR number <= (SELECT max(number) FROM attempts) - ?)",
                    (TRIM_ROWS, now - KEEP_SECONDS, ATTEMPTS_MAX),
                ).rowcount
            removed += count
            if count < TRIM_ROWS or time.monotonic() >= until:
                return removed


def write_attempts(db: Connection, attempts: Iterable[Attempt]) -> list[int]:
    """Write attempts in a transaction of the caller; return their numbers, 0 where there is no such hook."""
    numbers = []
    for attempt in attempts:
        hook = known_number(db, attempt.hook)
        if hook is None:
            numbers.append(0)
            continue
        event = hash_of(attempt.source, attempt.id)
        values: dict[str, Any] = {name: getattr(attempt, name) for name in _WRITTEN} | {"hook": hook}
        if _has_any(db, [event]):
            values |= {"headers": "", "excerpt": "", "reason": BLANKED if attempt.reason else ""}
        elif _names_hidden(db, attempt):
            values |= {"headers": "", "excerpt": "", "reason": _reason_without_text(attempt.reason)}
        row = db.execute(
            _INSERT, (*values.values(), event, hash_of(attempt.id), hash_of(attempt.webhook_id))
        ).fetchone()
        numbers.append(int(row[0]))
        db.execute(
            "DELETE FROM attempts WHERE event = ?1 AND hook = ?2 AND number <= (SELECT number FROM attempts "
            "WHERE event = ?1 AND hook = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)",
            (event, hook, EVENT_ATTEMPTS_MAX),
        )
        if attempt.outcome == DELIVERED and attempt.position:
            db.execute(
                "INSERT INTO hours VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET delivered = delivered + 1",
                (hook, int(attempt.at // HOUR_SECONDS), step_of(attempt.took_s)),
            )
    return numbers


def _names_hidden(db: Connection, attempt: Attempt) -> bool:
    """Return whether what was answered has the number of a bug that is hidden."""
    numbers = _numbers_in(attempt.headers, attempt.excerpt)
    return bool(numbers) and _has_any(db, [_hash_of_number(attempt.source, number) for number in numbers])


def _has_any(db: Connection, hashes: Sequence[int]) -> bool:
    found = db.execute(
        "SELECT 1 FROM forgotten WHERE event IN (SELECT value FROM json_each(?)) LIMIT 1", (json.dumps(hashes),)
    ).fetchone()
    return found is not None


def _reason_without_text(reason: str) -> str:
    return f"{reason}; {BLANKED_TEXT}" if reason else ""


def _numbers_in(headers: str, excerpt: str) -> set[str]:
    lines = [each for each in headers.split("\n") if not each.lower().startswith(NUMBERED_HEADERS)]
    return {number for text in (*lines, excerpt) for number in _NUMBER.findall(text)}


def _hash_of_number(source: str, number: str) -> int:
    return hash_of(source, "number", number)


def read_attempt(db: Connection, number: int) -> Attempt | None:
    """Return an attempt by its number; None if it is not kept any more."""
    found = _read(db, "WHERE number = ?", (number,))
    return found[0] if found else None


def _read(db: Connection, where: str, values: Sequence[object]) -> list[Attempt]:
    return list(_attempts(db.execute(f"{_SELECT} {where}", values)))


def _attempts(rows: Iterable[Sequence[Any]]) -> Iterator[Attempt]:
    for row in rows:
        yield Attempt(**dict(zip(_NAMES, row, strict=True)))
