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

#: What a proxy adds. Behind one every request comes from its address.
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


def is_operator(request: Request) -> bool:
    """Return whether the one who asks is on this machine, and asked without a proxy."""
    if any(request.requestHeaders.hasHeader(name) for name in PROXY_HEADERS):
        return False
    peer = request.getClientAddress()
    if isinstance(peer, UNIXAddress):
        return False
    try:
        address = ip_address(str(getattr(peer, "host", "")).partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def own_address(request: Request) -> str:
    """Return the address of this gateway, as the one who asks writes it: `https://pulse.example.org`."""
    host = request.getHeader("host") or ""
    if not _HOST.fullmatch(host):
        here = request.getHost()
        host = f"{here.host}:{here.port}"
    is_secure = request.isSecure() or request.getHeader("x-forwarded-proto") == "https"
    return f"{'https' if is_secure else 'http'}://{host}"
