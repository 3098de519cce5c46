# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A state as lines for a terminal: the verdict, what is wrong, then every figure with its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sourcepulse.events.safe_text import plain
from sourcepulse.operations.status.state import seconds_between
from sourcepulse.operations.status.verdict import (
    DEFAULT_LIMITS,
    Limits,
    count,
    duration,
    findings,
    is_hung,
    still_s,
    verdict,
    waiting_events,
)

#: How many sources are listed; those with pending or buried events come first.
SOURCES_MAX = 50
_NAME_WIDTH = 11
_INDENT = " " * _NAME_WIDTH


def lines(state: dict[str, Any], limits: Limits = DEFAULT_LIMITS, *, before: dict[str, Any] | None = None) -> list[str]:
    """Return the lines; with the state `before`, those of sources show their rate since then."""
    out = [verdict(state, limits)]
    found = findings(state, limits)
    if len(found) > 1:
        out += [_line("trouble", finding.sentence) for finding in found]
    out += [
        _line("outbox", plain(state["outbox"])),
        _line("epoch", state["epoch"] or "none before the first event"),
        _line("relay", _relay(state)),
        _line("kept", f"{count(state['payloads_kept'], 'payload')} for replay, {state['payload_bytes_kept']} bytes"),
    ]
    for name, stream in state["streams"].items():
        out += _stream(name, stream, state["now"])
    if state["replays_requested"]:
        waits = "are pending" if state["relay_running"] else "are pending, and no relay runs"
        out.append(_line("replays", f"{state['replays_requested']} {waits}"))
    out += _sources(state, before)
    out += [_line("origin", f"{origin['kind']} {plain(origin['location'])}") for origin in state["origins"]]
    errors = {**state["collect_errors"], "metrics file": state["metrics_file_errors"]}
    if any(errors.values()):
        counted = ", ".join(f"{plain(kind)} {number}" for kind, number in errors.items() if number)
        out.append(_line("errors", f"{counted}, since the outbox was made"))
    return out


def _line(name: str, text: str) -> str:
    return f"{name:{_NAME_WIDTH}}{text}"


def _relay(state: dict[str, Any]) -> str:
    if state["relay_running"]:
        turned = f"its loop turned {duration(still_s(state))} ago"
        return f"hung, {turned}" if is_hung(state) else f"running, {turned}"
    if state["relay_on_demand"]:
        return "not running; a push starts it"
    return "not running" + (", and events wait" if waiting_events(state) else "")


def _stream(name: str, stream: Mapping[str, Any], now: str) -> Iterator[str]:
    if stream["broker"] is None and not stream["pending"] and not stream["buried"]:
        return
    if not stream["is_sent"]:
        yield _line(name, f"{count(stream['pending'], 'event')} kept; no relay has a broker for them")
        return
    broker, _, exchange = (stream["broker"] or "").rpartition(" ")
    yield _line(
        name, f"broker {plain(broker)}, exchange {plain(exchange)}" if broker else "no broker has confirmed yet"
    )
    oldest = "" if stream["oldest_pending_age_s"] is None else f", oldest {duration(stream['oldest_pending_age_s'])}"
    yield (
        f"{_INDENT}{stream['pending']} pending{oldest}; {stream['delivered']} delivered, {stream['unroutable']} of "
        f"them to no queue; {stream['buried']} buried"
    )
    last = stream["last_delivery_at"]
    confirmed = f"; last confirmed {duration(seconds_between(last, now))} ago" if last else ""
    rates = f"{stream['rate_60s']:.2f}/s in the last minute, {stream['rate_300s']:.2f}/s in the last 5"
    yield f"{_INDENT}{rates}{confirmed}"
    if limits := _unenforced_limits(stream["broker"]):
        yield f"{_INDENT}{limits}"
    if stream["unroutable_since"] is not None:
        yield (
            f"{_INDENT}note: events reach no queue since {stream['unroutable_since']}: nothing is subscribed, "
            "or the exchange and its bindings were removed"
        )
    if stream["last_error"] is not None:
        yield f"{_INDENT}{_last_error(stream, now)}"


def _last_error(stream: Mapping[str, Any], now: str) -> str:
    ago = duration(seconds_between(stream["last_error_at"], now))
    error = f"{plain(stream['last_error'])} ({stream['last_error_reason'] or 'failed'})"
    if not stream["failures"]:
        return f"last error {ago} ago, over: {error}"
    again = max(0.0, seconds_between(now, stream["next_attempt_at"])) if stream["next_attempt_at"] else 0.0
    failures = count(stream["failures"], "failure")
    return f"trouble: {failures} since then, the last {ago} ago: {error}; next attempt in {again:.0f} s"


def _sources(state: dict[str, Any], before: dict[str, Any] | None) -> Iterator[str]:
    # Numbers of a former epoch matter only while something of it waits.
    rows = [row for row in state["sources"] if row["epoch"] == state["epoch"] or row["pending"] or row["buried"]]
    rows.sort(key=lambda row: (-row["pending"], -row["buried"], row["source"]))
    known = {} if before is None else {(row["source"], row["epoch"]): row["confirmed"] for row in before["sources"]}
    passed_s = 0.0 if before is None else seconds_between(before["now"], state["now"])
    for row in rows[:SOURCES_MAX]:
        parts = [f"{row['confirmed']} of {row['sequence']} confirmed"]
        if row["pending"]:
            parts.append(f"{row['pending']} pending, oldest {duration(row['oldest_pending_age_s'])}")
        if row["buried"]:
            parts.append(f"{row['buried']} buried")
        if passed_s > 0:
            done = row["confirmed"] - known.get((row["source"], row["epoch"]), row["confirmed"])
            parts.append(f"{max(0, done) / passed_s:.1f}/s")
        yield _line("source", f"{plain(row['source'])}: {', '.join(parts)}")
    if len(rows) > SOURCES_MAX:
        yield _line("source", f"and {len(rows) - SOURCES_MAX} more; --json lists all")


def _unenforced_limits(broker: str | None) -> str:
    """Return a note on queue limits that this broker does not enforce for a client; empty if it enforces all."""
    scheme = (broker or "").partition(":")[0]
    if scheme.endswith("+activemq"):
        return "ActiveMQ clients cannot limit their queues: only the broker's policies bound a forgotten one"
    return ""
