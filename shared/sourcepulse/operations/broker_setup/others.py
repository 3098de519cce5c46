# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is at a broker beside the objects of a plan: users of others that get at events, policies that replace ours.

It is only named, with the command that removes it, but for topic permissions of our users, which are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from sourcepulse.brokers.management.api import Management
from sourcepulse.errors import BrokerRefusedUsError, SourcePulseError
from sourcepulse.operations.broker_setup.flows import Flows, in_force
from sourcepulse.operations.broker_setup.found import Found, State
from sourcepulse.operations.broker_setup.objects import POLICIES, Plan, objects
from sourcepulse.operations.broker_setup.patterns import allows
from sourcepulse.operations.broker_setup.removal import by_control
from sourcepulse.operations.broker_setup.roles import NAMELESS, ROLES, Rights, User, rights_of

_ADMIN, _POLICYMAKER = "administrator", "policymaker"
_TOPICS = "topic permission"
_RESTRICTED_READER = "restricted-consumer"
_REJECTING = "reject-publish"


def check_admin(api: Management) -> None:
    """Raise BrokerRefusedUsError unless our login is an administrator, so that nothing is begun that must fail."""
    name, tags = api.whoami()
    if _ADMIN not in tags:
        has = f"the tag {', '.join(sorted(tags))}" if tags else "no tag"
        raise BrokerRefusedUsError(
            f"the login {name!r} has {has} at {api}, and only an {_ADMIN} sees users and rights: "
            f"use another one, or run: rabbitmqctl set_user_tags {name} {_ADMIN}"
        )


class Others:
    """Looks at what is beside a plan."""

    def __init__(self, api: Management, plan: Plan) -> None:
        self._api = api
        self._plan = plan
        consumers: dict[str, list[str]] = {}
        for user in plan.users:
            if user.role.consumes:
                consumers.setdefault(user.role.stream, []).append(user.name)
        self._flows = Flows(
            api, plan.vhost, public=plan.exchange, restricted=plan.restricted_exchange, consumers=consumers
        )

    def look(self) -> Iterator[Found]:
        """Yield what is there that is not ours, the dangers first."""
        yield from self._users()
        for part in self._flows.parts():
            yield from part()
        yield from self._queues()
        yield from self._limits()
        yield from self._elsewhere()

    def topics(self, *, is_removed: bool) -> Iterator[Found]:
        """Yield the topic permissions of our users that their roles do not have; remove them."""
        wanted = {each.name: each for each in objects(self._plan) if each.kind == _TOPICS}
        for user in self._plan.users:
            rows = self._api.find("topic-permissions", self._plan.vhost, user.name) or []
            own = wanted.get(user.name)
            surplus = [row for row in rows if own is None or row["exchange"] != own.value["exchange"]]
            if not surplus:
                continue
            state, error = State.DIFFERS, None
            if is_removed:
                state = State.CHANGED
                try:
                    # RabbitMQ's API removes all of a user, so that of its role is written again at once.
                    self._api.delete("topic-permissions", self._plan.vhost, user.name)
                    if own is not None:
                        self._api.put(*own.path, value=own.value)
                except SourcePulseError as failure:
                    state, error = State.FAILED, failure
            for row in surplus:
                detail = f"{'removed: ' if state is State.CHANGED else ''}write {row['write']}, read {row['read']}"
                why = str(error) if error else f"{detail}; a {user.role.name} has none for this exchange"
                yield Found(state, _TOPICS, f"{user.name} {row['exchange']}", why, error)

    def _users(self) -> Iterator[Found]:
        """Yield the users who have a power over events, and are neither in the plan nor administrators."""
        ours = {user.name for user in self._plan.users}
        for row in self._permissions:
            name = str(row["user"])
            if name in ours:
                continue
            tags = self._tags.get(name, ())
            powers = [*self._powers(row), *(["set policies and shovels"] if _POLICYMAKER in tags else [])]
            if not powers or _ADMIN in tags:
                continue
            role = "" if _POLICYMAKER in tags else self._role_of(row)
            remove = by_control(self._plan.vhost, "clear_permissions", name)
            if role:
                detail = f"has the rights of a {role}; if it is one, name it: --user {role}={name}"
                yield Found(State.OTHER, "user", name, detail, repair=remove)
            else:
                detail = f"not one of these, and may {', '.join(powers)}"
                yield Found(State.DANGER, "user", name, detail, repair=remove)

    def _powers(self, rights: Mapping[str, Any]) -> Iterator[str]:
        exchanges, restricted = self._flows.exchanges, self._plan.restricted_exchange
        users = {stream: self._flows.readers(stream) for stream in ("public", "restricted")}
        yield from (f"write to {exchange}" for exchange in exchanges if allows(rights["write"], exchange))
        if allows(rights["write"], NAMELESS):
            yield "write to every queue"
        yield from (
            f"write to queues of {stream} consumers" for stream, names in users.items() if _any(rights["write"], names)
        )
        if restricted in exchanges and allows(rights["read"], restricted):
            yield f"read {restricted}"
        if _any(rights["read"], {*users["restricted"], *self._restricted_queues()}):
            yield "read queues of restricted events"
        yield from (f"delete {exchange}" for exchange in exchanges if allows(rights["configure"], exchange))
        yield from (
            f"delete queues of {stream} consumers"
            for stream, names in users.items()
            if _any(rights["configure"], names)
        )

    def _role_of(self, rights: Mapping[str, Any]) -> str:
        """Return the role that has exactly these rights; "" if none has."""
        found = Rights(rights["configure"], rights["write"], rights["read"])
        for role in ROLES.values():
            user = User(str(rights["user"]), role)
            if role.stream and found == rights_of(
                user, self._plan.exchange_of(user), dead_letters=self._plan.dead_letters
            ):
                return role.name
        return ""

    def _queues(self) -> Iterator[Found]:
        """Yield the queues of restricted events that users may read who are for public events, or for none."""
        entitled = {user.name for user in self._plan.users if user.role.stream == "restricted"}
        users = [
            row
            for row in self._permissions
            if row["user"] not in entitled
            and self._role_of(row) != _RESTRICTED_READER
            and _ADMIN not in self._tags.get(row["user"], ())
        ]
        for queue, remove in sorted(self._restricted_queues().items()):
            readers = ", ".join(str(row["user"]) for row in users if allows(row["read"], queue))
            if readers:
                detail = f"is bound to {self._plan.restricted_exchange}, and {readers} may read it"
                yield Found(State.DANGER, "queue", queue, detail, repair=remove)

    def _limits(self) -> Iterator[Found]:
        """Yield operator policies that replace ours, and policies by which a full queue stops the relay."""
        for kind, path, clear in (
            ("operator policy", "operator-policies", "clear_operator_policy"),
            ("policy", "policies", "clear_policy"),
        ):
            policies = self._api.find(path, self._plan.vhost) or []
            found: dict[str, str] = {}
            for queue in sorted(self._flows.readers("public", "restricted")):
                for policy in in_force(policies, queue, "queues"):
                    limits = ", ".join(f"{name} {value}" for name, value in policy["definition"].items())
                    if kind == "operator policy" and policy["name"] not in POLICIES:
                        found.setdefault(policy["name"], f"replaces our limits for queues such as {queue}: {limits}")
                    elif str(policy["definition"].get("overflow", "")).startswith(_REJECTING):
                        found.setdefault(policy["name"], f"a full queue such as {queue} stops the relay: {limits}")
            for name, detail in sorted(found.items()):
                remove = by_control(self._plan.vhost, clear, name)
                yield Found(State.EXTRA, kind, name, detail, repair=remove)

    def _elsewhere(self) -> Iterator[Found]:
        """Yield rights of our users in other virtual hosts, unless they are those of their role."""
        for user in self._plan.users:
            own = rights_of(user, self._plan.exchange_of(user), dead_letters=self._plan.dead_letters)
            for row in self._api.find("users", user.name, "permissions") or []:
                rights = [row[right] for right in Rights._fields]
                if row["vhost"] == self._plan.vhost or all(
                    right in ("", "^$", usual) for right, usual in zip(rights, own, strict=True)
                ):
                    continue
                words = ", ".join(f"{name} {right}" for name, right in zip(Rights._fields, rights, strict=True))
                detail = f"has more rights in the virtual host {row['vhost']} than a {user.role.name}: {words}"
                remove = by_control(row["vhost"], "clear_permissions", user.name)
                yield Found(State.EXTRA, "permission", user.name, detail, repair=remove)

    def _restricted_queues(self) -> Mapping[str, str]:
        names = {row["name"] for row in self._flows.queues}
        return {name: remove for name, remove in self._flows.reached_queues.items() if name in names}

    @cached_property
    def _permissions(self) -> Sequence[Mapping[str, Any]]:
        rows = self._api.find("vhosts", self._plan.vhost, "permissions") or []
        return sorted(rows, key=lambda row: str(row["user"]))

    @cached_property
    def _tags(self) -> Mapping[str, Sequence[str]]:
        # A list in 3.9 and later, and a text before.
        tags = {row["name"]: row.get("tags", ()) for row in self._api.get("users")}
        return {name: each.split(",") if isinstance(each, str) else each for name, each in tags.items()}


def _any(pattern: str, names: set[str]) -> bool:
    return any(allows(pattern, name) for name in names)
