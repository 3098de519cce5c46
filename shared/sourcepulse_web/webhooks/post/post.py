# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One attempt: an event is signed and POSTed, and what the receiver answered is returned, whatever it does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import sourcepulse
from sourcepulse.brokers import bounded_socket
from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.errors import AddressRefusedError, NoAnswerError, Problem
from sourcepulse_web.webhooks.hook import Handshake, Hook
from sourcepulse_web.webhooks.post.address import Lookup
from sourcepulse_web.webhooks.post.bearer import read_token
from sourcepulse_web.webhooks.post.body import POST_CONTENT_TYPE
from sourcepulse_web.webhooks.post.excerpt import excerpt_of, headers_of
from sourcepulse_web.webhooks.post.exchange import Exchange, Heard
from sourcepulse_web.webhooks.post.http_answer import Head
from sourcepulse_web.webhooks.post.signature import SECRET_PREFIX, sign
from sourcepulse_web.webhooks.post.url import check_url
from sourcepulse_web.webhooks.settings import WebhookSettings

#: Digits of Retry-After in seconds that are read; the first nine of more are longer than any pause that is obeyed.
RETRY_AFTER_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one attempt."""

    #: None without a whole answer, also if a status arrived before the answer was cut.
    status: int | None = None
    #: Why there is no whole answer, or why it is not a success; "" for a success. One sentence without a secret.
    reason: str = ""
    #: After how many seconds the receiver wants the next attempt; None if it did not say.
    retry_after_s: float | None = None
    #: Header lines of the answer, at most 2 KiB, and the beginning of its body, at most 1 KiB.
    headers: str = ""
    excerpt: str = ""
    took_s: float = 0.0
    problem: Problem = Problem.NONE

    @property
    def accepted(self) -> bool:
        """Whether the receiver answered 2xx."""
        return self.status is not None and 200 <= self.status <= 299


class Poster:
    """POSTs events to receivers, by one set of settings; any thread may call it.

    >>> poster = Poster(settings)
    >>> poster.post(hook, store.secrets(hook.name), webhook_id_of(source, id), body, time.time()).status
    204
    """

    def __init__(self, settings: WebhookSettings, lookup: Lookup = bounded_socket.resolve) -> None:
        self._settings = settings
        self._exchange = Exchange(settings, lookup)
        self._user_agent = user_agent()

    def post(
        self,
        hook: Hook,
        secrets: Sequence[str],
        webhook_id: str,
        body: bytes,
        now: float,
        ready: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Return what came of one attempt; never raises for what the receiver, its name or the hook's settings do.

        `secrets` are newest first, `now` is in seconds since 1970. It ends after `post_seconds`. `ready` is called once
        the connection is open, before anything of the event is sent; what it raises passes through.
        """
        began = time.monotonic()
        hidden: list[str] = []
        try:
            heard = self._post(hook, secrets, webhook_id, body, now, hidden, ready)
        except NoAnswerError as error:
            return Answer(reason=str(error), problem=error.problem, took_s=time.monotonic() - began)
        except AddressRefusedError as error:
            return Answer(reason=str(error), problem=Problem.ADDRESS, took_s=time.monotonic() - began)
        except ConfigError as error:
            return Answer(reason=str(error), problem=Problem.SETTINGS, took_s=time.monotonic() - began)
        return answer_of(heard, hidden, now=now, took_s=time.monotonic() - began)

    def _post(
        self,
        hook: Hook,
        secrets: Sequence[str],
        webhook_id: str,
        body: bytes,
        now: float,
        hidden: list[str],
        ready: Callable[[], None],
    ) -> Heard:
        deadline = time.monotonic() + self._settings.post_seconds
        # The settings may have changed since the hook was registered.
        target = check_url(hook.url, self._settings)
        signature = sign(secrets, webhook_id, int(now), body)
        hidden += [*signature.split(" "), *(secret.removeprefix(SECRET_PREFIX) for secret in secrets)]
        headers = [
            ("Content-Type", POST_CONTENT_TYPE),
            ("User-Agent", self._user_agent),
            ("webhook-id", webhook_id),
            ("webhook-timestamp", str(int(now))),
            ("webhook-signature", signature),
        ]
        if hook.handshake is not Handshake.OFF:
            headers.append(("WebHook-Request-Origin", origin_of(self._settings)))
        if hook.bearer_file:
            token = read_token(hook.bearer_file)
            hidden.append(token)
            headers.append(("Authorization", f"Bearer {token}"))
        return self._exchange.request("POST", target, headers, body, deadline, ready)


def answer_of(heard: Heard, hidden: Sequence[str], *, now: float, took_s: float) -> Answer:
    """Return an answer as it is kept; `hidden` are the secrets that the receiver may have echoed."""
    head = heard.head
    answer = Answer(headers=headers_of(head, hidden), excerpt=excerpt_of(head, heard.body, hidden), took_s=took_s)
    if heard.trouble is not None:
        reason = f"{heard.trouble} (status {head.status})"
        return replace(answer, reason=reason, problem=heard.trouble.problem)
    retry_after_s = _retry_after_s(head, now)
    return replace(answer, status=head.status, reason=_reason(head.status), retry_after_s=retry_after_s)


def origin_of(settings: WebhookSettings) -> str:
    """Return the name of this system in the headers of the handshake."""
    return settings.origin or socket.gethostname()


def user_agent() -> str:
    """Return how the sender names itself."""
    return f"sourcepulse/{sourcepulse.__version__}"


def _reason(status: int) -> str:
    if 200 <= status <= 299:
        return ""
    phrase = f" {HTTPStatus(status).phrase}" if status in HTTPStatus._value2member_map_ else ""
    if 300 <= status <= 399:
        return f"the receiver answered {status}{phrase}, which is not followed; register the URL that it leads to"
    return f"the receiver answered {status}{phrase}"


def _retry_after_s(head: Head, now: float) -> float | None:
    """Return Retry-After in seconds (RFC 9110, section 10.2.3)."""
    text = head.value("retry-after")
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text.lstrip("0")[:RETRY_AFTER_MAX_DIGITS] or "0")
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
