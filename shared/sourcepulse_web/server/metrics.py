# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/metrics: what the gateway counts, for Prometheus, in its text format 0.0.4; no sample names a client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.web.resource import Resource

from sourcepulse.errors import SourcePulseError
from sourcepulse.relay.health.metrics import CONTENT_TYPE, quoted
from sourcepulse_web.stream.begin import AHEAD, MALFORMED, OLDER, UNKNOWN_LOG
from sourcepulse_web.webhooks.desk.card import Look
from sourcepulse_web.webhooks.send.outcome import Outcome

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.bridge.state import BridgeState
    from sourcepulse_web.services import HooksState, Services

#: Why streams end, and why requests are refused: each count begins at 0, so that an alert sees the first.
ENDS = ("broker-away", "log-replaced", "log-unreadable", "overload", "shutdown", "slow", "stalled", "withdrawn")
RESETS = (AHEAD, MALFORMED, OLDER, UNKNOWN_LOG)
ERRORS = (
    "answer-overload",
    "answer-stalled",
    "answer-withdrawn",
    "connections",
    "fault",
    "host",
    "malformed",
    "method",
    "size",
    "slow",
)
#: What an odd event may make fail.
FAULTS = ("banners", "before", "board", "rows", "seen", "sentence")

Sample = tuple[Mapping[str, str], float]


class Group(NamedTuple):
    """A metric with its samples."""

    name: str
    type: str
    help: str
    samples: Iterable[Sample]


class Metrics(Resource):
    """Answers with the figures of this moment."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", CONTENT_TYPE.encode())
        request.setHeader(b"cache-control", b"no-store")
        site: Any = request.site
        return "".join(_lines(groups(self._services, site.connections, site.errors))).encode()


def resource(services: Services) -> Resource:
    """Return what answers at /metrics."""
    return Metrics(services)


def groups(services: Services, connections: int, errors: Mapping[str, int]) -> Iterator[Group]:
    """Yield the metrics of this moment."""
    condition = services.condition()
    yield Group("build_info", "gauge", "The version of the gateway.", [({"version": services.version}, 1)])
    ready = condition.connected and not condition.log_problem and not condition.behind
    yield _gauge("ready", "1 if /ready answers 200, else 0.", ready)
    yield _gauge(
        "log_usable", "1 if the log can be read and the bridge can write it, else 0.", not condition.log_problem
    )
    yield _gauge("settings_refused", "1 if the configuration file is wrong, and former settings stay.",
                 bool(condition.settings_problem))  # fmt: skip
    yield _gauge("connections", "Open connections, of streams and of others.", connections)
    yield _counter(
        "refused_requests_total", "Requests that no page answered, or not to the end, by kind.", "kind", ERRORS, errors
    )
    yield from _of_streams(services)
    yield _gauge("read_lag_seconds", "How late the gateway reads what was appended to its log.", condition.late_s)
    yield from _of_log(services)
    help_ = "Events that the board passed over, because they are not as the contract has them."
    yield Group(
        "board_unreadable_events_total", "counter", help_, [({}, services.board.unreadable if services.board else 0)]
    )
    help_ = "What an odd event made fail: it was left out there, or shown without a sentence."
    yield _counter("faults_total", help_, "part", FAULTS, services.hub.faults.counts)
    if services.bridge is not None:
        yield from _of_bridge(services.bridge.now)
    if services.webhooks is not None and (hooks := services.webhooks.state()).is_on:
        yield from _of_hooks(hooks, services.clock())


def _of_streams(services: Services) -> Iterator[Group]:
    hub = services.hub
    counts: Mapping[str, int] = hub.counts
    help_ = "Clients of the streams: level with the log, or behind it."
    yield Group("clients", "gauge", help_, _labelled("state", hub.states))
    ended = {reason: number for reason, number in counts.items() if reason not in RESETS}
    yield _counter("streams_ended_total", "Streams that the gateway ended, by reason.", "reason", ENDS, ended)
    yield _gauge("clients_max", "How many streams are served at once.", services.settings().clients_max)
    resets = {reason: number for reason, number in counts.items() if reason in RESETS}
    help_ = "Clients that could not resume where they were, by reason."
    yield _counter("stream_resets_total", help_, "reason", RESETS, resets)


def _of_log(services: Services) -> Iterator[Group]:
    try:
        bounds = services.log.bounds()
        oldest = services.log.read(bounds.oldest - 1, limit=1)
        withdrawn = services.log.withdrawn()
        board = services.board.position if services.board else services.hub.position
    except SourcePulseError:
        # Named by /ready; without samples nothing is claimed.
        return
    places = {"oldest": bounds.oldest, "end": bounds.end, "read": services.hub.position, "board": board}
    yield Group("log_position", "gauge", "The oldest kept event, the last one appended, read, and on the board.",
                _labelled("place", places))  # fmt: skip
    help_ = "Events that were withdrawn because they are no longer public."
    yield Group("withdrawn_events_total", "counter", help_, [({}, withdrawn)])
    age = max(0.0, services.clock() - oldest[0].at) if oldest else 0.0
    yield _gauge("log_oldest_age_seconds", "How long ago the oldest kept event was appended; 0 for none.", age)


def _of_bridge(state: BridgeState) -> Iterator[Group]:
    yield _gauge("bridge_connected", "1 if the bridge reads its queue, else 0.", state.connected)
    yield _gauge("bridge_state_timestamp_seconds", "Since when it does, or does not.", state.since)
    yield _gauge("bridge_log_writable", "1 if the bridge can write the log, else 0.", not state.log_problem)
    for name, help_, number in (
        ("appended_events_total", "Events that were appended to the log and acknowledged.", state.appended),
        ("repeats_total", "Messages that the log had already.", state.repeats),
        ("rejected_messages_total", "Messages that are not events, set aside at the broker.", state.rejected),
        ("connections_total", "How often the bridge connected.", state.connections),
        ("broker_failures_total", "Lost connections and failed attempts to connect.", state.broker_failures),
        ("log_failures_total", "Failed attempts to write the log.", state.log_failures),
        ("interruptions_total", "How often the queue may have lost messages.", state.interruptions),
    ):
        yield Group(f"bridge_{name}", "counter", help_, [({}, number)])


def _of_hooks(hooks: HooksState, now: float) -> Iterator[Group]:
    figures = hooks.figures
    yield _gauge("hook_sender_up", "1 if the sender of webhooks runs and turns, else 0.", hooks.sender_up)
    help_ = "How often the sender was started."
    yield Group("hook_sender_starts_total", "counter", help_, [({}, hooks.sender_starts)])
    help_ = "Attempts to POST an event, by what came of them, since the gateway was started."
    yield _counter("hook_attempts_total", help_, "outcome", Outcome, figures.attempts)
    yield _gauge("hook_store_usable", "1 if the hook store can be read, else 0.", not figures.problem)
    if figures.problem:
        # Without samples nothing is claimed.
        return
    # One that was not tried yet counts as working, because only its attempts would show that.
    states = dict.fromkeys([each for each in Look if each is not Look.NOT_TRIED], 0) | dict(figures.states)
    yield Group("hooks", "gauge", "Webhooks, by state.", _labelled("state", states))
    yield _gauge("hook_events_waiting", "Events that are not delivered yet, summed over all hooks.", figures.waiting)
    age = 0.0 if figures.oldest_at is None else max(0.0, now - figures.oldest_at)
    yield _gauge("hook_oldest_age_seconds", "How long ago the oldest of them was appended; 0 for none.", age)
    yield _gauge(
        "hook_events_set_aside", "Events that were refused for good, and wait for an owner.", figures.set_aside
    )
    help_ = "Events that the log removed before they were delivered."
    yield _gauge("hook_events_lost", help_, figures.lost)


def _gauge(name: str, help_: str, value: float) -> Group:
    return Group(name, "gauge", help_, [({}, value)])


def _counter(name: str, help_: str, label: str, known: Iterable[str], counts: Mapping[str, int]) -> Group:
    return Group(name, "counter", help_, _labelled(label, dict.fromkeys(known, 0) | dict(counts)))


def _labelled(label: str, values: Mapping[str, int]) -> list[Sample]:
    return [({label: value}, number) for value, number in sorted(values.items())]


def _lines(found: Iterable[Group]) -> Iterator[str]:
    for group in found:
        name = f"sourcepulse_web_{group.name}"
        yield f"# HELP {name} {group.help}\n# TYPE {name} {group.type}\n"
        for labels, value in group.samples:
            pairs = ",".join(f'{label}="{quoted(text)}"' for label, text in labels.items())
            number = str(int(value)) if value == int(value) else repr(float(value))
            yield f"{name}{{{pairs}}} {number}\n" if pairs else f"{name} {number}\n"
