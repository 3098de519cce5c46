# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Writes ActiveMQ's configuration: the shipped file with the users, queues and rights of a plan. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape, quoteattr

from sourcepulse.brokers.stomp.destinations import check_activemq_exchange
from sourcepulse.errors import ConfigError
from sourcepulse.operations.broker_setup.objects import Plan
from sourcepulse.operations.broker_setup.roles import User

ADMIN = "admin"
_PLACEHOLDER = "CHANGE-ME-"
#: The group of all users of a role.
_GROUPS = {
    "publisher": "relays",
    "restricted-publisher": "restricted-relays",
    "consumer": "readers",
    "restricted-consumer": "restricted-readers",
    "webhook-publisher": "webhook-relays",
}


def render(template: str, plan: Plan, passwords: Mapping[str, str] | None = None) -> str:
    """Return the configuration; without passwords, it has a placeholder for each."""
    for exchange in plan.exchanges:
        check_activemq_exchange(exchange)
    users = [user for user in plan.users if user.role.stream]
    if any(user.name == ADMIN for user in users):
        raise ConfigError(f"the name {ADMIN!r} is that of ActiveMQ's admin; choose another one")
    restricted = [user for user in users if user.role.consumes and user.role.stream == "restricted"]
    text = _filled(template, "destinations", "".join(_queues(restricted, plan.restricted_exchange, " " * 6)))
    text = _filled(text, "virtualDestinations", _virtual(plan, restricted))
    text = _filled(text, "users", "".join(_logins(users, passwords)))
    return _filled(text, "authorizationEntries", "".join(f"{line}\n" for line in _entries(plan, users)))


def _filled(text: str, element: str, content: str) -> str:
    pattern = re.compile(rf"( *)<{element}>\n.*?( *)</{element}>\n", re.DOTALL)
    filled, count = pattern.subn(lambda m: f"{m[1]}<{element}>\n{content}{m[2]}</{element}>\n", text, count=1)
    if not count:
        raise ConfigError(f"the file activemq.xml that comes with sourcepulse has no <{element}>")
    return filled


def _queues(restricted: list[User], exchange: str, indent: str) -> Iterator[str]:
    for user in restricted:
        yield f'{indent}<queue physicalName="Consumer.{user.name}.VirtualTopic.{exchange}.&gt;"/>\n'
        yield f'{indent}<queue physicalName="Consumer.{user.name}.dead"/>\n'


def _virtual(plan: Plan, restricted: list[User]) -> str:
    indent = " " * 10
    lines = [
        f'{indent}<virtualTopic name="VirtualTopic.{plan.exchange}.&gt;" prefix="Consumer.*." selectorAware="false"/>\n'
    ]
    if restricted:
        exchange = plan.restricted_exchange
        queues = [line for line in _queues(restricted, exchange, indent + " " * 4) if "VirtualTopic" in line]
        lines += [
            f"{indent}<!-- List every durable queue for restricted events here, above, and with its users below. -->\n",
            f'{indent}<compositeTopic name="VirtualTopic.{exchange}.&gt;" forwardOnly="false">\n',
            f"{indent}  <forwardTo>\n",
            *queues,
            f"{indent}  </forwardTo>\n",
            f"{indent}</compositeTopic>\n",
        ]
    return "".join(lines)


def _logins(users: list[User], passwords: Mapping[str, str] | None) -> Iterator[str]:
    yield _login(ADMIN, "admins", passwords)
    for user in users:
        groups = _GROUPS[user.role.name]
        # Queues belong to one user, not to all of its role.
        yield _login(user.name, f"{groups},{_own(user)}" if user.role.consumes else groups, passwords)


def _login(name: str, groups: str, passwords: Mapping[str, str] | None) -> str:
    password = quoteattr(f"{_PLACEHOLDER}{name}" if passwords is None else passwords[name])
    return f'{" " * 10}<authenticationUser username="{name}" password={password} groups="{groups}"/>\n'


def _entries(plan: Plan, users: list[User]) -> Iterator[str]:
    yield _entry("topic", ">", "admins", "admins", "admins")
    yield _entry("queue", ">", "admins", "admins", "admins")
    for stream, exchange in (("public", plan.exchange), ("restricted", plan.restricted_exchange)):
        if exchange not in plan.exchanges:
            continue
        prefix = "" if stream == "public" else "restricted-"
        readers, relays = f"{prefix}readers", f"{prefix}relays"
        yield ""
        yield _entry("topic", f"VirtualTopic.{exchange}.>", readers, relays, f"{relays},{readers}")
        if stream == "public" and any(user.role.name == "webhook-publisher" for user in users):
            # Beside the rights of the line above, which are for all topics.
            group = _GROUPS["webhook-publisher"]
            yield _entry("topic", f"VirtualTopic.{exchange}.system.webhook.>", readers, group, f"{group},{readers}")
        for user in users:
            if not user.role.consumes or user.role.stream != stream:
                continue
            own = _own(user)
            is_public = stream == "public"
            queue, dead = f"Consumer.{user.name}.VirtualTopic.{exchange}.>", f"Consumer.{user.name}.dead"
            yield _entry("queue", queue, own, "admins" if is_public else relays, own if is_public else "admins")
            yield _entry("queue", dead, own, own, own if is_public else "admins")


def _entry(kind: str, name: str, read: str, write: str, admin: str) -> str:
    indent = " " * 14
    return f'{indent}<authorizationEntry {kind}="{escape(name)}" read="{read}" write="{write}" admin="{admin}"/>'


def _own(user: User) -> str:
    """Return the group of one user; no other name is like it, because a role's group does not begin so."""
    return f"user-{user.name}"
