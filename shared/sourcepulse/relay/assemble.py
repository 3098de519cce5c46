# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Assemble a relay from settings: its outbox, its lock, and a destination for each stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.config import Config
from sourcepulse.events.event import PUBLIC
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.outgoing.visibility import Gate, check_openers
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.collect import Collector, collect_announced, collectors, sweep
from sourcepulse.relay.destination import Destination, Moves, admit, keep_apart, places_of
from sourcepulse.relay.health.announce import Announcer
from sourcepulse.relay.health.condition import RULES, Rules
from sourcepulse.relay.health.heartbeat import Heartbeat
from sourcepulse.relay.health.liveness import Touch
from sourcepulse.relay.health.on_change import OnChange
from sourcepulse.relay.health.second_relay import forget_second_relay
from sourcepulse.relay.health.watch import Watch, no_report
from sourcepulse.relay.relay import Relay, relay_lock
from sourcepulse.relay.sender import Delivery
from sourcepulse.relay.streams import Place

if TYPE_CHECKING:
    from sourcepulse.relay.health.best_effort.side_job import SideJob
    from sourcepulse.relay.health.queues.watch import QueueWatch

__all__ = ["open_relay", "places_of"]


@contextmanager
def open_relay(
    path: Path,
    config: Config,
    stop: threading.Event,
    *,
    rebind: bool = False,
    create: bool = True,
    turned: Callable[[], None] = lambda: None,
    report: Callable[[str], None] = no_report,
    rules: Rules = RULES,
) -> Iterator[Relay]:
    """Yield a relay that holds the lock of the outbox at `path`; it ends when `stop` is set.

    RelayRunningError if another relay holds it, ConfigError if a stream may not go to its destination, OutboxError.
    `turned` is called whenever all delivering loops have turned, `report` at intervals with the state in words.
    """
    with ExitStack() as stack:
        places = places_of(config)
        outbox = stack.enter_context(Outbox.open(path, create=create))
        touch = Touch(stack.enter_context(relay_lock(outbox.path)))
        forget_second_relay(outbox)
        keep_apart(outbox, places)
        deliveries = list(_deliveries(stack, outbox, config, places, rebind=rebind))
        announcers = {each.stream: each.announcer for each in deliveries if each.announcer is not None}
        known = collectors()
        # In a thread of its own, beside the sweep.
        announced = stack.enter_context(Outbox.open(outbox.path))
        outbox.relayed_streams = announced.relayed_streams = frozenset(places)
        watched = stack.enter_context(Outbox.open(outbox.path))
        yield Relay(
            outbox,
            deliveries,
            sweep=partial(_sweep, outbox, known),
            collect=partial(collect_announced, announced, known),
            keep=Keep(days=config.number("keep_days"), bytes=config.number("keep_bytes")),
            stop=stop,
            turned=(touch, turned),
            announcers=announcers,
            watch=_watch(watched, config, announcers, report, rules),
            metrics=_metrics(outbox.path, config),
            queue_watch=partial(_queue_watch, config, announcers),
        )


def _sweep(outbox: Outbox, known: Mapping[str, Collector]) -> int:
    forget_second_relay(outbox, only_old=True)
    return sweep(outbox, known)


def _metrics(outbox: Path, config: Config) -> SideJob | None:
    path = config.text("metrics_file")
    if path is None:
        return None
    # Imported here because a relay that a push starts seldom writes one.
    from sourcepulse.relay.health.best_effort.metrics_file import write_aside

    return write_aside(outbox, Path(path), per_source=config.text("metrics_per_source") == "yes")


def _queue_watch(config: Config, announcers: Mapping[str, Announcer]) -> QueueWatch | None:
    # Imported here because a relay that a push starts does not look.
    from sourcepulse.relay.health.queues.watch import QueueWatch, reader_of

    read = reader_of(config) if announcers else None
    return None if read is None else QueueWatch(read, announcers)


def _watch(
    outbox: Outbox, config: Config, announcers: Mapping[str, Announcer], report: Callable[[str], None], rules: Rules
) -> Watch:
    return Watch(
        outbox,
        tuple(places_of(config)),
        announcers,
        on_change=OnChange(command, outbox.path) if (command := config.text("on_change")) else None,
        report=report,
        rules=rules,
    )


def _deliveries(
    stack: ExitStack, outbox: Outbox, config: Config, places: Mapping[str, Place], *, rebind: bool
) -> Iterator[Delivery]:
    moves = Moves()
    for stream, place in places.items():
        admit(outbox, stream, str(place), rebind=rebind)
        yield _delivery(stack.enter_context(Outbox.open(outbox.path)), stream, place, config, moves)


def _delivery(own: Outbox, stream: str, place: Place, config: Config, moves: Moves) -> Delivery:
    destination = Destination(own, stream, config, moves)
    interval_s = config.number("heartbeat_s")
    return Delivery(
        own,
        stream,
        destination.publisher,
        exchange=place.exchange,
        pulse_format=config.text("format") == "pulse",
        clock=time.time,
        gate=Gate(own, check_openers()) if stream == PUBLIC else None,
        destination=destination,
        announcer=Announcer(stream, Heartbeat(own, stream, interval_s)) if interval_s else None,
    )
