# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The consent of a receiver, asked by OPTIONS: section 4 of the CloudEvents HTTP webhook specification 1.0.2.

The status of the answer proves nothing, only its two headers do. There is no callback: an answer without the headers
is no consent, until it is asked for again.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from sourcepulse.brokers import bounded_socket
from sourcepulse.errors import ConfigError
from sourcepulse.events.safe_text import short
from sourcepulse_web.webhooks.errors import AddressRefusedError, NoAnswerError, Problem
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.address import Lookup
from sourcepulse_web.webhooks.post.exchange import Exchange
from sourcepulse_web.webhooks.post.http_answer import Head
from sourcepulse_web.webhooks.post.post import origin_of, user_agent
from sourcepulse_web.webhooks.post.url import check_url
from sourcepulse_web.webhooks.settings import WebhookSettings

ANY = "*"
_RATE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Whether a receiver consents, and why not, in one sentence."""

    given: bool
    #: POSTs in a minute; None without a limit, and without consent.
    rate_per_minute: int | None = None
    reason: str = ""
    #: Of the answer, for the reader only; None if there was none.
    status: int | None = None
    took_s: float = 0.0
    problem: Problem = Problem.NONE


def ask(hook: Hook, settings: WebhookSettings, lookup: Lookup = bounded_socket.resolve) -> Consent:
    """Ask the receiver of a hook for consent, within `post_seconds`; never raises for what the receiver does.

    >>> ask(hook, settings)
    Consent(given=True, rate_per_minute=120, ...)
    """
    began = time.monotonic()
    origin = origin_of(settings)
    try:
        # Without WebHook-Request-Rate, because the sender has no rate of its own.
        headers = [("User-Agent", user_agent()), ("WebHook-Request-Origin", origin)]
        target = check_url(hook.url, settings)
        exchange = Exchange(settings, lookup)
        heard = exchange.request("OPTIONS", target, headers, b"", began + settings.post_seconds)
    except NoAnswerError as error:
        problem, reason = error.problem, str(error)
    except AddressRefusedError as error:
        problem, reason = Problem.ADDRESS, str(error)
    except ConfigError as error:
        problem, reason = Problem.SETTINGS, str(error)
    except OSError as error:
        # Our own files, where this process has too many open.
        problem, reason = Problem.CONNECTION, f"the receiver cannot be asked: {short(error.strerror or '')}"
    else:
        return consent_of(heard.head, origin, took_s=time.monotonic() - began)
    return Consent(given=False, reason=reason, problem=problem, took_s=time.monotonic() - began)


def consent_of(head: Head, origin: str, *, took_s: float) -> Consent:
    """Return what the headers of an answer mean."""
    reason = ""
    rate: int | None = None
    origins = head.values("webhook-allowed-origin")
    rates = head.values("webhook-allowed-rate")
    if not origins:
        reason = "the receiver did not answer OPTIONS with WebHook-Allowed-Origin, so it does not consent"
    elif any(each != ANY and each.lower() != origin.lower() for each in origins):
        reason = f"the receiver consents to another sender; its WebHook-Allowed-Origin must be {origin} or {ANY}"
    elif len(rates) != 1 or not (rates[0] == ANY or (_RATE.fullmatch(rates[0]) and int(rates[0]))):
        reason = f"the receiver's WebHook-Allowed-Rate must be {ANY} or a number of requests per minute"
    elif rates[0] != ANY:
        rate = int(rates[0])
    return Consent(given=not reason, rate_per_minute=rate, reason=reason, status=head.status, took_s=took_s)
