# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a set-up depends on and does not change: our own rights, and users of others that get at events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sourcepulse.brokers.management.api import Management
from sourcepulse.errors import BrokerRefusedUsError
from sourcepulse.operations.broker_setup.objects import Plan
from sourcepulse.operations.broker_setup.rabbitmq import Found, State

_ADMIN = "administrator"


def check_admin(api: Management) -> None:
    """Raise BrokerRefusedUsError unless our login is an administrator, so that nothing is begun that must fail."""
    name, tags = api.whoami()
    if _ADMIN not in tags:
        has = f"the tag {', '.join(sorted(tags))}" if tags else "no tag"
        raise BrokerRefusedUsError(
            f"the login {name!r} has {has} at {api}, and only an {_ADMIN} sees users and rights: "
            f"use another one, or run: rabbitmqctl set_user_tags {name} {_ADMIN}"
        )


def others(api: Management, plan: Plan) -> Iterator[Found]:
    """Yield the users who can forge events or read restricted ones, and are neither in the plan nor administrators."""
    ours = {user.name for user in plan.users}
    rows = api.find("vhosts", plan.vhost, "permissions") or []
    for row in sorted(rows, key=lambda row: str(row["user"])):
        name = str(row["user"])
        found = _power(row, plan)
        if name in ours or not found:
            continue
        user = api.find("users", name) or {}
        if _ADMIN not in user.get("tags", ()):
            yield Found(State.OTHER, "user", name, f"not one of these, and may {found}")


def _power(rights: Mapping[str, Any], plan: Plan) -> str:
    powers = [f"write to {exchange}" for exchange in plan.exchanges if _allows(rights["write"], exchange)]
    if plan.restricted_exchange in plan.exchanges and _allows(rights["read"], plan.restricted_exchange):
        powers.append(f"read {plan.restricted_exchange}")
    return ", ".join(powers)


def _allows(pattern: str, name: str) -> bool:
    """Return whether a right includes a name; in doubt it does."""
    try:
        # RabbitMQ searches; an empty pattern is none.
        return bool(pattern) and re.search(pattern, name) is not None
    except re.error:
        return True
