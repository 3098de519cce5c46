# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The ways, beside the rights of users, by which restricted events leave their exchange or others' enter ours.

RabbitMQ has many: a binding between exchanges, an alternate exchange, dead letters, policies, federation, shovels, and
the tracing of a virtual host. Each is looked at on its own, because a monitor may see some of them only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from sourcepulse.brokers.management.api import Management
from sourcepulse.errors import NothingThereError
from sourcepulse.operations.broker_setup.found import Found, State
from sourcepulse.operations.broker_setup.patterns import applies
from sourcepulse.operations.broker_setup.removal import by_api, by_control

Row = Mapping[str, Any]

_QUEUE_COLUMNS = ("name", "exclusive", "arguments", "effective_policy_definition")
_ALTERNATE, _DEAD_LETTERS = "alternate-exchange", "dead-letter-exchange"
_FEDERATION = ("federation-upstream", "federation-upstream-set", "federation-upstream-pattern")
#: The name of a queue that a consumer could have.
_EXAMPLE = "queue"
_TRACE = "amq.rabbitmq.trace"


class Flows:
    """Reads the virtual host once; `consumers` are names of users by stream."""

    def __init__(
        self,
        api: Management,
        vhost: str,
        *,
        public: str,
        restricted: str,
        consumers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._api = api
        self._vhost = vhost
        self._public = public
        self._restricted = restricted
        self._ours = (public, restricted)
        self._consumers = consumers or {}

    def parts(self) -> tuple[Callable[[], Iterator[Found]], ...]:
        """Return what yields the dangers, each of one kind."""
        return (self.bindings, self.alternates, self.dead_letters, self.policies, self.shovels, self.tracing)

    def bindings(self) -> Iterator[Found]:
        """Yield bindings of other exchanges to ours and to queues of consumers, and of the restricted one to others."""
        for row in self._between_exchanges:
            source, target = row["source"], row["destination"]
            if source in self.reached and target != self._restricted:
                detail = f"copies restricted events to the exchange {target}"
            elif target in self._ours and source != target:
                detail = f"lets users who may write to {source} publish to {target}"
            else:
                continue
            path = ("bindings", self._vhost, "e", source, "e", target, row["properties_key"])
            yield self._danger("binding", f"{source} -> {target}", detail, by_api(self._api, *path))
        readers = self.readers("public", "restricted")
        for row in self._bindings:
            source, target = row["source"], row["destination"]
            # The nameless exchange is bound to every queue, and few may write to it.
            if row["destination_type"] == "queue" and target in readers and source not in ("", *self._ours):
                detail = f"lets users who may write to {source} put events into the queue {target}"
                path = ("bindings", self._vhost, "e", source, "q", target, row["properties_key"])
                yield self._danger("binding", f"{source} -> {target}", detail, by_api(self._api, *path))

    def alternates(self) -> Iterator[Found]:
        """Yield exchanges that were declared with an alternate exchange."""
        for row in self._exchanges:
            name, target = row["name"], (row.get("arguments") or {}).get(_ALTERNATE)
            detail = self._alternate(name, target) if target else ""
            if detail:
                yield self._danger("exchange", name, detail, by_api(self._api, "exchanges", self._vhost, name))

    def dead_letters(self) -> Iterator[Found]:
        """Yield queues whose arguments move events to an exchange that must not have them."""
        for row in self.queues:
            name, target = row["name"], (row.get("arguments") or {}).get(f"x-{_DEAD_LETTERS}")
            detail = self._dead_letter(name, target) if target else ""
            if detail:
                yield self._danger("queue", name, detail, by_control(self._vhost, "delete_queue", name))

    def policies(self) -> Iterator[Found]:
        """Yield policies that apply to our exchanges or to queues of consumers and redirect events."""
        policies = self._find("policies", self._vhost)
        found: dict[str, str] = {}
        # The worst of a policy is what its line names.
        for exchange in dict.fromkeys((self._restricted, *(row["name"] for row in self._exchanges))):
            for policy in in_force(policies, exchange, "exchanges"):
                definition = policy["definition"]
                detail = self._alternate(exchange, definition[_ALTERNATE]) if _ALTERNATE in definition else ""
                if exchange in self._ours:
                    detail = detail or _federated(exchange, definition)
                if detail:
                    found.setdefault(policy["name"], detail)
        for queue in self._queue_names():
            for policy in in_force(policies, queue, "queues"):
                definition = policy["definition"]
                detail = self._dead_letter(queue, definition[_DEAD_LETTERS]) if _DEAD_LETTERS in definition else ""
                detail = detail or _federated(queue, definition)
                if detail:
                    found.setdefault(policy["name"], detail)
        for name, detail in sorted(found.items()):
            yield self._danger("policy", name, detail, by_control(self._vhost, "clear_policy", name))

    def shovels(self) -> Iterator[Found]:
        """Yield shovels of any virtual host that take restricted events, or put events where only a relay may."""
        for row in self._find("parameters", "shovel"):
            value, home = row["value"], row["vhost"]
            source = _end(value, "src") if self._is_here(value.get("src-uri"), home) else ""
            target = _end(value, "dest") if self._is_here(value.get("dest-uri"), home) else ""
            details = []
            if source in self.reached or source in self.reached_queues or source in self.readers("restricted"):
                details.append(f"takes restricted events from {source}")
            if target in self._ours or target in self.readers("public", "restricted"):
                details.append(f"puts events into {target}")
            if details:
                remove = by_control(home, "clear_parameter", "shovel", row["name"])
                yield self._danger("shovel", row["name"], " and ".join(details), remove)

    def tracing(self) -> Iterator[Found]:
        """Yield whether RabbitMQ copies every event to its exchange for tracing."""
        vhost = self._api.find("vhosts", self._vhost) or {}
        if vhost.get("tracing"):
            detail = f"is traced: every event, also a restricted one, is copied to the exchange {_TRACE}"
            yield self._danger("virtual host", self._vhost, detail, by_control(self._vhost, "trace_off"))

    def readers(self, *streams: str) -> set[str]:
        """Return names of queues of the consumers of these streams: those there are, and one that each may declare."""
        users = [user for stream in streams for user in self._consumers.get(stream, ())]
        names = {row["name"] for row in self.queues if row["name"].partition(".")[0] in users}
        return names | {f"{user}.{_EXAMPLE}" for user in users}

    @cached_property
    def queues(self) -> list[Row]:
        """The queues that a user could read; an exclusive one is closed to others."""
        try:
            rows = list(self._api.rows("queues", self._vhost, columns=_QUEUE_COLUMNS))
        except NothingThereError:
            return []
        return [row for row in rows if not row.get("exclusive")]

    @cached_property
    def reached(self) -> frozenset[str]:
        """The exchanges that restricted events reach by bindings."""
        reached, todo = {self._restricted}, [self._restricted]
        while todo:
            source = todo.pop()
            for row in self._between_exchanges:
                if row["source"] == source and row["destination"] not in reached:
                    reached.add(row["destination"])
                    todo.append(row["destination"])
        return frozenset(reached)

    @cached_property
    def reached_queues(self) -> Mapping[str, str]:
        """The queues that are bound to the restricted exchange, each with the command that removes the binding."""
        return {
            row["destination"]: by_api(
                self._api,
                *("bindings", self._vhost, "e", row["source"], "q", row["destination"]),
                row["properties_key"],
            )
            for row in self._bindings
            if row["destination_type"] == "queue" and row["source"] == self._restricted
        }

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Those of our exchanges that exist."""
        names = {row["name"] for row in self._exchanges}
        return tuple(name for name in self._ours if name in names)

    @cached_property
    def _bindings(self) -> list[Row]:
        return self._find("bindings", self._vhost)

    @property
    def _between_exchanges(self) -> Iterable[Row]:
        return (row for row in self._bindings if row["destination_type"] == "exchange")

    @cached_property
    def _exchanges(self) -> list[Row]:
        return self._find("exchanges", self._vhost)

    def _find(self, *path: str) -> list[Row]:
        found: list[Row] = self._api.find(*path) or []
        return found

    def _queue_names(self) -> set[str]:
        return {*self.readers("public", "restricted"), *self.reached_queues}

    def _alternate(self, exchange: str, target: str) -> str:
        if exchange in self.reached:
            return f"sends restricted events without a queue from {exchange} on to the exchange {target}"
        if target in self._ours:
            return f"lets users who may write to {exchange} publish to {target}"
        if exchange == self._public:
            return f"hides from the relay that events of {exchange} reach no queue: they go to the exchange {target}"
        return ""

    def _dead_letter(self, queue: str, target: str) -> str:
        if target in self._ours:
            return f"lets users who may write to {queue} publish to {target}, by its dead letters"
        # The nameless exchange is that of our own dead letters.
        if target and (queue in self.reached_queues or queue in self.readers("restricted")):
            return f"moves dead letters of {queue}, restricted events, to the exchange {target}"
        return ""

    def _is_here(self, uris: object, home: str) -> bool:
        """Return whether an end of a shovel is in our virtual host; in doubt it is."""
        for uri in uris if isinstance(uris, list) else [uris]:
            try:
                path = urlsplit(str(uri)).path
            except ValueError:
                return True
            if (unquote(path[1:]) or home) == self._vhost:
                return True
        return False

    def _danger(self, kind: str, name: str, detail: str, repair: str) -> Found:
        return Found(State.DANGER, kind, name, detail, repair=repair)


def in_force(policies: Iterable[Row], name: str, kind: str) -> list[Row]:
    """Return the policies of the highest priority that match an exchange or a queue; RabbitMQ applies one of them."""
    matching = [
        policy
        for policy in policies
        if (policy["apply-to"] == "all" or policy["apply-to"].endswith(kind)) and applies(policy["pattern"], name)
    ]
    highest = max((policy["priority"] for policy in matching), default=0)
    return [policy for policy in matching if policy["priority"] == highest]


def _federated(name: str, definition: Row) -> str:
    return f"brings events of another broker into {name}" if any(key in definition for key in _FEDERATION) else ""


def _end(value: Row, end: str) -> str:
    """Return the exchange or queue at an end of a shovel; an address of AMQP 1.0 ends with its name."""
    found = value.get(f"{end}-exchange") or value.get(f"{end}-queue")
    return str(found) if found else unquote(str(value.get(f"{end}-address", "")).rpartition("/")[2])


__all__ = ["Flows", "in_force"]
