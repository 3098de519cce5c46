# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""States of services, and what stands in for an event that was withheld, are as recorded, with id and every byte.

The heartbeat of a relay is left out: it is never stored, and its id is made by chance. A probe and
what is reported of queues are never stored either, and the test of a webhook is sent to its hook alone, but their
examples are recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sourcepulse.brokers.queues import QueueReport
from sourcepulse.events.event import PUBLIC, Event
from sourcepulse.events.wire import decode
from sourcepulse.operations.doctor.probe import probe_event
from sourcepulse.outbox.outbox import Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import Gate, Verdict
from sourcepulse.publisher import make_event
from sourcepulse.relay.health.queues.rules import QueueRules
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.events import (
    DELIVERED,
    GONE,
    NETWORK,
    REFUSALS,
    STATUS,
    Circumstances,
    disabled_event,
    event_for_test,
    failing_event,
    parked_event,
    refused_event,
    resumed_event,
)
from support.bugzilla.rows import BUG, ID_SECRET, SOURCE, bug_update, changed, comment, row, thing_row
from support.events.recorded import assert_as_recorded

RECORD = "system"
NOW_SECONDS = 1_795_345_170


class _Refusing:
    """A check that knows the subject only of bugs, and no names of products."""

    def ask(self, events: Sequence[Claimed]) -> list[Verdict]:
        return [
            Verdict(False, subject="bug/1234") if ".bug." in event.type else Verdict(False, keeps_key=False)
            for event in events
        ]

    def close(self) -> None:
        """Nothing was opened."""


def _state(state: str, service: str = "hg", **data: str) -> Event:
    return make_event(
        f"system.{service}.{state}.v1",
        dict(data),
        source="system://hg.example.org",
        subject=None,
        key=[state],
        words=None,
        now=NOW_SECONDS,
        own={},
    )


def _of_queues() -> list[Event]:
    """Return what a relay reports of a queue that fills up and then drops events."""
    rules = QueueRules()
    noticed = []
    for now, (depth, dropped) in enumerate(((100, 0), (850, 0), (1000, 412))):
        report = QueueReport(
            broker="file:///log.db", name="dashboard.builds", durable=True, streams=("public",), patterns=("build.#",),
            user=None, consumers=0, depth=depth, limit=1000, bytes=None, limit_bytes=None, oldest_at=None,
            dropped=dropped, dead=0, last_consumer_at=None,
        )  # fmt: skip
        noticed += rules.look([report], float(now))
    return [
        Event.of(
            notice.type,
            source="system://hg.example.org",
            key=[notice.type, "1"],
            subject=f"queue/{notice.queue}",
            time=NOW_SECONDS,
            data=notice.data,
        )
        for notice in noticed
    ]


def _of_webhooks() -> list[Event]:
    """Return what a sender reports of a hook that fails, is parked, works again and is ended by its receiver."""
    hook = Hook(name="chat-room", url="https://chat.example.org/in/7?key=1", topics=("#",), owner="alice@example.org")
    host, at, since = "tree.example.org", float(NOW_SECONDS), NOW_SECONDS - 72 * 3600.0
    refusals = Circumstances(reason=REFUSALS, status=422, waiting=3, set_aside=12)
    return [
        failing_event(hook, Circumstances(reason=STATUS, status=503, since=at - 305, waiting=12), host=host, at=at),
        refused_event(hook, refusals, host=host, at=at, type_="build.finished.v1", refused=4, key=at),
        parked_event(hook, Circumstances(reason=NETWORK, since=since, waiting=1887), host=host, at=at),
        resumed_event(hook, Circumstances(reason=DELIVERED, status=204, since=since, waiting=1886), host=host, at=at),
        disabled_event(hook, Circumstances(reason=GONE, status=410, since=at, waiting=1), host=host, at=at),
        event_for_test(hook, host=host, number=1, at=at),
    ]


def test_states_of_services_are_as_recorded_byte_for_byte(tmp_path: Path) -> None:
    emitter = Emitter(SOURCE, ID_SECRET)
    events = [
        _state("down", message="disk full", until="2026-11-22T12:00:00.000000Z"),
        _state("up"),
        _state("degraded", service="relay", url="https://status.example.org/"),
    ]
    for raw in (row("bug.update", bug_update(bug=changed(BUG), comments=[comment()])), thing_row("product.update")):
        events += events_of(read_row(raw), emitter)
    events += _of_queues()
    events.append(probe_event(PUBLIC, host="hg.example.org", key="1", now=NOW_SECONDS))
    events += _of_webhooks()
    with Outbox.open(tmp_path / "outbox.db", private=True) as outbox:
        outbox.append(events)
        gate = Gate(outbox, {"bugzilla": lambda _: _Refusing()})
        numbered = list(enumerate(outbox.claim(PUBLIC)))
        sent = [event for _, event, _ in gate.passing(numbered, ready=lambda: None)]
    assert_as_recorded(RECORD, [decode(event.body, routing_key=event.routing_key) for event in sent])
