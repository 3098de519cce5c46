# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The probe: one event through the broker and back, over connections of its own; it is neither numbered nor stored."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from functools import partial

from sourcepulse.brokers import (
    TEMPORARY_LIMITS,
    Message,
    Outcome,
    Subscription,
    SubscriptionSpec,
    open_publisher,
    open_subscription,
)
from sourcepulse.errors import BrokerError, ConfigError
from sourcepulse.events.event import RESTRICTED, RESTRICTED_SUFFIX, Event, format_time
from sourcepulse.events.wire import CONTENT_TYPE, PULSE_CONTENT_TYPE, encode, encode_pulse
from sourcepulse.operations.doctor.finding import Finding, Job, broken, unchecked, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.relay.destination import STREAMS
from sourcepulse.relay.streams import Place

TYPE = "system.probe.v1"
PATTERN = "system.probe"
#: For the confirmation, and then for the way back.
CONFIRM_LIMIT_SECONDS = 5.0
RETURN_LIMIT_SECONDS = 4.0
_MS = 1000


def probe_event(stream: str, *, host: str, key: str, now: float) -> Event:
    """Return the event of a probe."""
    source = f"system://{host}" + (RESTRICTED_SUFFIX if stream == RESTRICTED else "")
    return Event.of(TYPE, source=source, key=[key], subject="probe", time=now, data={"host": host})


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield a probe of each stream that has a broker."""
    for stream, prefix in STREAMS:
        if (place := situation.places.get(stream)) is not None:
            yield Job(id="SP901", about=str(place), run=partial(_probe, situation, stream, prefix, place))


def _probe(situation: Situation, stream: str, prefix: str, place: Place) -> Iterator[Finding]:
    event = probe_event(stream, host=socket.gethostname(), key=str(uuid.uuid4()), now=situation.now())
    reader = situation.readers.get(stream, place.url)
    spec = SubscriptionSpec(
        exchange=place.exchange, patterns=(PATTERN,), queue=None, durable=False, limits=TEMPORARY_LIMITS
    )
    subscription: Subscription | None = open_subscription(reader, spec)
    values = {"vhost": place.url.vhost}
    try:
        try:
            assert subscription is not None  # noqa: S101 - it was opened above
            subscription.open()
            no_reader = ""
        except (BrokerError, ConfigError) as error:
            subscription, no_reader = None, str(error)
        try:
            confirmed_s = _publish(situation, place, event)
        except (BrokerError, ConfigError) as error:
            yield broken("SP901", place, f"the probe was not confirmed: {error}", **values)
            return
        sent = f"the broker confirmed a probe after {confirmed_s * _MS:.0f} ms"
        if subscription is None:
            option = f"--{prefix.replace('_', '-')}reader-file"
            why = f"{sent}; this login may not receive it, name one that may with {option}: {no_reader}"
            yield unchecked("SP901", place, why)
            return
        begun = time.monotonic()
        if _received(subscription, event):
            total_s = confirmed_s + time.monotonic() - begun
            yield well("SP901", place, f"{sent}, and delivered it after {total_s * _MS:.0f} ms")
        else:
            yield broken("SP901", place, f"{sent}, but did not deliver it within {RETURN_LIMIT_SECONDS:g} s", **values)
    finally:
        if subscription is not None:
            subscription.close()


def _publish(situation: Situation, place: Place, event: Event) -> float:
    """Publish the event and return how long the confirmation took; BrokerError if it does not come, or is a refusal."""
    body, content_type = encode(event), CONTENT_TYPE
    if situation.config.text("format") == "pulse":
        body = encode_pulse(event, exchange=place.exchange, sent=format_time(situation.now()))
        content_type = PULSE_CONTENT_TYPE
    message = Message(
        tag=1, id=event.id, type=event.type, time=event.time, routing_key=event.routing_key,
        content_type=content_type, body=body, source=event.source, subject=event.subject,
    )  # fmt: skip
    publisher = open_publisher(place.url, exchange=place.exchange)
    try:
        publisher.open()
        begun = time.monotonic()
        publisher.send(message)
        while time.monotonic() < begun + CONFIRM_LIMIT_SECONDS:
            for settlement in publisher.settle(1.0):
                if settlement.outcome is Outcome.REFUSED:
                    raise BrokerError(settlement.reason)
                return time.monotonic() - begun
        raise BrokerError(f"no confirmation within {CONFIRM_LIMIT_SECONDS:g} s")
    finally:
        publisher.close()


def _received(subscription: Subscription, event: Event) -> bool:
    until = time.monotonic() + RETURN_LIMIT_SECONDS
    while (left_s := until - time.monotonic()) > 0:
        delivery = subscription.receive(min(left_s, 1.0))
        if delivery is not None:
            subscription.acknowledge(delivery)
            # Another doctor may probe at the same time.
            if event.id.encode() in delivery.body:
                return True
    return False
