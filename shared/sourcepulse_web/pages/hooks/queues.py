# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/hooks: the durable queues of the gateway's log and what waits in them, for the operator and to be read only."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.file.queue_reports import LocalQueues
from sourcepulse.brokers.queues import QueueReport
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import ConfigError, NothingThereError, SourcePulseError
from sourcepulse.events.event import format_time
from sourcepulse.events.topics import check_pattern
from sourcepulse_web.server.asker import is_operator
from sourcepulse_web.server.page import bad_request, render, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

#: A queue that is so full will soon drop what is oldest.
FULL = 0.8
PATTERNS_MAX = 10
PATTERN = "hg.push.#"
QUEUE = "my-tool"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_NOT_YOURS = (
    "This list is for the one who runs the gateway: open it on the gateway's own machine, at its own address and not "
    "through a proxy, where no `hosts` are set, or run `sourcepulse queues` there."
)


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


class Hooks(Resource):
    """Answers the operator with the list."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def render_GET(self, request: Request) -> bytes | int:
        if not is_operator(request, self._services.settings()):
            return sentence(request, 403, _NOT_YOURS)
        try:
            patterns = [
                check_pattern(each.decode("utf-8", "replace")) for each in (request.args or {}).get(b"key", []) if each
            ]
        except ConfigError as error:
            return bad_request(request, f"key= cannot be used: {error}.")
        if len(patterns) > PATTERNS_MAX:
            return bad_request(request, f"key= may be repeated {PATTERNS_MAX} times at most.")
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        reading = deferToThread(self._read)
        reading.addCallback(lambda found: None if gone else self._finish(request, found, patterns))
        reading.addErrback(lambda failure: None if gone else _fail(request, failure))
        return NOT_DONE_YET

    def render_POST(self, request: Request) -> bytes:
        return sentence(request, 403, "Hooks are for users whom a trusted proxy names; see [webhooks] proxy_header.")

    def _url(self) -> BrokerUrl:
        return BrokerUrl.parse(f"file://{self._services.log.path}")

    def _read(self) -> list[Row]:
        """Read the queues with a connection of their own, because counting takes a while where much waits."""
        try:
            reports = LocalQueues(self._url(), {"": self._services.settings().exchange}).read()
        except NothingThereError:
            return []
        now = time.time()
        return [row(report, now) for report in reports if report.durable and report.streams]

    def _finish(self, request: Request, found: list[Row], patterns: list[str]) -> None:
        values: dict[str, Any] = {
            "here": "hooks",
            "rows": found,
            "patterns": patterns,
            "programs": programs(self._url(), self._services.settings().exchange, patterns),
        }
        request.write(render(request, self._services, "hooks.html", **values))
        request.finish()


def _fail(request: Request, failure: Failure) -> None:
    if not failure.check(SourcePulseError):
        request.processingFailed(failure)
        return
    request.write(sentence(request, 503, f"The queues cannot be read now: {failure.value}."))
    request.finish()


def resource(services: Services) -> Resource:
    """Return what answers at /hooks."""
    return Hooks(services)
