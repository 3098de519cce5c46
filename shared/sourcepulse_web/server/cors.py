# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which pages of other sites may read the streams (CORS), by an exact list of their origins."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from sourcepulse.errors import quoted
from sourcepulse_web.server.page import sentence

if TYPE_CHECKING:
    from twisted.web.server import Request

#: What a page may send beside the headers that every page may.
ALLOWED_HEADERS = b"Accept, Cache-Control, Last-Event-ID"
#: For how long a browser need not ask again.
PREFLIGHT_SECONDS = 600


def check_origin(request: Request, origins: Collection[str], methods: bytes) -> bytes | None:
    """Set the headers for the page that asks; return the whole answer where the request ends here, else None.

    Pages of this gateway and programs, which name no origin, are always welcome. Credentials are never allowed: what is
    served is the same for everyone.
    """
    request.responseHeaders.addRawHeader(b"vary", b"Origin")
    named = request.requestHeaders.getRawHeaders(b"origin") or []
    origin = named[-1].decode("latin-1").strip() if named else ""
    foreign = bool(origin) and not _is_ours(request, origin)
    if foreign and origin.lower() not in origins:
        return sentence(
            request, 403, f"Pages of {quoted(origin)} may not read this; an admin adds it to origins in [web]."
        )
    if foreign:
        _allow(request, origin)
    if request.method == b"OPTIONS":
        request.setResponseCode(204)
        request.setHeader(b"allow", methods + b", OPTIONS")
        if foreign:
            request.setHeader(b"access-control-allow-methods", methods)
            request.setHeader(b"access-control-allow-headers", ALLOWED_HEADERS)
            request.setHeader(b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS)
        return b""
    if request.method not in methods.split(b", "):
        request.setHeader(b"allow", methods + b", OPTIONS")
        return sentence(request, 405, f"Only {methods.decode('ascii')} are possible here.")
    return None


def _is_ours(request: Request, origin: str) -> bool:
    # The scheme is not compared: a proxy in front of the gateway may speak TLS.
    host = (request.getHeader(b"host") or b"").decode("latin-1")
    return bool(host) and origin.partition("://")[2].lower() == host.lower()


def allow_origin(request: Request, origins: Collection[str]) -> None:
    """Allow the page that asks to read the answer if its origin is listed; a browser keeps it from others."""
    request.responseHeaders.addRawHeader(b"vary", b"Origin")
    origin = (request.getHeader(b"origin") or b"").decode("latin-1")
    if origin.lower() in origins:
        _allow(request, origin)


def _allow(request: Request, origin: str) -> None:
    request.setHeader(b"access-control-allow-origin", origin.encode("latin-1"))
    request.setHeader(b"cross-origin-resource-policy", b"cross-origin")
