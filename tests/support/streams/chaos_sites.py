# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an admin, a stranger and a network can do to each broker in mid-stream; each fault returns what heals it."""

from __future__ import annotations

import fcntl
import itertools
import json
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import amqp.exceptions

from sourcepulse.brokers.file.admin import delete_queue
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import NothingThereError
from sourcepulse.outbox.files import lock_file
from sourcepulse.outbox.sqlite_file import side_files
from support.brokers.activemq import ActiveMqNode
from support.brokers.amqp import admin
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_file import FileBroker
from support.brokers.broker_rabbitmq import RabbitBroker, StompRabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.faulty_broker import OPTIONS
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import KEEPER, RELAY, VHOST, RabbitNode

EXCHANGE = "sourcepulse"
QUEUE = "sub.chaos"
#: So few messages fit into a queue that is full.
FULL_MESSAGES = 60
POLICY = "full"

Heal = Callable[[], None]
Fault = Callable[[], Heal]


class Site(ABC):
    """One broker with a login of the relay and one of the consumer; `faults` are those that it knows.

    `mend_login` is called with "relay" or "consumer" when its URL is to be corrected, `kill_consumer` where a fault
    needs a queue that no consumer uses.
    """

    stranger: BrokerUnderTest

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.mend_login: Callable[[str], None] = lambda _: None
        self.kill_consumer: Fault = lambda: _nothing

    @abstractmethod
    def url(self, role: str) -> str:
        """Return the URL by which the relay or the consumer gets to the broker now."""

    @abstractmethod
    def close(self) -> None:
        """End what was started."""


class _Remote(Site):
    def __init__(self, node: RabbitNode | ActiveMqNode, port: int, logins: dict[str, tuple[str, str]]) -> None:
        super().__init__()
        self._node = node
        self._logins = logins
        self._passwords = (f"n3w-s3cret-{number}" for number in itertools.count())
        self._stack = ExitStack()
        self._ways = {role: self._stack.enter_context(Proxy(port)) for role in logins}
        self.faults |= {
            "broker killed": lambda: self._away(node.kill),
            "broker stopped": lambda: self._away(node.stop),
            "broker frozen": self._freeze,
        }
        for role, way in self._ways.items():
            self.faults[f"{role} in a black hole"] = lambda way=way: self._hold(way)  # type: ignore[misc]
            self.faults[f"{role}'s password changed"] = lambda role=role: self._new_password(role)  # type: ignore[misc]
            self.faults[f"{role}'s rights revoked"] = lambda role=role: self.revoke(role)  # type: ignore[misc]

    def close(self) -> None:
        self._stack.close()

    @abstractmethod
    def revoke(self, role: str) -> Heal:
        """Leave a login without rights, and close its connections."""

    @abstractmethod
    def set_password(self, user: str, password: str) -> None:
        """Change a password, and close the connections."""

    def _away(self, end: Callable[[], None]) -> Heal:
        end()
        return self._node.start

    def _freeze(self) -> Heal:
        self._node.freeze()
        return self._node.thaw

    def _hold(self, way: Proxy) -> Heal:
        way.hold()
        return way.release

    def _new_password(self, role: str) -> Heal:
        user, _ = self._logins[role]
        self._logins[role] = user, next(self._passwords)
        self.set_password(*self._logins[role])
        return lambda: self.mend_login(role)


class RabbitSite(_Remote):
    """RabbitMQ, over AMQP or STOMP."""

    def __init__(self, node: RabbitNode, *, stomp: bool) -> None:
        super().__init__(node, node.stomp_port if stomp else node.port, {"relay": RELAY, "consumer": KEEPER})
        self.node = node
        self._url = node.stomp_url if stomp else node.url
        self.stranger = StompRabbitBroker(node) if stomp else RabbitBroker(node)
        self.faults |= {
            "connections closed": self._close_connections,
            "exchange deleted": self._delete_exchange,
            "binding removed": self._remove_binding,
            "queue deleted": self._delete_queue,
            "queue full, oldest dropped": lambda: self._limit("drop-head"),
            "queue full, new ones refused": lambda: self._limit("reject-publish"),
        }
        permissions = node.control("--quiet", "list_permissions", "-p", VHOST)
        self._rights = {row[0]: row[1:4] for row in (line.split("\t") for line in permissions.splitlines())}

    def url(self, role: str) -> str:
        return self._url(self._logins[role], port=self._ways[role].port) + OPTIONS

    def close(self) -> None:
        super().close()
        for user, password in (RELAY, KEEPER):
            self.node.control("change_password", user, password)
            self._note_password(user, password)
        self._delete_queue()

    def set_password(self, user: str, password: str) -> None:
        self.node.control("change_password", user, password)
        self._note_password(user, password)
        self._close_connections()

    def _note_password(self, user: str, password: str) -> None:
        # The node reads its definitions again at each start.
        path = self.node.folder / "definitions.json"
        definitions = json.loads(path.read_text())
        for each in definitions["users"]:
            if each["name"] == user:
                each["password"] = password
        path.write_text(json.dumps(definitions))

    def revoke(self, role: str) -> Heal:
        user = self._logins[role][0]
        self.node.control("clear_permissions", "-p", VHOST, user)
        self._close_connections()

        def restore() -> None:
            self.node.control("set_permissions", "-p", VHOST, user, *self._rights[user])

        return restore

    def _close_connections(self) -> Heal:
        self.node.control("close_all_connections", "--vhost", VHOST, "chaos")
        return _nothing

    def _delete_exchange(self) -> Heal:
        with admin(self.node) as channel:
            channel.exchange_delete(EXCHANGE)
        # The relay makes it again over AMQP; over STOMP only an admin can.
        return _nothing if self.node.url is self._url else lambda: self.node.declare_exchange(EXCHANGE)

    def _remove_binding(self) -> Heal:
        with admin(self.node) as channel, suppress(amqp.exceptions.NotFound):
            channel.queue_unbind(QUEUE, EXCHANGE, "#")
        return _nothing

    def _delete_queue(self) -> Heal:
        with admin(self.node) as channel, suppress(amqp.exceptions.NotFound):
            channel.queue_delete(QUEUE)
        return _nothing

    def _limit(self, overflow: str) -> Heal:
        definition = f'{{"max-length":{FULL_MESSAGES},"overflow":"{overflow}"}}'
        self.node.control("set_policy", "-p", VHOST, "--apply-to", "queues", POLICY, f"^{QUEUE}$", definition)

        def lift() -> None:
            self.node.control("clear_policy", "-p", VHOST, POLICY)

        return lift


class ActiveMqSite(_Remote):
    """ActiveMQ, which reads users and rights when it starts; without its console an admin cannot close a connection.

    There is neither an exchange nor a binding, and a queue is removed only together with the whole store.
    """

    def __init__(self, node: ActiveMqNode) -> None:
        super().__init__(node, node.port, {"relay": RELAY, "consumer": KEEPER})
        self.node = node
        self.stranger = ActiveMqBroker(node)
        self._configuration = node.folder / "activemq.xml"
        self._original = self._configuration.read_text()
        self.faults |= {"queue deleted": self._forget, "store full": self._full}

    def url(self, role: str) -> str:
        return self.node.url(self._logins[role], port=self._ways[role].port) + OPTIONS

    def close(self) -> None:
        super().close()
        self._restart(self._original)

    def set_password(self, user: str, password: str) -> None:
        text = self._configuration.read_text()
        self._restart(re.sub(rf'(username="{user}" password=")[^"]*', rf"\g<1>{password}", text))

    def revoke(self, role: str) -> Heal:
        user = self._logins[role][0]
        former = self._configuration.read_text()
        # A member of no group has no right.
        self._restart(re.sub(rf'(username="{user}" [^>]* groups=")[^"]*', r"\g<1>nobody", former))
        return lambda: self._restart(former)

    def _forget(self) -> Heal:
        self.node.kill()
        self.node.forget_everything()
        return self.node.start

    def _full(self) -> Heal:
        former = self._configuration.read_text()
        self._restart(re.sub(r'(<storeUsage limit=")[^"]*', r"\g<1>1000 b", former))
        return lambda: self._restart(former)

    def _restart(self, configuration: str) -> None:
        self.node.stop()
        self._configuration.write_text(configuration)
        self.node.start()


class FileSite(Site):
    """The embedded log: no process, network, login, exchange or binding of its own; rights are those of the file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.stranger = FileBroker(folder)
        self._log = folder / "log.db"
        self.faults |= {
            "queue deleted": self._delete_queue,
            "log removed": self._remove_log,
            "log locked": self._lock,
            "queue full, oldest dropped": self._limit,
        }

    def url(self, role: str) -> str:
        return self.stranger.url

    def close(self) -> None:
        pass

    def _delete_queue(self) -> Heal:
        restart = self.kill_consumer()
        with suppress(NothingThereError):
            delete_queue(BrokerUrl.parse(self.stranger.url), QUEUE)
        return restart

    def _remove_log(self) -> Heal:
        for path in (self._log, *side_files(self._log)):
            path.unlink(missing_ok=True)
        return _nothing

    def _lock(self) -> Heal:
        lock = lock_file(self._log).open("rb+")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock.close

    def _limit(self) -> Heal:
        with sqlite3.connect(self._log, timeout=30) as db:
            before = db.execute("SELECT max_length FROM queues WHERE name = ?", (QUEUE,)).fetchone()
            db.execute("UPDATE queues SET max_length = ? WHERE name = ?", (FULL_MESSAGES, QUEUE))
        db.close()

        def lift() -> None:
            with sqlite3.connect(self._log, timeout=30) as db:
                db.execute("UPDATE queues SET max_length = ? WHERE name = ?", (*(before or (100_000,)), QUEUE))
            db.close()

        return lift


def _nothing() -> None:
    """Leave it to those whom it befell."""
