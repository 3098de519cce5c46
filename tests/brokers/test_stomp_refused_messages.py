# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A message that a STOMP broker refuses: it alone is found and reported, whatever it was sent along with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from support.brokers.broker_activemq import ActiveMqBroker, NarrowActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.broker_under_test import RemoteBroker
from support.brokers.messages import (
    SMALL_MESSAGE_BYTES,
    is_silent,
    message,
    outcomes,
    receive,
    send_all,
    settle_until_it_fails,
)
from support.brokers.rabbitmq import NARROW, READER
from support.brokers.stomp import publisher

#: The exchange for which the narrow user has rights, and for keys that begin with `hg.` only.
EXCHANGE = "sourcepulse"
FORBIDDEN_KEY = "build.done"
TOO_LARGE = b"x" * (2 * SMALL_MESSAGE_BYTES)
ATTEMPTS = 3


@pytest.fixture(params=["rabbitmq", "activemq"])
def narrow(request: pytest.FixtureRequest) -> Iterator[StompRabbitBroker | ActiveMqBroker]:
    """Each broker over STOMP, where it takes small messages only."""
    made: StompRabbitBroker | ActiveMqBroker
    if request.param == "rabbitmq":
        made = StompRabbitBroker(request.getfixturevalue("narrow_rabbitmq"))
    else:
        made = NarrowActiveMqBroker(request.getfixturevalue("activemq"))
    yield made
    made.close()


def publish_as(broker: RemoteBroker, user: tuple[str, str], messages: list[Message]) -> list[Settlement]:
    sender = publisher(broker.url_of(user=user), exchange=EXCHANGE)
    sender.open()
    settled = send_all(sender, messages)
    sender.close()
    return settled


def stored_after(broker: RemoteBroker, exchange: str, send: object) -> tuple[list[Settlement], list[int]]:
    """Send while a queue takes everything; give what was settled, and the numbers in the queue, repeats left out."""
    source = broker.subscription(broker.spec("#", exchange=exchange))
    assert callable(send)
    settled = send()
    expected = sum(item.outcome is Outcome.DELIVERED for item in settled)
    numbers: list[int] = []
    while len(numbers) < expected:
        (delivery,) = receive(source, 1)
        source.acknowledge(delivery)
        number = int(delivery.body.split()[0])
        if number not in numbers:
            numbers.append(number)
    # What was under way when the culprit was found may come twice.
    while (more := source.receive(0.2)) is not None:
        assert int(more.body.split()[0]) in numbers
        source.acknowledge(more)
    assert is_silent(source)
    return settled, numbers


@pytest.mark.parametrize("culprits", [{0}, {4}, {99, 100}, {0, 7, 249}, {249}], ids=str)
def test_of_many_messages_only_those_with_a_forbidden_key_are_refused(stomp: RemoteBroker, culprits: set[int]) -> None:
    messages = [
        message(number, key=FORBIDDEN_KEY if number in culprits else "hg.push.repo", body=b"%d" % number)
        for number in range(250)
    ]
    settled, numbers = stored_after(stomp, EXCHANGE, lambda: publish_as(stomp, NARROW, messages))
    assert {tag for tag, outcome in outcomes(settled).items() if outcome is Outcome.REFUSED} == culprits
    assert len(settled) == 250
    assert numbers == [number for number in range(250) if number not in culprits]
    assert all("narrow" in item.reason for item in settled if item.outcome is Outcome.REFUSED)


def test_if_every_key_is_forbidden_an_admin_must_act_and_nothing_is_refused(stomp: RemoteBroker) -> None:
    sender = publisher(stomp.url_of(user=NARROW), exchange=EXCHANGE)
    sender.open()
    for number in range(20):
        sender.send(message(number, key=FORBIDDEN_KEY))
    settled, error = settle_until_it_fails(sender)
    assert settled == []
    assert isinstance(error, BrokerRefusedUsError)
    assert "narrow" in str(error)
    assert NARROW[1] not in str(error)
    sender.abandon()


def test_a_right_that_was_seen_once_is_remembered_for_the_next_connection(stomp: RemoteBroker) -> None:
    sender = publisher(stomp.url_of(user=NARROW), exchange=EXCHANGE)
    sender.open()
    assert outcomes(send_all(sender, [message(1)])) == {1: Outcome.DELIVERED}
    sender.abandon()
    sender.open()
    assert outcomes(send_all(sender, [message(2, key=FORBIDDEN_KEY)])) == {2: Outcome.REFUSED}
    sender.close()


def test_without_any_right_to_write_an_admin_must_act(stomp: RemoteBroker) -> None:
    sender = publisher(stomp.url_of(user=READER), exchange=EXCHANGE)
    sender.open()
    for number in range(20):
        sender.send(message(number))
    settled, error = settle_until_it_fails(sender)
    assert (settled, type(error)) == ([], BrokerRefusedUsError)
    sender.abandon()


@pytest.mark.parametrize("culprits", [{0}, {99, 100, 110}], ids=str)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_of_many_messages_only_those_that_are_too_large_are_refused(
    narrow: RemoteBroker, culprits: set[int], tls: bool
) -> None:
    options = f"?ca={narrow.ca_file}" if tls else ""
    messages = [
        message(number, body=b"%d " % number + (TOO_LARGE if number in culprits else b"")) for number in range(120)
    ]

    def send() -> list[Settlement]:
        narrow.prepare(narrow.exchange)
        sender = publisher(narrow.url_of(tls=tls, options=options), exchange=narrow.exchange)
        for _ in range(ATTEMPTS):
            sender.open()
            # A busy RabbitMQ may reset the connection before its reason is read; a relay then tries again, too.
            with suppress(BrokerUnavailableError):
                settled = send_all(sender, messages)
                sender.close()
                return settled
        raise AssertionError(f"{ATTEMPTS} times the connection was lost without a reason")

    settled, numbers = stored_after(narrow, narrow.exchange, send)
    assert {tag for tag, outcome in outcomes(settled).items() if outcome is Outcome.REFUSED} == culprits
    assert numbers == [number for number in range(120) if number not in culprits]


def test_a_message_that_is_far_too_large_is_refused_while_it_is_still_written(narrow: RemoteBroker) -> None:
    messages = [message(1), message(2, body=b"x" * 20_000_000), message(3)]
    settled, numbers = stored_after(narrow, narrow.exchange, lambda: narrow.publish(*messages))
    assert outcomes(settled) == {1: Outcome.DELIVERED, 2: Outcome.REFUSED, 3: Outcome.DELIVERED}
    assert numbers == [1, 3]


@pytest.mark.parametrize(
    ("key", "why"), [("hg." + "k" * 300, "255 bytes"), ("hg.%2F", "%2F"), ("hg,build", "letters"), ("hg.>", "letters")]
)
def test_a_key_that_a_broker_would_read_otherwise_is_refused_without_asking_it(
    stomp: RemoteBroker, key: str, why: str
) -> None:
    if isinstance(stomp, StompRabbitBroker) and why == "letters":
        # To RabbitMQ it is a key as any other.
        assert [item.outcome for item in stomp.publish(message(1, key=key))] == [Outcome.DELIVERED]
        return
    if isinstance(stomp, ActiveMqBroker) and why == "%2F":
        why = "letters"
    settled = stomp.publish(message(1, key=key), message(2))
    assert outcomes(settled) == {1: Outcome.REFUSED, 2: Outcome.DELIVERED}
    assert any(why in item.reason for item in settled)
