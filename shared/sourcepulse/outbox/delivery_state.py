# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an outbox records about the delivery of each stream: where it goes and went, and when it is tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from sqlite3 import Connection

from sourcepulse.errors import SourcePulseError, VisibilityUnknownError
from sourcepulse.events.event import PUBLIC
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.tables import add_to_note, ensure_delivery, note, notes, remove_notes, set_notes

#: Each is a decision of an operator; beyond this many the oldest are forgotten.
PLACES_MAX = 1_000

#: Rows of the table `meta`, by stream: every place that it was ever sent to, the digest of the settings with which an
#: attempt failed, the reason of the last failure, and the number of failures of each reason.
_PLACES = "places of "
_TRIED = "tried "
_REASON = "last reason of "
_FAILURES = "failures of "
#: The reasons for which it was reported as degraded, as JSON.
_DEGRADED = "degraded "
#: Since when no event reached a queue.
_UNROUTABLE_SINCE = "unroutable since "
#: And how many events had been delivered at some moments, as JSON: a list of times and numbers, oldest first.
_SAMPLES = "samples of "
#: Between two samples, and how many are kept: enough for RATE_MAX_SECONDS.
SAMPLE_SECONDS = 10.0
RATE_MAX_SECONDS = 300.0
_SAMPLES_MAX = int(RATE_MAX_SECONDS / SAMPLE_SECONDS) + 2


def bound_broker(outbox: Outbox, stream: str) -> str | None:
    """Return the broker that a stream was last delivered to, without password; None before the first delivery."""
    with outbox.reading() as db:
        row = db.execute("SELECT broker FROM deliveries WHERE stream = ?", (stream,)).fetchone()
    return row[0] if row else None


def bind_broker(outbox: Outbox, stream: str, broker: str) -> None:
    """Record the broker of a stream."""
    with outbox.writing() as db:
        ensure_delivery(db, stream)
        db.execute("UPDATE deliveries SET broker = ? WHERE stream = ?", (broker, stream))


def unbind_broker(outbox: Outbox, stream: str) -> None:
    """Forget the broker of a stream; the next one that confirms an event is recorded."""
    with outbox.writing() as db:
        db.execute(
            "UPDATE deliveries SET broker = NULL, failures = 0, next_attempt_at = NULL WHERE stream = ?", (stream,)
        )


def places(outbox: Outbox, stream: str) -> tuple[str, ...]:
    """Return all brokers that a stream was ever sent to, without passwords, oldest first.

    Old subscribers may still listen there, even after the stream moved.
    """
    with outbox.reading() as db:
        return _places(db, stream)


def remember_place(outbox: Outbox, stream: str, broker: str) -> None:
    """Record the new broker of a stream, in addition to its earlier ones."""
    with outbox.writing() as db:
        known = [place for place in _places(db, stream) if place != broker]
        set_notes(db, {_PLACES + stream: json.dumps([*known, broker][-PLACES_MAX:])})


def reported_reasons(outbox: Outbox, stream: str) -> list[str] | None:
    """Return the reasons for which a relay last reported a stream as degraded; None if it is not."""
    with outbox.reading() as db:
        kept = note(db, _DEGRADED + stream)
    return [str(reason) for reason in json.loads(kept)] if kept else None


def record_reported(outbox: Outbox, stream: str, reasons: list[str] | None) -> None:
    """Record the reasons for which a stream was reported as degraded, None when it has recovered."""
    with outbox.writing() as db:
        if reasons is None:
            remove_notes(db, [_DEGRADED + stream])
        else:
            set_notes(db, {_DEGRADED + stream: json.dumps(reasons)})


def _places(db: Connection, stream: str) -> tuple[str, ...]:
    kept = note(db, _PLACES + stream)
    # An outbox from an earlier version has only the last one.
    last = db.execute("SELECT broker FROM deliveries WHERE stream = ?", (stream,)).fetchone()
    return tuple(dict.fromkeys([*(json.loads(kept) if kept else ()), *filter(None, last or ())]))


def record_failure(
    outbox: Outbox,
    stream: str,
    error: SourcePulseError,
    *,
    retry_in: Callable[[int], float],
    settings: str | None = None,
) -> float:
    """Record and count a failed attempt and return the seconds until the next, `retry_in(failures so far)`.

    `settings` is a digest of the settings with which it failed.
    """
    now = outbox.now()
    with outbox.writing(durable=False) as db:
        ensure_delivery(db, stream)
        (failures,) = db.execute("SELECT failures FROM deliveries WHERE stream = ?", (stream,)).fetchone()
        wait_s = retry_in(failures)
        db.execute(
            "UPDATE deliveries SET failures = failures + 1, next_attempt_at = ?, last_error = ?, "
            "last_error_at = ? WHERE stream = ?",
            (now + wait_s, str(error), now, stream),
        )
        set_notes(db, {_REASON + stream: error.reason})
        add_to_note(db, f"{_FAILURES}{stream} {error.reason}", 1)
        if settings is not None:
            set_notes(db, {_TRIED + stream: settings})
    return wait_s


def count_failure(outbox: Outbox, stream: str, error: SourcePulseError) -> None:
    """Count a failure that no attempt at the broker had, because the outbox itself could not be used."""
    with outbox.writing(durable=False) as db:
        add_to_note(db, f"{_FAILURES}{stream} {error.reason}", 1)


def failures_by_reason(db: Connection, stream: str) -> dict[str, int]:
    """Return how often a stream failed since the outbox was made, by the reason of the error."""
    prefix = f"{_FAILURES}{stream} "
    return {name.removeprefix(prefix): int(value) for name, value in notes(db, prefix).items()}


def is_sent(db: Connection, stream: str) -> bool:
    """Return whether a stream is to be sent: restricted events are not before a relay had a broker for them."""
    return stream == PUBLIC or bool(_places(db, stream) or failures_by_reason(db, stream))


def last_reason(db: Connection, stream: str) -> str | None:
    """Return the reason of the last failure of a stream, None if there was none."""
    return note(db, _REASON + stream)


def record_delivery(db: Connection, stream: str, number: int, *, unroutable: int, now: float) -> bool:
    """Record that the broker confirmed events; return whether they are the first to reach no queue."""
    ensure_delivery(db, stream)
    _sample(db, stream, now)
    db.execute(
        "UPDATE deliveries SET delivered = delivered + ?, unroutable = unroutable + ?, "
        "last_delivery_at = ?, failures = 0, next_attempt_at = NULL WHERE stream = ?",
        (number, unroutable, now, stream),
    )
    if unroutable < number:
        remove_notes(db, [_UNROUTABLE_SINCE + stream])
        return False
    is_new = unroutable_since(db, stream) is None
    if is_new:
        set_notes(db, {_UNROUTABLE_SINCE + stream: str(now)})
    return is_new


def unroutable_since(db: Connection, stream: str) -> float | None:
    """Return since when no event of a stream reached a queue; None if the last ones did."""
    kept = note(db, _UNROUTABLE_SINCE + stream)
    return None if kept is None else float(kept)


def record_contact(outbox: Outbox, stream: str) -> None:
    """Record that the broker of a stream answers again after a failure that was its own."""
    with outbox.reading() as db:
        row = db.execute("SELECT 1 FROM deliveries WHERE stream = ? AND failures > 0", (stream,)).fetchone()
        if row is None or last_reason(db, stream) == VisibilityUnknownError.reason:
            return
    with outbox.writing(durable=False) as db:
        db.execute("UPDATE deliveries SET failures = 0, next_attempt_at = NULL WHERE stream = ?", (stream,))


def next_attempt_in(outbox: Outbox, stream: str) -> float:
    """Return the seconds until the stream may be tried again; 0 if now, or if the clock was set back."""
    with outbox.reading() as db:
        row = db.execute("SELECT last_error_at, next_attempt_at FROM deliveries WHERE stream = ?", (stream,)).fetchone()
    if row is None or row[1] is None:
        return 0.0
    failed_at, next_attempt_at = row
    now = outbox.now()
    return float(next_attempt_at - now) if failed_at <= now < next_attempt_at else 0.0


def failed_settings(outbox: Outbox, stream: str) -> str | None:
    """Return the digest of the settings with which the last attempt failed."""
    with outbox.reading() as db:
        return note(db, _TRIED + stream)


def _sample(db: Connection, stream: str, now: float) -> None:
    """Record how many events had been delivered before an acknowledgement, at most each SAMPLE_SECONDS.

    So the rate costs no write for each event, and after the last sample nothing was delivered for longer than that.
    """
    samples = [each for each in _samples(db, stream) if each[0] <= now]
    if not samples or now - samples[-1][0] >= SAMPLE_SECONDS:
        (delivered,) = db.execute("SELECT delivered FROM deliveries WHERE stream = ?", (stream,)).fetchone()
        set_notes(db, {_SAMPLES + stream: json.dumps([*samples, (now, delivered)][-_SAMPLES_MAX:])})


def rate(db: Connection, stream: str, delivered: int, now: float, period_s: float) -> float:
    """Return how many events a second were delivered during the last seconds; `delivered` counts all until now.

    The period begins with a sample, so it may be longer by SAMPLE_SECONDS.
    """
    since = now - period_s - SAMPLE_SECONDS
    first = next((each for each in _samples(db, stream) if since <= each[0] <= now), None)
    return 0.0 if first is None else round((delivered - first[1]) / max(period_s, now - first[0]), 3)


def _samples(db: Connection, stream: str) -> list[tuple[float, int]]:
    kept = note(db, _SAMPLES + stream)
    return [(at, number) for at, number in json.loads(kept)] if kept else []
