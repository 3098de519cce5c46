# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The headers that every answer has, and the words of a status."""

from __future__ import annotations

from twisted.web.http import RESPONSES

#: Those that Twisted does not know.
_REASONS = {421: b"Misdirected Request", 431: b"Request Header Fields Too Large"}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Of what a page of another site embeds; CORS rules on what it reads.
    "Cross-Origin-Resource-Policy": "same-origin",
}


#: Of a page that has forms: under `no-referrer` a browser calls the origin of a form `null` (Fetch, "append a request
#: `Origin` header"), and then a form of our own looks like one of another site. Other sites see no referrer either.
FORMS_REFERRER_POLICY = "same-origin"


def reason_of(code: int) -> bytes:
    """Return the words of a status."""
    return RESPONSES.get(code) or _REASONS.get(code, b"Unknown Status")
