# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is kept of an answer for the owner of a hook to read: short, printable, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sourcepulse.events.safe_text import plain
from sourcepulse_web.webhooks.post.http_answer import Head

HEADERS_MAX_BYTES = 2 * 1024
EXCERPT_MAX_BYTES = 1024
HIDDEN = "(hidden)"
#: Headers whose values may be a secret of the receiver's.
SECRET_HEADERS = {"set-cookie", "set-cookie2", "cookie", "authorization", "proxy-authorization", "authentication-info"}
#: Other codecs of Python do other things than decode text.
CHARSETS = {"utf-8", "iso-8859-1", "us-ascii", "windows-1252", "utf-16"}
_CHARSET = re.compile(r';\s*charset="?([a-z0-9-]+)', re.IGNORECASE)


def headers_of(head: Head, secrets: Sequence[str]) -> str:
    """Return the header lines of an answer, as many as fit in 2 KiB; `secrets` are what a receiver may have echoed."""
    kept: list[str] = []
    room = HEADERS_MAX_BYTES
    for name, value in head.headers:
        line = plain(_hide(f"{name}: {HIDDEN if name in SECRET_HEADERS else value}", secrets))
        room -= len(line.encode()) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept)


def excerpt_of(head: Head, body: bytes, secrets: Sequence[str]) -> str:
    """Return the beginning of a body as text of at most 1 KiB in one line; what is not text is escaped."""
    coding = (head.value("content-encoding") or "identity").lower()
    if coding != "identity" and body:
        return f"({len(body)} bytes that are compressed)"
    named = _CHARSET.search(head.value("content-type") or "")
    charset = named[1].lower() if named and named[1].lower() in CHARSETS else "utf-8"
    # The secrets are looked for before anything is cut, because a cut one would not be found.
    text = _hide(body.decode(charset, errors="replace"), secrets)
    shown = plain(text[:EXCERPT_MAX_BYTES])
    return shown.encode()[:EXCERPT_MAX_BYTES].decode(errors="ignore")


def _hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    return text
