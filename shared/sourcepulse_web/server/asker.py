# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who asks, and by which address: for pages that print it, and for what only the operator may see."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted.internet.address import UNIXAddress

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.settings import WebSettings

#: What a proxy adds. Behind one every request comes from its address.
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


def is_operator(request: Request, settings: WebSettings) -> bool:
    """Return whether the one who asks is on this machine, asked without a proxy, and for a name of this machine.

    A proxy need not say that it is one: nginx by default sends the address of the gateway as the host, and HTTP/1.0,
    others send what a client wrote. So it is not where `hosts` is set, because then there is one.
    """
    if settings.hosts:
        return False
    if any(request.requestHeaders.hasHeader(name) for name in PROXY_HEADERS) or request.clientproto != b"HTTP/1.1":
        return False
    host = (request.getHeader("host") or "").rpartition(":")
    if not _is_loopback((host[0] or host[2]).strip("[]")):
        return False
    peer = request.getClientAddress()
    return not isinstance(peer, UNIXAddress) and _is_loopback(str(getattr(peer, "host", "")))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)


def own_address(request: Request) -> str:
    """Return the address of this gateway, as the one who asks writes it: `https://pulse.example.org`."""
    host = request.getHeader("host") or ""
    if not _HOST.fullmatch(host):
        here = request.getHost()
        host = f"{here.host}:{here.port}"
    is_secure = request.isSecure() or request.getHeader("x-forwarded-proto") == "https"
    return f"{'https' if is_secure else 'http'}://{host}"
