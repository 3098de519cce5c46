# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What RabbitMQ allows a web gateway: to read with its own login, and to publish what happens to hooks with another.

Nothing is changed: each right is tried with a request that RabbitMQ refuses, or that does nothing, after it has checked
the right.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from amqp import exceptions

from sourcepulse.brokers.amqp.connection import ACCESS_REFUSED, AmqpConnection
from sourcepulse.config import load
from sourcepulse.operations.broker_setup.roles import ROLES
from sourcepulse.operations.doctor.checks.rights import Look
from sourcepulse.operations.doctor.finding import Finding, unchecked, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.relay.destination import STREAMS
from sourcepulse.relay.streams import Place

_PRODUCT = "RabbitMQ"
_HOOK_KEY = "system.webhook.doctor"
#: A binding that no gateway has, so that to remove it changes nothing.
_NO_BINDING = "#.doctor-check"
_STREAM_OF = {prefix: stream for stream, prefix in STREAMS}


def reading_rights(
    situation: Situation, place: Place, prefix: str, hosts: Sequence[tuple[str, int]]
) -> Iterator[Finding]:
    """Yield what keeps the gateway from reading: login, virtual host, exchange, and its queue."""
    role = next(role for role in ROLES.values() if role.consumes and role.stream == _STREAM_OF[prefix])
    look = Look(situation, place, prefix, role)

    def check(connection: AmqpConnection) -> Iterator[Finding]:
        missing = look.missing(connection)
        if missing is not None:
            yield from missing
        elif connection.product != _PRODUCT:
            yield unchecked("SP312", place, "the rights at a broker that is not RabbitMQ")
        else:
            for refusal in _refusals(connection, _queue(situation, place), place.exchange):
                yield look.broken("SP312", refusal)
                return

    found = list(look.where_accepted(hosts, check))
    yield from found
    if not found:
        yield well("SP201", place, "reached, and the gateway may read there")


def hook_rights(situation: Situation, place: Place) -> Iterator[Finding]:
    """Yield what keeps the sender from publishing what happens to hooks with the login of `[webhooks]`."""
    file = situation.config.table("webhooks").get("broker_file")
    if not isinstance(file, str):
        return
    url = load({"broker_file": file}, environ={}).broker()
    if url is None or url.scheme == "file" or url.scheme.endswith("+activemq"):
        return
    there = Place(url, place.exchange)
    if url.user == place.url.user:
        why = f"{file} has the login of the gateway, which should only read: make one with the role webhook-publisher"
        yield unchecked("SP305", there, why)
        return
    role = ROLES["webhook-publisher"]
    look = Look(situation, there, "", role, file=Path(file))

    def check(connection: AmqpConnection) -> Iterator[Finding]:
        error = look.try_to_publish(connection, _HOOK_KEY)
        if error is not None:
            is_topic = "access to topic" in error
            yield look.broken("SP306" if is_topic else "SP305", f"events system.webhook.*: {error}", pattern=role.keys)

    found = list(look.where_accepted(url.hosts, check))
    yield from found
    if not found:
        yield well("SP201", there, "reached, and the gateway may publish there what happens to hooks")


def _queue(situation: Situation, place: Place) -> str:
    """Return the name of the gateway's queue, which begins with that of its user."""
    named = situation.config.table("web").get("queue")
    host = socket.gethostname().partition(".")[0]
    return named if isinstance(named, str) else f"{place.url.user or 'guest'}.web-{host}"


def _refusals(connection: AmqpConnection, queue: str, exchange: str) -> Iterator[str]:
    """Yield each refusal of what a consumer does: declare its queue, bind it, read it."""
    # RabbitMQ looks at the rights first. Then it refuses the wrong types of these arguments, whether the queue is there
    # or not, and a binding that is not there is removed without a change.
    yield from _refused(
        connection,
        lambda channel: channel.queue_declare(
            queue, durable=True, auto_delete=False, arguments={"x-expires": "doctor"}
        ),
    )
    yield from _refused(connection, lambda channel: channel.queue_unbind(queue, exchange, _NO_BINDING))
    yield from _refused(connection, lambda channel: channel.basic_consume(queue, arguments={"x-priority": "doctor"}))


def _refused(connection: AmqpConnection, request: Callable[[Any], object]) -> Iterator[str]:
    channel = connection.channel()
    try:
        connection.call(request, channel)
        connection.call(channel.close)
    except exceptions.ChannelError as error:
        if error.reply_code == ACCESS_REFUSED:
            yield str(error.reply_text)
