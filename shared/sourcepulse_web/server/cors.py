# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which pages of other sites may read an answer: those of the exact list in the settings."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.web.server import Request


def allow_origin(request: Request, origins: Collection[str]) -> None:
    """Allow the page that asks to read the answer if its origin is one of these; caches learn that it depends on it."""
    request.responseHeaders.addRawHeader(b"vary", b"Origin")
    origin = (request.getHeader(b"origin") or b"").decode("ascii", "replace")
    if origin in origins:
        request.setHeader(b"access-control-allow-origin", origin.encode("ascii"))
