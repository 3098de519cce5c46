# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The objects of a RabbitMQ virtual host that sourcepulse needs, in the order in which they can be made. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sourcepulse.operations.broker_setup.roles import User, rights_of, topics

DAY_MILLISECONDS = 86_400_000
VHOST_LIMITS = {"max-queues": 1000, "max-connections": 1000}
#: A consumer cannot take the connections of the relay.
CONSUMER_LIMITS = {"max-connections": 50, "max-channels": 200}
#: Whatever a consumer asks for, its queue holds no more. A durable queue is OWNER.NAME; `amq.` is RabbitMQ's own.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "durable-queues": {
        "pattern": r"^(?!amq\.)[^.]+\.",
        "apply-to": "queues",
        "priority": 1,
        "definition": {
            "max-length": 100_000,
            "max-length-bytes": 268_435_456,
            "message-ttl": 7 * DAY_MILLISECONDS,
            "expires": 14 * DAY_MILLISECONDS,
        },
    },
    "other-queues": {
        "pattern": ".*",
        "apply-to": "queues",
        "priority": 0,
        "definition": {
            "max-length": 10_000,
            "max-length-bytes": 104_857_600,
            "message-ttl": DAY_MILLISECONDS,
            "expires": DAY_MILLISECONDS,
        },
    },
}
EXCHANGE = {"type": "topic", "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
MONITOR_TAG = "monitoring"


class Wanted(NamedTuple):
    """One object: the path at which the management API writes it, and the value that it should have."""

    kind: str
    name: str
    path: tuple[str, ...]
    value: Mapping[str, Any]
    #: For a user.
    user: User | None = None


class Plan(NamedTuple):
    """What a broker should have."""

    vhost: str
    exchange: str
    restricted_exchange: str
    users: tuple[User, ...]
    #: Whether consumers may write dead letters, and so to every queue.
    dead_letters: bool = False
    #: The first words of routing keys of the site's own events.
    families: tuple[str, ...] = ()

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Return the exchanges of the streams that a user publishes or reads."""
        streams = {user.role.stream for user in self.users}
        names = {"public": self.exchange, "restricted": self.restricted_exchange}
        return tuple(name for stream, name in names.items() if stream in streams)

    def exchange_of(self, user: User) -> str:
        return self.restricted_exchange if user.role.stream == "restricted" else self.exchange


def objects(plan: Plan) -> Iterator[Wanted]:
    """Yield every object; each needs only those before it."""
    vhost = plan.vhost
    yield Wanted("virtual host", vhost, ("vhosts", vhost), {})
    for name, most in VHOST_LIMITS.items():
        yield Wanted("limit", name, ("vhost-limits", vhost, name), {"value": most})
    for exchange in plan.exchanges:
        yield Wanted("exchange", exchange, ("exchanges", vhost, exchange), EXCHANGE)
    for name, policy in POLICIES.items():
        yield Wanted("operator policy", name, ("operator-policies", vhost, name), policy)
    for user in plan.users:
        yield from _of_user(plan, user)


def _of_user(plan: Plan, user: User) -> Iterator[Wanted]:
    tags = "" if user.role.stream else MONITOR_TAG
    yield Wanted("user", user.name, ("users", user.name), {"tags": tags}, user)
    if user.role.consumes:
        for name, most in CONSUMER_LIMITS.items():
            yield Wanted("user limit", f"{user.name} {name}", ("user-limits", user.name, name), {"value": most})
    exchange = plan.exchange_of(user)
    if user.role.publishes:
        # Before the permissions: without it, a publisher may use any key.
        value = {"exchange": exchange, "write": user.role.keys or topics(plan.families), "read": "^$"}
        yield Wanted("topic permission", user.name, ("topic-permissions", plan.vhost, user.name), value)
    rights = rights_of(user, exchange, dead_letters=plan.dead_letters)
    yield Wanted("permission", user.name, ("permissions", plan.vhost, user.name), rights._asdict())


def in_words(wanted: Wanted) -> str:
    """Return what an object is, in one line for an admin."""
    value = wanted.value
    match wanted.kind:
        case "exchange":
            return "topic, durable"
        case "limit" | "user limit":
            return str(value["value"])
        case "topic permission":
            return f"{value['exchange']}: write {value['write']}"
        case "permission":
            return ", ".join(f"{right} {pattern}" for right, pattern in value.items())
        case "operator policy":
            limits = ", ".join(f"{name} {most}" for name, most in value["definition"].items())
            return f"queues {value['pattern']}: {limits}"
        case "user" if wanted.user is not None:
            return wanted.user.role.name
    return ""
