# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A stream through each broker that is killed, frozen and cut off: none lost, in order, a repeat has the same id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers import faulty_broker
from support.brokers.faulty_broker import FaultyBroker
from support.streams.fault_plan import Fault
from support.streams.fault_run import Measured, run_stream

FEW_EVENTS = 5_500
#: The embedded log is hurt more often, because its faults take no time.
FEW_EMBEDDED_EVENTS = 3_000
MANY_EVENTS = 100_000

#: One of each kind that a network knows.
FEW_FAULTS = (Fault.BROKER_KILLED, Fault.BOTH_CUT_OFF, Fault.CONSUMER_KILLED)
#: Twenty of the broker and the network, and some of everything else.
MANY_FAULTS = (
    (Fault.BROKER_KILLED,) * 8
    + (Fault.BROKER_FROZEN,) * 4
    + (Fault.RELAY_CUT_OFF,) * 3
    + (Fault.CONSUMER_CUT_OFF,) * 3
    + (Fault.BOTH_CUT_OFF,) * 2
    + (Fault.RELAY_RESET, Fault.CONSUMER_RESET, Fault.RELAY_KILLED, Fault.CONSUMER_KILLED) * 4
)
#: All that can befall the embedded log: it has neither a process nor a network of its own.
FEW_PROCESS_FAULTS = (Fault.RELAY_KILLED, Fault.CONSUMER_KILLED, Fault.RELAY_FROZEN, Fault.CONSUMER_FROZEN)
MANY_PROCESS_FAULTS = (
    (Fault.RELAY_KILLED,) * 10
    + (Fault.CONSUMER_KILLED,) * 10
    + (Fault.RELAY_FROZEN,) * 3
    + (Fault.CONSUMER_FROZEN,) * 3
)


@pytest.fixture(params=["amqp", "stomp+rabbitmq", "stomp+activemq"])
def broker(request: pytest.FixtureRequest) -> Iterator[FaultyBroker]:
    """Each real broker, its network behind proxies."""
    if request.param == "amqp":
        hurt = faulty_broker.amqp(request.getfixturevalue("rabbit"))
    elif request.param == "stomp+rabbitmq":
        hurt = faulty_broker.stomp_rabbitmq(request.getfixturevalue("rabbit"))
    else:
        hurt = faulty_broker.stomp_activemq(request.getfixturevalue("active"))
    with hurt as opened:
        yield opened


def test_a_stream_outlives_three_faults_of_its_broker_and_network(tmp_path: Path, broker: FaultyBroker) -> None:
    measured = run_stream(tmp_path, broker, FEW_FAULTS, events=FEW_EVENTS, seed=3)
    check_that_it_was_hurt(measured)


@pytest.mark.soak
def test_a_hundred_thousand_events_outlive_twenty_faults_of_their_broker(tmp_path: Path, broker: FaultyBroker) -> None:
    measured = run_stream(tmp_path, broker, MANY_FAULTS, events=MANY_EVENTS, seed=20)
    check_that_it_was_hurt(measured)


def test_a_stream_through_the_embedded_log_outlives_kills_of_relay_and_consumer(tmp_path: Path) -> None:
    broker = faulty_broker.embedded(tmp_path)
    run_stream(tmp_path, broker, FEW_PROCESS_FAULTS, events=FEW_EMBEDDED_EVENTS, seed=3)


@pytest.mark.soak
def test_a_hundred_thousand_events_through_the_embedded_log_outlive_kills_of_relay_and_consumer(
    tmp_path: Path,
) -> None:
    broker = faulty_broker.embedded(tmp_path)
    run_stream(tmp_path, broker, MANY_PROCESS_FAULTS, events=MANY_EVENTS, seed=20)


def check_that_it_was_hurt(measured: Measured) -> None:
    """AssertionError if the faults went by without a trace, for then nothing was tested."""
    assert measured.relay_retries > 0
    assert measured.consumer_retries > 0
    assert min(measured.unhandled) > 0
    assert max(measured.unconfirmed) > 0
