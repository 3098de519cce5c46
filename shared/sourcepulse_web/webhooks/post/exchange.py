# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One request and its answer, over a new connection to a freshly checked address; no proxy, no redirect, no repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sourcepulse.brokers import bounded_socket
from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.errors import NoAnswerError, Problem
from sourcepulse_web.webhooks.post.address import Lookup, resolve
from sourcepulse_web.webhooks.post.connection import Connection
from sourcepulse_web.webhooks.post.http_answer import Body, Head, HeadReader
from sourcepulse_web.webhooks.post.trust import Trust
from sourcepulse_web.webhooks.post.url import Target
from sourcepulse_web.webhooks.settings import WebhookSettings

BODY_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a receiver answered: a head, what was read of the body, and what is wrong with it, if anything."""

    head: Head
    body: bytes
    trouble: NoAnswerError | None


class Exchange:
    """Requests to receivers, by one set of settings; any thread may call it.

    >>> exchange = Exchange(settings)
    >>> exchange.request("OPTIONS", check_url(hook.url, settings), [], b"", deadline=time.monotonic() + 15)
    """

    def __init__(self, settings: WebhookSettings, lookup: Lookup = bounded_socket.resolve) -> None:
        self._lookup = lookup
        self._trust = Trust(settings.ca_file)

    def request(
        self,
        method: str,
        target: Target,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        deadline: float,
        ready: Callable[[], None] = lambda: None,
    ) -> Heard:
        """Return the answer; AddressRefusedError, or NoAnswerError if no head of an answer arrived in time.

        Everything together, from the lookup to the last byte, ends at the deadline (monotonic). `ready` is called once
        the connection is open, before a byte of the request is sent; what it raises passes through.
        """
        data = _request(method, target, headers, body)
        addresses = resolve(target, deadline, self._lookup)
        connection = Connection(target.host, deadline)
        reader = HeadReader()
        try:
            connection.open(addresses, self._trust.context() if target.scheme == "https" else None)
            ready()
            connection.send(data, lambda received: reader.read(received) is not None)
            return _hear(connection, reader)
        finally:
            connection.close()


def _request(method: str, target: Target, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    lines = [
        ("Host", target.host_header),
        *headers,
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
        ("Content-Length", str(len(body))),
    ]
    for name, value in lines:
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"the header {name} cannot be sent, because its value is not one line of ASCII")
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"{method} {target.path_query} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _hear(connection: Connection, reader: HeadReader) -> Heard:
    while (head := reader.read(connection.received)) is None:
        if not connection.receive("answer"):
            raise NoAnswerError(f"{connection.host} closed the connection without an answer", Problem.CUT)
    body: Body | None = None
    trouble: NoAnswerError | None = None
    try:
        body = Body(head)
        trouble = _hear_body(connection, body)
    except NoAnswerError as error:
        trouble = error
    return Heard(head=head, body=bytes(body.content[:BODY_MAX_BYTES]) if body else b"", trouble=trouble)


def _hear_body(connection: Connection, body: Body) -> NoAnswerError | None:
    """Read until the body is whole or long enough; return what is wrong with its end."""
    heard = 0
    data = connection.received[body.head.end :]
    while True:
        heard += len(data)
        body.add(data)
        if body.whole or heard >= BODY_MAX_BYTES:
            return None
        connection.received.clear()
        ended = None
        try:
            more = connection.receive("end its answer")
        except NoAnswerError as error:
            if error.problem is Problem.TIME:
                raise
            more, ended = False, error
        if not more:
            if ended is None and body.ends_with_connection:
                return None
            return NoAnswerError("the answer was cut before its end", Problem.CUT)
        data = connection.received
