# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep secrets out of the URLs in a text: credentials before the host, values of a query whose names say secret."""

from __future__ import annotations

import re

REDACTED = "<redacted>"

#: What the name of a part of a query says when its value is a secret.
SENSITIVE = (
    r"(?:pass(?:word|wd|phrase)?|pwd|token|secret|(?:api|access|private)[_-]?key|credentials?|auth|sig|signature)"
)

#: User and password before the host (RFC 3986 section 3.2.1); a password may hold unescaped `@`.
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#]*@")
_QUERY = re.compile(rf"(?i)([?&;](?:[\w.%-]*[^a-z&=])?{SENSITIVE}(?:[^a-z&=][\w.%-]*)?=)[^&#\s\"'<>]+")


def redact_urls(text: str) -> str:
    """Return a text whose URLs hold no credentials."""
    if "://" in text:
        text = _USERINFO.sub(r"\1", text)
    if "=" in text:
        text = _QUERY.sub(rf"\1{REDACTED}", text)
    return text
