# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A gateway with webhooks, and what people and programs ask of it: forms and JSON, as the proxy passes them on."""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sourcepulse.outbox.files import open_shared, try_lock
from sourcepulse.outbox.sqlite_file import PRIVATE_MODE
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore
from support.web.gateway import ANSWER_LIMIT_SECONDS, EXCHANGE, Answer, Gateway

HEADER = "X-Remote-User"
ALICE, BOB = "alice@example.org", "bob@example.org"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_FORM = re.compile(r'<form[^>]* action="([^"]+)".*?name="token" value="([^"]+)"', re.DOTALL)


class HookedSite(Gateway):
    """A gateway whose proxy names users, and whose receivers are on this machine.

    `settings` is text of the table `[webhooks]`. Without `sends` the sender waits, as it does while another one sends,
    so that nothing but the test changes a hook.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: str = "",
        configuration: str = "",
        users: bool = True,
        sends: bool = False,
        allow: str = "127.0.0.1",
    ) -> None:
        named = f'proxy_header = "{HEADER}"\n' if users else ""
        table = f'[webhooks]\nallow = ["{allow}"]\n{named}{settings}\n'
        super().__init__(folder, configuration=configuration + table)
        self._lock: int | None = None
        if not sends:
            self._lock = open_shared(self.store.with_name(f"{self.store.name}.sender"), PRIVATE_MODE)
            assert try_lock(self._lock)

    def close(self) -> None:
        """End it, whatever state it is in."""
        super().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def store(self) -> Path:
        """The hook store."""
        return self.log.with_name("webhooks.db")

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        user: str = ALICE,
        content_type: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer to a request of a user, "" for one who did not sign in."""
        sent = {**({HEADER: user} if user else {}), **(headers or {})}
        if content_type:
            sent["Content-Type"] = content_type
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_LIMIT_SECONDS)) as connection:
            connection.request(method, path, body=body or None, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def page(self, path: str, *, user: str = ALICE) -> str:
        """Return a page, without the marks of HTML in its text."""
        return html.unescape(self.ask("GET", path, user=user).text)

    def post(self, path: str, fields: Mapping[str, Any] | None = None, *, user: str = ALICE, **headers: str) -> Answer:
        """POST JSON."""
        return self.ask("POST", path, json.dumps(fields or {}), user=user, content_type=JSON, headers=headers)

    def tokens(self, path: str, *, user: str = ALICE) -> dict[str, str]:
        """Return the form tokens of a page, by where their forms are sent."""
        return dict(_FORM.findall(self.ask("GET", path, user=user).text))

    def send_form(
        self, path: str, fields: Mapping[str, str] | None = None, *, of: str = "", user: str = ALICE, **headers: str
    ) -> Answer:
        """Load the page `of`, and send its form to a path, as a browser without script does."""
        token = self.tokens(of, user=user)[path] if of else ""
        body = urlencode({**(fields or {}), **({"token": token} if token else {})})
        return self.ask("POST", path, body, user=user, content_type=FORM, headers=headers)

    def add(self, name: str, url: str = "http://127.0.0.1/in", *topics: str, user: str = ALICE) -> str:
        """Add a hook, and return its secret."""
        answer = self.post("/hooks", {"name": name, "url": url, "topics": list(topics) or ["hg.#"]}, user=user)
        assert answer.status == http.client.CREATED, answer.text
        secret: str = answer.document["secret"]
        return secret

    def opened_store(self) -> HookStore:
        """Return the hook store, for what a sender writes into it."""
        return HookStore(self.store)

    def set_standing(self, name: str, **changes: Any) -> None:
        """Change how a hook stands, as the sender does."""
        with self.opened_store() as store:
            store.update_standing(name, lambda was: replace(was, **changes))

    def set_aside(self, name: str, reason: str = "answered 422 five times") -> int:
        """Set the oldest event that waits for a hook aside, as the sender does, and return its position."""
        with closing(HookQueues(self.log, EXCHANGE)) as queues:
            position = queues.look(name, 1)[0].position
            assert queues.set_aside(name, position, reason)
            return position

    def record(self, name: str, **values: Any) -> int:
        """Record an attempt, as the sender does, and return its number."""
        with self.opened_store() as store:
            return store.attempts.record([attempt(name, **values)])[0]


def attempt(name: str, **values: Any) -> Attempt:
    """Return an attempt, with what it lacks."""
    usual: dict[str, Any] = {
        "at": time.time(), "position": 1, "webhook_id": "msg_" + "0" * 32, "source": "hg://hg.example.org/inbound",
        "id": "7", "type": "hg.push.v1", "routing_key": "hg.push.integration.inbound", "tries": 1,
        "outcome": "delivered", "status": 204, "reason": "", "took_s": 0.12,
    }  # fmt: skip
    return Attempt(hook=name, **{**usual, **values})
