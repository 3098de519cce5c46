# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What was put aside from a queue, the same at every broker: read it, and remove it only afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from sourcepulse.errors import BrokerRefusedUsError, NothingThereError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: A broker that sends no more for so long has no more.
SILENCE_SECONDS = 1.0


class PutAside(NamedTuple):
    """One message that was put aside, and why."""

    routing_key: str
    reason: str
    body: bytes


class DeadLetters(NamedTuple):
    """What was put aside, and the function that removes exactly this from the broker."""

    letters: list[PutAside]
    remove: Callable[[], None]


@contextmanager
def dead_letters_of(url: BrokerUrl, queue: str, *, limit: int) -> Iterator[DeadLetters]:
    """Read at most so many of what was put aside from a queue, oldest first; all of it stays that is not removed.

    NothingThereError if nothing ever was, BrokerError if the broker does not answer or let us.
    """
    if url.scheme == "file":
        yield _in_log(url, queue, limit)
    elif url.scheme.startswith("stomp"):
        with _over_stomp(url, queue, limit) as found:
            yield found
    else:
        with _over_amqp(url, queue, limit) as found:
            yield found


def _nothing(queue: str) -> NothingThereError:
    return NothingThereError(f"nothing was ever put aside from the queue {queue!r}")


def _in_log(url: BrokerUrl, queue: str, limit: int) -> DeadLetters:
    from sourcepulse.brokers.local_admin import dead_letters, remove_dead_letters

    letters = dead_letters(url, queue)[:limit]
    return DeadLetters(
        [PutAside(letter.routing_key, letter.reason, letter.body) for letter in letters],
        lambda: remove_dead_letters(url, [letter.letter for letter in letters]),
    )


@contextmanager
def _over_amqp(url: BrokerUrl, queue: str, limit: int) -> Iterator[DeadLetters]:
    from amqp import exceptions

    from sourcepulse.brokers.amqp_connection import NOT_FOUND, AmqpConnection, describe
    from sourcepulse.brokers.amqp_dead_letters import DEAD_SUFFIX

    connection = AmqpConnection(url)
    found: list[PutAside] = []
    tags: list[int] = []
    try:
        connection.open()
        channel = connection.channel()
        while len(found) < limit:
            got = connection.call(lambda _: channel.basic_get(queue + DEAD_SUFFIX))
            if got is None:
                break
            tags.append(got.delivery_tag)
            headers = got.properties.get("application_headers", {})
            body = got.body if isinstance(got.body, bytes) else str(got.body or "").encode()
            found.append(PutAside(str(headers.get("x-routing-key", "")), str(headers.get("x-reason", "")), body))
        yield DeadLetters(found, lambda: connection.write(channel.basic_ack, tags[-1], True) if tags else None)
    except exceptions.ChannelError as error:
        if error.reply_code == NOT_FOUND:
            raise _nothing(queue) from None
        raise describe(error, connection.host, url.vhost) from None
    finally:
        # What was not acknowledged goes back to its place.
        connection.close()


@contextmanager
def _over_stomp(url: BrokerUrl, queue: str, limit: int) -> Iterator[DeadLetters]:
    from sourcepulse.brokers.stomp_connection import StompConnection
    from sourcepulse.brokers.stomp_destinations import activemq_dead_letters, rabbitmq_queue
    from sourcepulse.brokers.stomp_errors import Blame, ErrorFrameError
    from sourcepulse.brokers.stomp_rabbitmq_subscription import DEAD_SUFFIX

    if url.scheme.endswith("+activemq"):
        destination, prefetch = activemq_dead_letters(queue), {"activemq.prefetchSize": str(limit)}
    else:
        destination, prefetch = rabbitmq_queue(queue + DEAD_SUFFIX), {"prefetch-count": str(limit)}
    connection = StompConnection(url)
    found: list[PutAside] = []
    acks: list[str] = []

    def remove() -> None:
        for ack in acks:
            connection.requests.ack(ack)
        connection.flush()

    try:
        connection.open()
        connection.call(
            lambda receipt: connection.requests.subscribe(
                destination, 1, ack="client-individual", headers={**prefetch, "receipt": receipt}
            )
        )
        while len(found) < limit and (frame := connection.read(SILENCE_SECONDS)) is not None:
            if frame.cmd == "MESSAGE":
                headers = frame.headers
                found.append(PutAside(headers.get("x-routing-key", ""), headers.get("x-reason", ""), frame.body))
                acks.append(headers.get("ack", ""))
        yield DeadLetters(found, remove)
    except ErrorFrameError as error:
        if error.blame is Blame.MISSING:
            raise _nothing(queue) from None
        raise BrokerRefusedUsError(f"{connection.host} refuses us: {error}") from None
    finally:
        # The good-bye has a receipt, so that what was acknowledged is gone.
        connection.close()
