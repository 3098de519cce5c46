# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Remove secrets from the URLs in a text: credentials before the host, and query values with sensitive names."""

from __future__ import annotations

import re

REDACTED = "<redacted>"

#: Names of query parameters whose values are secret.
SENSITIVE = (
    r"(?:pass(?:word|wd|phrase)?|pwd|token|secret|(?:api|access|private)[_-]?key|credentials?|auth|sig|signature)"
)

#: User and password before the host (RFC 3986 section 3.2.1); a password may hold unescaped `@`.
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#]*@")
_QUERY = re.compile(rf"(?i)([?&;](?:[\w.%-]*[^a-z&=])?{SENSITIVE}(?:[^a-z&=][\w.%-]*)?=)[^&#\s\"'<>]+")


def redact_urls(text: str) -> str:
    """Return the text without credentials in its URLs."""
    if "://" in text:
        text = _USERINFO.sub(r"\1", text)
    return redact_query(text)


def redact_query(text: str) -> str:
    """Return the text without the values of sensitive parameters of its URLs."""
    return _QUERY.sub(rf"\1{REDACTED}", text) if "=" in text else text
