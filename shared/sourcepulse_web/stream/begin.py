# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Where a stream begins: behind the last event that the client received, at a time, or now."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sourcepulse.errors import ConfigError, quoted
from sourcepulse_web.stream.ids import POSITION_MAX, Place, parse_id
from sourcepulse_web.stream.ports import Bounds, Log

#: Reasons of a `reset`: the id is not one; it is of another log; of a position that this log has not reached; what
#: follows it is no longer kept.
MALFORMED, UNKNOWN_LOG, AHEAD, OLDER = "malformed", "unknown-log", "ahead", "older-than-kept"
#: How much of what was asked for a `reset` repeats.
ASKED_MAX_CHARACTERS = 128
_SPAN = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_POSITION = re.compile(r"[0-9]{1,19}", re.ASCII)


class Since(NamedTuple):
    """A time in seconds since 1970, a position, or a place in a log; and as it was asked for."""

    asked: str
    time: float | None = None
    position: int | None = None
    place: Place | None = None


class Start(NamedTuple):
    """A stream sends what follows `position`, and names what events after `side` withdrew."""

    position: int
    side: int
    reset: dict[str, Any] | None = None


def parse_since(text: str, now: float, *, name: str = "since") -> Since:
    """Return what a parameter asks for; ConfigError with one sentence."""
    place = parse_id(text)
    if place is not None:
        return Since(text, place=place)
    if _POSITION.fullmatch(text) and int(text) <= POSITION_MAX:
        return Since(text, position=int(text))
    span = _SPAN.fullmatch(text)
    if span is not None:
        return Since(text, time=now - timedelta(**{_SPANS[span[2]]: int(span[1])}).total_seconds())
    try:
        # In a query, a plus that is not escaped arrives as a space.
        moment = datetime.fromisoformat(re.sub(r" (\d\d:?\d\d)$", r"+\1", text))
        if moment.tzinfo is not None:
            return Since(text, time=moment.timestamp())
    except (ValueError, OverflowError):
        pass
    raise ConfigError(
        f"{name}={quoted(text)} is not a time with its zone (2026-11-29T12:00:00Z), a time before now (30m, 24h, 2d), "
        "a position, or an id of this stream"
    )


def start_of(log: Log, *, last_id: str, since: Since | None) -> Start:
    """Return where a stream begins, with a reset if that is not where the client asked for.

    Without an id and a time it begins now. After a reset the stream begins where `since=` says, else with
    the oldest event that is kept: what comes twice is recognised by source and id, what is missing is not.
    """
    bounds = log.bounds()
    if last_id:
        place = parse_id(last_id)
        wrong = (MALFORMED, None) if place is None else _wrong(log.token, bounds, place)
        if place is not None and wrong is None:
            return Start(place.position, place.position)
        again = _oldest(bounds) if since is None else _start_since(log, bounds, since)
        return _with_reset(again, bounds, last_id, wrong)
    if since is not None:
        return _start_since(log, bounds, since)
    return Start(bounds.end, bounds.end)


def reset_document(
    reason: str, asked: str, *, oldest: int, end: int, lost: int | None, position: int
) -> dict[str, Any]:
    """Return the JSON of a reset: `lost` positions at least, None if that cannot be known."""
    if len(asked) > ASKED_MAX_CHARACTERS:
        asked = asked[:ASKED_MAX_CHARACTERS] + "..."
    return {"reason": reason, "asked": asked, "oldest": oldest, "end": end, "lost": lost, "position": position}


def _start_since(log: Log, bounds: Bounds, since: Since) -> Start:
    if since.time is not None:
        position = log.position_at(since.time)
        start = Start(position, bounds.end)
        if bounds.oldest > 1 and position < bounds.oldest:
            first = log.read(bounds.oldest - 1, limit=1)
            if first and since.time < first[0].at:
                return _with_reset(start, bounds, since.asked, (OLDER, None))
        return start
    place = since.place if since.place is not None else Place(log.token, since.position or 0)
    wrong = _wrong(log.token, bounds, place)
    if wrong is not None:
        return _with_reset(_oldest(bounds), bounds, since.asked, wrong)
    return Start(place.position, place.position)


def _oldest(bounds: Bounds) -> Start:
    return Start(bounds.oldest - 1, bounds.oldest - 1)


def _wrong(token: str, bounds: Bounds, place: Place) -> tuple[str, int | None] | None:
    if place.token != token:
        return UNKNOWN_LOG, None
    if place.position > bounds.end:
        return AHEAD, None
    if place.position < bounds.oldest - 1:
        return OLDER, bounds.oldest - 1 - place.position
    return None


def _with_reset(start: Start, bounds: Bounds, asked: str, wrong: tuple[str, int | None] | None) -> Start:
    reason, lost = wrong or (MALFORMED, None)
    document = reset_document(reason, asked, oldest=bounds.oldest, end=bounds.end, lost=lost, position=start.position)
    return Start(start.position, min(start.side, bounds.oldest - 1), document)
