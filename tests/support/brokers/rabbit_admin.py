# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an admin asks of RabbitMQ with rabbitmqctl: the same functions of the node, called in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from support.brokers.erlang import binary
from support.brokers.messages import SMALL_MESSAGE_BYTES
from support.brokers.rabbitmq import VHOST, RabbitNode

#: The admin who acts, in the broker's log.
_ACTOR = binary("test")


def queues(node: RabbitNode, vhost: str = VHOST) -> set[str]:
    """Name all queues of a virtual host, those of others included, as `list_queues` does."""
    names = f"[Name || {{resource, _, queue, Name}} <- rabbit_amqqueue:list_names({binary(vhost)})]"
    return set(node.evaluate_json(names))


def exchanges(node: RabbitNode, vhost: str = VHOST) -> set[str]:
    """Name all exchanges of a virtual host, as `list_exchanges` does."""
    infos = f"rabbit_exchange:info_all({binary(vhost)}, [name])"
    return set(node.evaluate_json(f"[Name || [{{name, {{resource, _, exchange, Name}}}}] <- {infos}]"))


def bindings(node: RabbitNode, queue: str, vhost: str = VHOST) -> set[str]:
    """Return the keys that a queue is bound with, as `list_bindings` does: also its name, at the nameless exchange."""
    infos = f"rabbit_binding:info_all({binary(vhost)}, [destination_name, routing_key])"
    keys = f"[Key || [{{destination_name, Name}}, {{routing_key, Key}}] <- {infos}, Name == {binary(queue)}]"
    return set(node.evaluate_json(keys))


def messages(node: RabbitNode, queue: str, vhost: str = VHOST) -> int:
    """Return how many messages a queue holds, delivered or not, as `list_queues messages` does; 0 where it is not."""
    infos = f"rabbit_amqqueue:info_all({binary(vhost)}, [name, messages])"
    place = "{resource, _, queue, Name}"
    counts = f"[Count || [{{name, {place}}}, {{messages, Count}}] <- {infos}, Name == {binary(queue)}]"
    return sum(node.evaluate_json(counts))


def channels(node: RabbitNode) -> list[int]:
    """Return the numbers of all open channels, as `list_channels number` does."""
    found: list[int] = node.evaluate_json("[Number || [{number, Number}] <- rabbit_channel:info_all([number])]")
    return found


def heartbeats(node: RabbitNode) -> list[int]:
    """Return the heartbeats of all connections in seconds, as `list_connections timeout` does."""
    infos = "rabbit_networking:connection_info_all([timeout])"
    found: list[int] = node.evaluate_json(f"[Seconds || [{{timeout, Seconds}}] <- {infos}]")
    return found


def add_user(node: RabbitNode, user: str, password: str) -> None:
    """Add a user who may do everything in the virtual host of the tests."""
    _done(node, f"rabbit_auth_backend_internal:add_user({binary(user)}, {binary(password)}, {_ACTOR})")
    set_permissions(node, user, configure=".*", write=".*", read=".*")


def delete_user(node: RabbitNode, user: str) -> None:
    """Remove a user."""
    _done(node, f"rabbit_auth_backend_internal:delete_user({binary(user)}, {_ACTOR})")


def change_password(node: RabbitNode, user: str, password: str) -> None:
    """Change the password of a user."""
    _done(node, f"rabbit_auth_backend_internal:change_password({binary(user)}, {binary(password)}, {_ACTOR})")


def set_permissions(node: RabbitNode, user: str, *, configure: str, write: str, read: str) -> None:
    """Replace what a user may do in the virtual host of the tests."""
    words = ", ".join(binary(word) for word in (user, VHOST, configure, write, read))
    _done(node, f"rabbit_auth_backend_internal:set_permissions({words}, {_ACTOR})")


@contextmanager
def small_messages(node: RabbitNode) -> Iterator[None]:
    """Meanwhile, the node refuses larger messages at every channel that is opened."""
    usual = node.evaluate("{ok, Limit} = application:get_env(rabbit, max_message_size), Limit")
    _done(node, f"application:set_env(rabbit, max_message_size, {SMALL_MESSAGE_BYTES})")
    try:
        yield
    finally:
        _done(node, f"application:set_env(rabbit, max_message_size, {usual})")


def close_all_connections(node: RabbitNode, vhost: str = VHOST) -> None:
    """Close all connections to a virtual host."""
    listed = f"rabbit_connection_tracking:list({binary(vhost)})"
    _done(node, f"lists:foreach(fun(C) -> rabbit_networking:close_connection(element(6, C), {_ACTOR}) end, {listed})")


def _done(node: RabbitNode, expression: str) -> None:
    answer = node.evaluate(expression)
    assert answer == "ok", answer
