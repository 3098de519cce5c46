# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What RabbitMQ allows the relay's user: login, virtual host, exchange, routing keys; and whether it takes events now.

Nothing is changed: messages are published in transactions that are rolled back, the exchange is only looked for, and
the right to declare it is tried with an argument that RabbitMQ refuses after it has checked the right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import amqp
from amqp import exceptions

from sourcepulse.brokers.amqp.connection import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    AmqpConnection,
    LoginRefusedError,
    VhostMissingError,
    VhostRefusedError,
)
from sourcepulse.brokers.network.rabbitmq import amqp_beside
from sourcepulse.brokers.stomp.connection import StompConnection
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from sourcepulse.events.topics import FAMILIES
from sourcepulse.operations.broker_setup.roles import ROLES, Role, User, rights_of, topics
from sourcepulse.operations.doctor.finding import Finding, broken, unchecked, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words, shell_words
from sourcepulse.relay.destination import STREAMS
from sourcepulse.relay.streams import Place


class _RightsHiddenError(BrokerUnavailableError):
    """STOMP lets us log in, and AMQP, which names what is not allowed, does not answer."""


#: For connecting and logging in, and for each request.
CONNECT_LIMIT_SECONDS = 5.0
CALL_LIMIT_SECONDS = 3.0

_BODY = b"rolled back"
_KEY = "doctor.check"
_PRODUCT = "RabbitMQ"
_TOPIC_REFUSED = re.compile(r"ACCESS_REFUSED - (?:write )?access to topic '")
_NO_KEY, _ANY_KEY = "^$", ".*"
_MEMORY = "memory"
_STREAM_OF = {prefix: stream for stream, prefix in STREAMS}
_LOGIN_REFUSED = re.compile(r"access refused for user|non-loopback access denied", re.IGNORECASE)
_HIDDEN, _FAILED = "SP305", "SP209"
#: The most specific first.
_REFUSALS: dict[type[BrokerUnavailableError], str] = {
    LoginRefusedError: "SP301",
    VhostMissingError: "SP302",
    VhostRefusedError: "SP303",
    BrokerRefusedUsError: "SP310",
    _RightsHiddenError: _HIDDEN,
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_URL_OF_FILE = "open(sys.argv[1]).read()"
_URL_OF_TOML = "tomllib.load(open(sys.argv[1], 'rb'))['{key}']"
_PRINT_FROM_URL = "import sys, tomllib, urllib.parse as u; print(u.unquote(u.urlsplit({url}.strip()).password))"


def rights(
    situation: Situation, place: Place, prefix: str, families: Sequence[str], hosts: Sequence[tuple[str, int]]
) -> Iterator[Finding]:
    """Yield what keeps events of these families from being published, in the order in which RabbitMQ checks it.

    Every one of the hosts is asked to accept our login; the rights are looked at where it is accepted first.
    """
    role = next(role for role in ROLES.values() if role.publishes and role.stream == _STREAM_OF[prefix])
    look = Look(situation, place, prefix, role)
    yield from look.where_accepted(hosts, partial(look.exchange_and_topics, families=families))


def log_in(url: BrokerUrl) -> AmqpConnection:
    """Return a connection that names reasons: over STOMP the login alone is tried, and the rest over AMQP beside it."""
    limits = {"connect_limit_s": CONNECT_LIMIT_SECONDS, "call_limit_s": CALL_LIMIT_SECONDS}
    refusal: BrokerRefusedUsError | None = None
    is_stomp = url.scheme.endswith("+rabbitmq")
    if is_stomp:
        stomp = StompConnection(url, **limits)
        try:
            stomp.open()
        except BrokerRefusedUsError as error:
            refusal = error
        finally:
            stomp.close()
    connection = AmqpConnection(amqp_beside(url) if is_stomp else url, **limits)
    try:
        connection.open()
    except BrokerRefusedUsError:
        raise
    except BrokerUnavailableError as error:
        if refusal is not None:
            raise (LoginRefusedError(str(refusal)) if _LOGIN_REFUSED.search(str(refusal)) else refusal) from None
        if is_stomp:
            why = f"rights cannot be checked over STOMP, and AMQP does not answer: {error}"
            raise _RightsHiddenError(why) from None
        raise
    if refusal is not None:
        connection.abandon()
        raise refusal
    return connection


class Look:
    """What a login of a role may do at a broker, and the values of the commands that repair it."""

    def __init__(
        self, situation: Situation, place: Place, prefix: str, role: Role, *, file: Path | None = None
    ) -> None:
        self._situation = situation
        self._place = place
        self._prefix = prefix
        #: The file with the URL, where that is not the broker of the settings.
        self._file = file
        self.where = str(file) if file else situation.url_place(prefix)
        user = place.url.user or "guest"
        # What setup-broker grants, and no more.
        allowed = rights_of(User(user, role), place.exchange, dead_letters=False)
        self._values: dict[str, object] = {
            "where": self.where,
            "broker_host": other_host(place.url),
            "user": user,
            "vhost": place.url.vhost,
            "exchange": place.exchange,
            "configure": allowed.configure,
            "write": allowed.write,
            "read": allowed.read,
            "topics": (role.keys or topics()) if role.publishes else _NO_KEY,
            "read_topics": _NO_KEY if role.publishes else _ANY_KEY,
            "definitions": self._definition(),
        }

    def where_accepted(
        self, hosts: Sequence[tuple[str, int]], check: Callable[[AmqpConnection], Iterator[Finding]]
    ) -> Iterator[Finding]:
        """Yield which hosts refuse the login, and what the check finds at the first one that accepts it."""
        refusals: list[tuple[str, BrokerUnavailableError]] = []
        opened: AmqpConnection | None = None
        for host in hosts:
            try:
                connection = log_in(replace(self._place.url, hosts=(host,)))
            except BrokerUnavailableError as error:
                refusals.append((host[0], error))
                continue
            if opened is None:
                opened = connection
            else:
                connection.abandon()
        yield from self.refused(refusals, somewhere_accepted=opened is not None)
        if opened is None:
            return
        try:
            yield from check(opened)
        except BrokerUnavailableError as error:
            yield self.blocked(opened) if opened.blocked else broken("SP209", self._place, str(error), where=self.where)
        finally:
            opened.abandon()

    def refused(
        self, refusals: Sequence[tuple[str, BrokerUnavailableError]], *, somewhere_accepted: bool
    ) -> Iterator[Finding]:
        """Yield a finding for each kind of refusal by the hosts; failures only if nothing else is known."""
        by_id: dict[str, list[tuple[str, str]]] = {}
        for host, error in refusals:
            id_ = next((id_ for kind, id_ in _REFUSALS.items() if isinstance(error, kind)), _FAILED)
            by_id.setdefault(id_, []).append((host, str(error)))
        if somewhere_accepted or len(by_id) > 1:
            by_id.pop(_FAILED, None)
        for id_, found in by_id.items():
            text = "; ".join(error for _, error in found)
            if id_ == _HIDDEN:
                yield unchecked(id_, self._place, text)
                continue
            hosts = [host for host, _ in found if host not in _LOOPBACK]
            more: dict[str, object] = {"broker_host": " and at ".join(hosts)}
            if id_ == "SP301":
                more["password"] = self._print_password()
                text += "" if self._place.url.has_password else "; the URL names no password"
            yield self.broken(id_, text, **more)

    def blocked(self, connection: AmqpConnection) -> Finding:
        """Return the finding for a broker that takes no messages now."""
        reason = connection.blocked_reason
        return self.broken("SP308" if _MEMORY in reason else "SP309", f"{connection.host} blocks us: {reason}")

    def exchange_and_topics(self, connection: AmqpConnection, families: Sequence[str]) -> Iterator[Finding]:
        """Yield what is wrong with the exchange and the rights to it."""
        missing = self.missing(connection)
        if missing is not None:
            yield from missing
            return
        refused: dict[str, str] = {}
        allowed: list[str] = []
        for family in sorted({*families, *(word for words in FAMILIES.values() for word in words)}):
            error = self.try_to_publish(connection, f"{family}.{_KEY}")
            if error is None:
                allowed.append(family)
            elif _TOPIC_REFUSED.match(error):
                refused[family] = error
            else:
                yield self.broken("SP305", error)
                return
        needed = [family for family in families if family in refused]
        if needed:
            pattern = rf"^({'|'.join(sorted({*allowed, *needed}))})\."
            for family in needed:
                yield self.broken("SP306", f"events {family}.*: {refused[family]}", pattern=pattern)

    def missing(self, connection: AmqpConnection) -> list[Finding] | None:
        """Return what is wrong with an exchange that is missing or foreign; None if it is there."""
        exchange = self._place.exchange
        code, text = _answer(connection, exchange, passive=True)
        if code == NOT_FOUND:
            may = self._may_declare(connection)
            if may:
                return [well("SP304", self._place, f"the exchange {exchange!r} is missing; the relay declares it")]
            if may is None:
                return [unchecked("SP304", self._place, f"the exchange {exchange!r} is missing: {text}")]
            return [self.broken("SP304", f"{text}; {connection.host} does not let us declare it")]
        if code is not None:
            return [self.broken("SP310", text)]
        # A declaration of what is there changes nothing, and RabbitMQ compares it, if we have the right to.
        code, text = _answer(connection, exchange, durable=True, auto_delete=False)
        if code == PRECONDITION_FAILED:
            name = json.dumps(exchange), json.dumps(self._place.url.vhost)
            expression = (
                f'rabbit_exchange:delete(rabbit_misc:r(<<{name[1]}>>, exchange, <<{name[0]}>>), false, <<"doctor">>).'
            )
            return [self.broken("SP307", text, expression=expression)]
        return None

    def _may_declare(self, connection: AmqpConnection) -> bool | None:
        """Return whether we may declare the exchange, without declaring it; None if that cannot be known."""
        if connection.product != _PRODUCT:
            return None
        # The type of this argument is wrong, which RabbitMQ refuses after the right was checked.
        code, _ = _answer(connection, self._place.exchange, durable=True, arguments={"alternate-exchange": 1})
        return {ACCESS_REFUSED: False, PRECONDITION_FAILED: True}.get(code or 0)

    def try_to_publish(self, connection: AmqpConnection, key: str) -> str | None:
        """Publish in a transaction that is rolled back; return the refusal, None if there was none."""
        channel = connection.channel()
        try:
            connection.call(channel.tx_select)
            connection.call(channel._basic_publish, amqp.Message(_BODY), self._place.exchange, key)
            connection.call(channel.tx_rollback)
            connection.call(channel.close)
        except exceptions.ChannelError as error:
            return str(error.reply_text)
        return None

    def _definition(self) -> str:
        exchange = {
            "name": self._place.exchange,
            "vhost": self._place.url.vhost,
            "type": "topic",
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": {},
        }
        return json.dumps({"exchanges": [exchange]})

    def _print_password(self) -> Words | None:
        """Return a command that prints the password of the URL, which must not appear in a command itself.

        None if the URL has none.
        """
        if not self._place.url.has_password:
            return None
        file = self._file or self._situation.url_file(self._prefix)
        if file is None:
            return Words('(read -rs password && echo "$password")')
        is_toml = self._file is None and not self._situation.config.text(f"{self._prefix}broker_file")
        url = _URL_OF_TOML.format(key=f"{self._prefix}broker") if is_toml else _URL_OF_FILE
        return shell_words(["python3", "-c", _PRINT_FROM_URL.format(url=url), file])

    def broken(self, id_: str, found: str, **more: object) -> Finding:
        """Return a finding whose commands have the values of this login."""
        return broken(id_, self._place, found, **self._values | more)


def other_host(url: BrokerUrl) -> str:
    """Return the host of a broker, "" if that is this machine."""
    host = url.hosts[0][0]
    return "" if host in _LOOPBACK else host


def _answer(connection: AmqpConnection, exchange: str, **how: object) -> tuple[int | None, str]:
    """Return code and words of RabbitMQ's refusal of a declaration; None and "" if it is content."""
    channel = connection.channel()
    try:
        connection.call(channel.exchange_declare, exchange, "topic", **how)
        connection.call(channel.close)
    except exceptions.ChannelError as error:
        return int(error.reply_code), str(error.reply_text)
    return None, ""
