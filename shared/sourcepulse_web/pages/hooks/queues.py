# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The durable queues of the gateway's log and what waits in them, for the operator and to be read only."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.file.queue_reports import LocalQueues
from sourcepulse.brokers.queues import QueueReport
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import NothingThereError, SourcePulseError
from sourcepulse.events.event import format_time
from sourcepulse_web.pages.hooks.answers import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sourcepulse_web.pages.hooks.desks import Desks
    from sourcepulse_web.services import Services

#: A queue that is so full will soon drop what is oldest.
FULL = 0.8
PATTERN = "hg.push.#"
QUEUE = "my-tool"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class State(NamedTuple):
    """The state of a queue: a symbol, a class and a word."""

    symbol: str
    look: str
    word: str


WORKING = State("●", "passed", "working")
FULL_SOON = State("△", "warnings", "filling up")
UNREAD = State("\u2013", "skipped", "not read now")


class Row(NamedTuple):
    """One queue, as the page shows it."""

    name: str
    patterns: tuple[str, ...]
    state: State
    waiting: int
    oldest: str
    used: str
    used_at: str | None
    dropped: int
    dead: int
    withdrawn: int


def row(report: QueueReport, now: float) -> Row:
    """Return a queue as the page shows it."""
    filled = report.filled or 0.0
    used_at = report.last_consumer_at
    return Row(
        name=report.name,
        patterns=report.patterns,
        state=FULL_SOON if filled >= FULL else WORKING if report.consumers else UNREAD,
        waiting=report.depth,
        oldest=_age(report.oldest_at, now) if report.depth else "",
        used="now" if report.consumers else f"{_age(used_at, now)} ago" if used_at is not None else "",
        used_at=None if used_at is None else format_time(used_at),
        dropped=report.dropped or 0,
        dead=report.dead or 0,
        withdrawn=report.withdrawn or 0,
    )


def _age(moment: float | None, now: float) -> str:
    if moment is None:
        return "not known"
    age = max(0, int(now - moment))
    return next((f"{age // unit} {name}" for unit, name in _UNITS if age >= unit), "0 s")


class Programs(NamedTuple):
    """How a queue is made: by a program or in a terminal."""

    python: str
    terminal: str


def programs(log: BrokerUrl, exchange: str, patterns: Sequence[str]) -> Programs:
    """Return what makes a queue for these patterns."""
    url, topics = str(log), list(patterns) or [PATTERN]
    other = "" if exchange == DEFAULT_EXCHANGE else f", exchange={exchange!r}"
    python = (
        "from sourcepulse import Consumer\n\n"
        f"url = {url!r}\ntopics = {topics!r}\n"
        f"events = Consumer(\n    url, topics=topics,\n    queue={QUEUE!r}, durable=True{other},\n)\n"
        "for event in events:\n"
        "    print(event.type, event.subject)\n"
    )
    words = ["sourcepulse", "tail", "--broker", url, "--durable", QUEUE]
    words += [] if exchange == DEFAULT_EXCHANGE else ["--exchange", exchange]
    return Programs(python, shlex.join([*words, *topics]) + "\n")


async def queue_values(services: Services, desks: Desks, patterns: Sequence[str]) -> dict[str, Any]:
    """Return what the page of the operator shows of the queues.

    Raises RefusedError if they cannot be read now, and BusyError if he asks for too much at once.
    """
    url, exchange = BrokerUrl.parse(f"file://{services.log.path}"), services.settings().exchange
    rows = await desks.call("", lambda: _read(url, exchange))
    return {"rows": rows, "patterns": patterns, "programs": programs(url, exchange, patterns)}


def _read(url: BrokerUrl, exchange: str) -> list[Row]:
    """Read the queues with a connection of their own, because counting takes a while where much waits."""
    try:
        reports = LocalQueues(url, {"": exchange}).read()
    except NothingThereError:
        return []
    except SourcePulseError as error:
        raise RefusedError(503, f"The queues cannot be read now: {error}.") from error
    now = time.time()
    return [row(report, now) for report in reports if report.durable and report.streams]
