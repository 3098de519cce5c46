# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Answers of hooks that are no page: JSON, and refusals as a sentence in the form that was asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sourcepulse.errors import SourcePulseError
from sourcepulse_web.pages.hooks import asked as asking
from sourcepulse_web.server.page import sentence
from sourcepulse_web.webhooks.hook import NAME

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services
    from sourcepulse_web.webhooks.settings import WebhookSettings

NO_PAGE = "There is no such page."
#: Of a form without a good token.
EXPIRED = "This form was sent already, or it is too old, or the gateway was started again since. Nothing was done."
_USE_THERE = "Open {}, and use the form there."
_SEND_AGAIN = "Send it once more"
_OFF = "Webhooks are off here."


class RefusedError(SourcePulseError):
    """A request is refused, with a status and a sentence."""

    reason = "refused"

    def __init__(self, code: int, text: str, title: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.title = title


def no_page() -> RefusedError:
    """Return the refusal of an address that leads nowhere."""
    return RefusedError(404, NO_PAGE)


def webhooks_of(services: Services) -> WebhookSettings:
    """Return the settings of now; RefusedError if webhooks were switched off meanwhile."""
    webhooks = services.settings().webhooks
    if webhooks is None:
        raise RefusedError(404, _OFF)
    return webhooks


def is_for_program(request: Request) -> bool:
    """Return whether the answer is JSON: `?format=json`, or to JSON."""
    if (request.args or {}).get(b"format", [b""])[-1] == b"json":
        return True
    return (request.getHeader("content-type") or "").partition(";")[0].strip().lower() == asking.JSON


def refusal(request: Request, code: int, text: str, title: str = "") -> bytes:
    """Return an error as a sentence, in JSON for a program; after a form with the way back to its page."""
    if is_for_program(request):
        return as_json(request, code, {"error": text})
    return sentence(request, code, text, title=title, back=_back(request) if request.method == b"POST" else "")


def _back(request: Request) -> str:
    """Return the page on which a form was."""
    name = (request.postpath or [b""])[0].decode("ascii", "replace")
    return f"/hooks/{name}" if NAME.fullmatch(name) else "/hooks"


def as_json(request: Request, code: int, document: object) -> bytes:
    """Return a document; nothing keeps it, because it may have a secret."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(document, indent=1).encode() + b"\n"


def expired(place: str) -> RefusedError:
    """Return the refusal of a form without a good token, of which it is not known that a page of ours sent it."""
    return RefusedError(403, f"{EXPIRED} {_USE_THERE.format(place)}", _SEND_AGAIN)
