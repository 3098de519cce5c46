# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Put a relay together from settings: its outbox and lock, and for each stream where it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from sourcepulse.brokers import Publisher, open_publisher
from sourcepulse.collect import collectors, sweep
from sourcepulse.config import Config
from sourcepulse.delivery import Delivery
from sourcepulse.errors import ConfigError
from sourcepulse.event import PUBLIC, RESTRICTED
from sourcepulse.housekeeping import Keep
from sourcepulse.outbox import Outbox
from sourcepulse.outbox_places import places as former_places
from sourcepulse.relay import Relay, bind, relay_lock
from sourcepulse.streams import Place, check_apart, check_former
from sourcepulse.visibility import Gate, check_openers

#: Each stream with the prefix of its settings.
STREAMS = ((PUBLIC, ""), (RESTRICTED, "restricted_"))


def places_of(config: Config) -> dict[str, Place]:
    """Give where each stream goes that has a broker."""
    return {
        stream: Place(url, config.require(f"{prefix}exchange"))
        for stream, prefix in STREAMS
        if (url := config.broker(prefix)) is not None
    }


@contextmanager
def open_relay(path: Path, config: Config, stop: threading.Event, *, rebind: bool = False) -> Iterator[Relay]:
    """Give a relay that holds the lock of the outbox at `path`; it ends when `stop` is set.

    RelayRunningError if another one has it, ConfigError for streams that may not go where they should, OutboxError.
    """
    with ExitStack() as stack:
        places = places_of(config)
        outbox = stack.enter_context(Outbox.open(path))
        stack.enter_context(relay_lock(outbox.path))
        _keep_apart(outbox, places)
        deliveries = [
            _delivery(stack, outbox, config, stream, place, rebind=rebind) for stream, place in places.items()
        ]
        yield Relay(
            outbox,
            deliveries,
            sweep=partial(sweep, outbox, collectors()),
            keep=Keep(days=config.number("keep_days"), bytes=config.number("keep_bytes")),
            stop=stop,
        )


def _keep_apart(outbox: Outbox, places: dict[str, Place]) -> None:
    """Refuse to start, whatever `rebind` says, if restricted events could become public."""
    if RESTRICTED not in places:
        return
    try:
        check_apart(places[PUBLIC], places[RESTRICTED])
        for former in former_places(outbox, PUBLIC):
            check_former(former, places[RESTRICTED])
    except ConfigError as error:
        # A relay that the hook started has nobody to tell it to: `status` shows it.
        outbox.note_failure(RESTRICTED, str(error), retry_in=lambda _: 0.0)
        raise


def _delivery(stack: ExitStack, outbox: Outbox, config: Config, stream: str, place: Place, *, rebind: bool) -> Delivery:
    bind(outbox, stream, str(place), rebind=rebind)
    own = stack.enter_context(Outbox.open(outbox.path))
    return Delivery(
        own,
        stream,
        _opener(place),
        exchange=place.exchange,
        pulse_format=config.text("format") == "pulse",
        clock=time.time,
        gate=Gate(own, check_openers()) if stream == PUBLIC else None,
    )


def _opener(place: Place) -> Callable[[], Publisher]:
    return lambda: open_publisher(place.url, exchange=place.exchange)
