# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The figures of an outbox and its relay as text for Prometheus, in its text format 0.0.4.

Every sample has the label `outbox`, because node_exporter joins the files of several outboxes into one scrape, and two
samples with the same labels make it drop all of them. No sample has a time: the collector would reject the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from sourcepulse.errors import (
    AnnouncementError,
    BrokerUnavailableError,
    OutboxLockedError,
    OutboxWriteError,
    SourcePulseError,
    VisibilityUnknownError,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: How many sources have samples of their own; the rest is one, with the source OTHER_SOURCES.
SOURCES_MAX = 100
OTHER_SOURCES = "other"
#: Kinds of sources whose count of errors begins at 0: an alert sees no increase from nothing to 1.
_KINDS = ("bugzilla", "buildbot", "hg")
_STREAMS = ("public", "restricted")

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


class RelayState(NamedTuple):
    """When the loops of the last relay turned, None if none ever ran, and whether pushes start it."""

    last_loop_at: float | None
    on_demand: bool


class Metric(NamedTuple):
    """A name, its type, and its help, which is the same in every file."""

    name: str
    type: str
    help: str


_OUTBOX, _RELAY, _SOURCE = "sourcepulse_outbox_", "sourcepulse_relay_", "sourcepulse_source_"
BUILD_INFO = Metric("sourcepulse_build_info", "gauge", "The version of sourcepulse that wrote these metrics.")
PENDING = Metric(_OUTBOX + "pending_events", "gauge", "Events that no broker has confirmed yet.")
OLDEST = Metric(
    _OUTBOX + "oldest_pending_age_seconds",
    "gauge",
    "How long the oldest pending event has waited; 0 if none waits, or if no relay was ever to send this stream.",
)
BURIED = Metric(_OUTBOX + "buried_events", "gauge", "Events that were refused and set aside.")
PROBLEMS = Metric(_OUTBOX + "problems", "gauge", "Problems that an administrator must correct; status names them.")
KEPT = Metric(_OUTBOX + "payload_bytes", "gauge", "Bytes of the events in the outbox, those kept for replay included.")
DELIVERED = Metric(_RELAY + "delivered_events_total", "counter", "Events that the broker confirmed.")
UNROUTABLE = Metric(
    _RELAY + "unroutable_events_total", "counter", "Of these, events that reached no queue, where a broker reports it."
)
FAILURES = Metric(_RELAY + "failures_total", "counter", "Failed attempts to deliver, by the reason of the failure.")
LAST_DELIVERY = Metric(
    _RELAY + "last_delivery_timestamp_seconds", "gauge", "When the broker last confirmed an event; 0 for never."
)
LAST_LOOP = Metric(
    _RELAY + "last_loop_timestamp_seconds",
    "gauge",
    "When all delivering loops of the relay had last turned; 0 for never.",
)
ON_DEMAND = Metric(_RELAY + "on_demand", "gauge", "1 if pushes start the relay, which ends when it is idle; else 0.")
COLLECT_ERRORS = Metric(
    "sourcepulse_collect_errors_total",
    "counter",
    "What could not be collected whole from a kind of source: failed sweeps, quarantined copies, buried rows.",
)
FILE_ERRORS = Metric(
    _RELAY + "metrics_file_errors_total", "counter", "How often the relay could not write the file of its metrics."
)
SOURCE_PENDING = Metric(_SOURCE + "pending_events", "gauge", "Events of a source that no broker has confirmed yet.")
SOURCE_OLDEST = Metric(
    _SOURCE + "oldest_pending_age_seconds", "gauge", "How long the oldest pending event of a source has waited."
)
SOURCE_BURIED = Metric(_SOURCE + "buried_events", "gauge", "Events of a source that were refused and set aside.")


def metrics(figures: Mapping[str, Any], relay: RelayState, *, version: str, per_source: bool = False) -> str:
    """Return the text of one outbox; `figures` are those of `outbox.queries.figures`.

    With `per_source` the SOURCES_MAX sources that have most pending events are named, and the rest is summed up.
    """
    streams: Mapping[str, Mapping[str, Any]] = figures["streams"]
    groups: list[tuple[Metric, Iterable[Sample]]] = [
        (BUILD_INFO, [({"version": version}, 1)]),
        (PENDING, _of_streams(streams, "pending")),
        (OLDEST, [({"stream": name}, _age(stream)) for name, stream in streams.items()]),
        (BURIED, _of_streams(streams, "buried")),
        (PROBLEMS, [({}, len(figures["problems"]))]),
        (KEPT, [({}, figures["payload_bytes_kept"])]),
        (DELIVERED, _of_streams(streams, "delivered")),
        (UNROUTABLE, _of_streams(streams, "unroutable")),
        (FAILURES, _failures(streams)),
        (LAST_DELIVERY, [({"stream": name}, _moment(each["last_delivery_at"])) for name, each in streams.items()]),
        (LAST_LOOP, [({}, relay.last_loop_at or 0)]),
        (ON_DEMAND, [({}, relay.on_demand)]),
        (COLLECT_ERRORS, _collect_errors(figures)),
        (FILE_ERRORS, [({}, figures["metrics_file_errors"])]),
    ]
    if per_source:
        groups += _of_sources(figures["sources"])
    common = {"outbox": str(figures["outbox"])}
    return "".join(chain.from_iterable(_lines(metric, samples, common) for metric, samples in groups))


def failure_reasons() -> list[str]:
    """Return the reasons for which a delivery usually fails; their counts begin at 0."""
    kinds: list[type[SourcePulseError]] = [BrokerUnavailableError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    kinds += [AnnouncementError, OutboxLockedError, OutboxWriteError, VisibilityUnknownError]
    return sorted({kind.reason for kind in kinds})


def _of_streams(streams: Mapping[str, Mapping[str, Any]], member: str) -> Iterable[Sample]:
    return [({"stream": name}, stream[member]) for name, stream in streams.items()]


def _age(stream: Mapping[str, Any]) -> float:
    return (stream["oldest_pending_age_s"] or 0) if stream["is_sent"] else 0


def _failures(streams: Mapping[str, Mapping[str, Any]]) -> Iterable[Sample]:
    for name, stream in streams.items():
        counted = dict.fromkeys(failure_reasons(), 0) | stream["failures_by_reason"]
        yield from (({"stream": name, "reason": reason}, number) for reason, number in sorted(counted.items()))


def _collect_errors(figures: Mapping[str, Any]) -> Iterable[Sample]:
    counted = (
        dict.fromkeys([*_KINDS, *(origin["kind"] for origin in figures["origins"])], 0) | figures["collect_errors"]
    )
    return [({"kind": kind}, number) for kind, number in sorted(counted.items())]


def _of_sources(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Metric, Iterable[Sample]]]:
    # A source has a row for each epoch; only what waits since a repair is in a former one.
    sources: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        known = sources.setdefault((row["stream"], row["source"]), [0, 0, 0])
        known[0] += row["pending"]
        known[1] = max(known[1], row["oldest_pending_age_s"] or 0)
        known[2] += row["buried"]
    ordered = sorted(sources.items(), key=lambda item: (-item[1][0], item[0]))
    named = sorted(ordered[:SOURCES_MAX])
    for stream in _STREAMS:
        rest = [values for (its, _), values in ordered[SOURCES_MAX:] if its == stream]
        if rest:
            pending, ages, buried = zip(*rest, strict=True)
            named.append(((stream, OTHER_SOURCES), [sum(pending), max(ages), sum(buried)]))
    return [
        (metric, [({"stream": stream, "source": source}, values[place]) for (stream, source), values in named])
        for place, metric in enumerate((SOURCE_PENDING, SOURCE_OLDEST, SOURCE_BURIED))
    ]


def _moment(text: str | None) -> float:
    return 0 if text is None else datetime.fromisoformat(text).timestamp()


def _lines(metric: Metric, samples: Iterable[Sample], common: Labels) -> Iterator[str]:
    yield f"# HELP {metric.name} {_escaped(metric.help)}\n# TYPE {metric.name} {metric.type}\n"
    for labels, value in samples:
        pairs = ",".join(f'{name}="{quoted(text)}"' for name, text in {**common, **labels}.items())
        yield f"{metric.name}{{{pairs}}} {_number(value)}\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def quoted(text: str) -> str:
    """Return a text as it stands between the quotes of a label."""
    # A path that is not UTF-8 has halves of surrogate pairs, which cannot be encoded.
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _escaped(clean).replace('"', '\\"')
