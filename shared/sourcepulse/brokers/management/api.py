# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read and change objects of a RabbitMQ node over its management API, one request each."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlencode

from sourcepulse.brokers.management.connection import Answer, HttpConnection
from sourcepulse.brokers.url import host_text
from sourcepulse.errors import BrokerError, BrokerRefusedUsError, BrokerUnavailableError, NothingThereError
from sourcepulse.events.safe_text import short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sourcepulse.brokers.url import BrokerUrl

#: For one request, from the look-up of the name to the last byte of the answer.
REQUEST_LIMIT_SECONDS = 10.0
#: The most that RabbitMQ allows.
PAGE_ROWS = 500
PAGES_MAX = 40
REASON_MAX_CHARACTERS = 300

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _UNWELL = 200, 401, 403, 404, 503
_FIRST_ERROR = 400


class Management:
    """The management API at a URL of `BrokerUrl.parse_management`; paths are passed as words, unescaped.

        api = Management(BrokerUrl.parse_management("https://admin:secret@mq.example.org:15671"))
        api.get("queues", "sourcepulse", "reader.app")["messages"]

    Every call ends within the limit. Errors are BrokerUnavailableError if it does not answer, BrokerRefusedUsError if
    it refuses the login or a right is missing, NothingThereError if there is no such object, otherwise BrokerError.
    None of them contains the password.
    """

    def __init__(self, url: BrokerUrl, *, limit_s: float = REQUEST_LIMIT_SECONDS) -> None:
        self.url = url
        #: The server's time of the last answer, in seconds since 1970, None if it named none.
        self.answered_at: float | None = None
        self._limit_s = limit_s

    def whoami(self) -> tuple[str, frozenset[str]]:
        """Return the name and the tags of our login."""
        try:
            found = self.get("whoami")
        except NothingThereError:
            # Every management API has it.
            raise self.foreign(_NOT_FOUND) from None
        if not isinstance(found, dict):
            raise self.foreign()
        tags = found.get("tags") or ()
        if not isinstance(tags, str | list):
            raise self.foreign()
        return str(found.get("name", "")), frozenset(tags.split(",") if isinstance(tags, str) else map(str, tags))

    def get(self, *path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """Return an object or a list."""
        return self._value(self._answer("GET", path, query=query), path)

    def find(self, *path: str) -> Any | None:
        """Return an object, None if it does not exist."""
        try:
            return self.get(*path)
        except NothingThereError:
            return None

    def put(self, *path: str, value: Mapping[str, Any]) -> None:
        """Create or change one object."""
        answer = self._answer("PUT", path, value=value)
        if answer.status >= _FIRST_ERROR:
            self._fail(answer, path)

    def delete(self, *path: str) -> None:
        """Delete one object, if it is there."""
        answer = self._answer("DELETE", path)
        if answer.status >= _FIRST_ERROR and answer.status != _NOT_FOUND:
            self._fail(answer, path)

    def rows(self, *path: str, columns: tuple[str, ...] = (), page_rows: int = PAGE_ROWS) -> Iterator[dict[str, Any]]:
        """Yield the objects of a list that RabbitMQ pages, such as queues; BrokerError if there are too many."""
        query: dict[str, str | int] = {"columns": ",".join(columns)} if columns else {}
        for page in range(1, PAGES_MAX + 1):
            found = self.get(*path, query={"page": page, "page_size": page_rows, **query})
            items, pages = (found.get("items"), found.get("page_count", 0)) if isinstance(found, dict) else (None, 0)
            if not isinstance(items, list) or not isinstance(pages, int) or not _all_objects(items):
                raise self.foreign()
            yield from items
            if page >= pages:
                return
        raise BrokerError(f"{self} lists more than {PAGES_MAX * page_rows} {path[0]}")

    def complaint(self, check: str) -> str:
        """Run a health check such as `alarms` and return what is wrong; "" if nothing is."""
        path = ("health", "checks", *check.split("/"))
        answer = self._answer("GET", path)
        if answer.status != _UNWELL:
            self._value(answer, path)
            return ""
        return _reason(answer) or "failed"

    def __str__(self) -> str:
        scheme = self.url.scheme
        hosts = ",".join(host_text(host, port) for host, port in self.url.hosts)
        return f"the management API at {scheme}://{hosts}{self.url.path}"

    def _answer(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str | int] | None = None,
        value: Mapping[str, Any] | None = None,
    ) -> Answer:
        target = f"{self.url.path}/api/" + "/".join(quote(word, safe="") for word in path)
        if query:
            target += f"?{urlencode(query)}"
        login = b64encode(f"{self.url.user}:{self.url.password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Connection": "close"}
        body = None
        if value is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(value).encode()
        with closing(HttpConnection(self.url, limit_s=self._limit_s)) as connection:
            try:
                connection.open()
                answer = connection.request(method, target, {"Host": connection.host, **headers}, body)
            except BrokerUnavailableError as error:
                raise type(error)(f"the management API cannot be asked: {error}") from None
        self.answered_at = answer.at
        return answer

    def _value(self, answer: Answer, path: tuple[str, ...]) -> Any:
        if answer.status != _OK:
            self._fail(answer, path)
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) and not (isinstance(value, list) and _all_objects(value)):
            raise self.foreign()
        return value

    def _fail(self, answer: Answer, path: tuple[str, ...]) -> NoReturn:
        reason = _reason(answer)
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
            login = f"the login {short(self.url.user)!r}" if self.url.user else "a URL without a user"
            raise BrokerRefusedUsError(f"{self} refuses {login}: {reason or answer.status}{_hint(reason)}")
        if answer.status == _NOT_FOUND and answer.is_json:
            raise NothingThereError(f"{self} has no {'/'.join(short(word) for word in path)}")
        if not reason:
            raise self.foreign(answer.status)
        if answer.status > _UNWELL or answer.status == _FIRST_ERROR + 100:
            raise BrokerUnavailableError(f"{self} failed with status {answer.status}: {reason}")
        raise BrokerError(f"{self} refuses {'/'.join(short(word) for word in path)}: {reason}")

    def foreign(self, status: int | None = None) -> BrokerError:
        """Return the error for an answer that is not RabbitMQ's."""
        what = f"status {status}" if status else "something else"
        return BrokerError(
            f"{self} answers with {what}, not as RabbitMQ's management plugin does; "
            "check host, port and path of the URL"
        )


def _all_objects(values: list[Any]) -> bool:
    return all(isinstance(each, dict) for each in values)


def _reason(answer: Answer) -> str:
    """Return why RabbitMQ refused, in one line; "" for an answer that is not its own."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    reason = (value.get("reason") or value.get("error")) if isinstance(value, dict) else None
    text = reason if isinstance(reason, str) else json.dumps(reason) if reason else ""
    return short(" ".join(text.split()), REASON_MAX_CHARACTERS)


def _hint(reason: str) -> str:
    if "not management user" in reason.lower():
        return "; it needs a tag: rabbitmqctl set_user_tags NAME monitoring (to look) or administrator (to set up)"
    if "not administrator" in reason.lower():
        return "; only a user with the tag administrator may do this"
    if "virtual host" in reason.lower():
        return "; it needs an entry for this virtual host: rabbitmqctl set_permissions -p VHOST NAME '^$' '^$' '^$'"
    return ""
