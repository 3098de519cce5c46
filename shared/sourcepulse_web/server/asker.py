# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who asks: the operator on this machine, or the user whom a trusted proxy names; and by which address."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from twisted.internet.address import UNIXAddress

from sourcepulse.errors import ConfigError, SourcePulseError
from sourcepulse_web.webhooks.hook import check_owner

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.settings import WebSettings
    from sourcepulse_web.webhooks.settings import WebhookSettings

#: What a proxy adds. Behind one every request comes from its address.
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")


class UserError(SourcePulseError):
    """The proxy names the user in a way that could be read as two users, or as another one."""

    reason = "user"


def is_operator(request: Request, settings: WebSettings) -> bool:
    """Return whether the one who asks is on this machine, asked without a proxy, and for a name of this machine.

    A proxy need not say that it is one: nginx by default sends the address of the gateway as the host, and HTTP/1.0,
    others send what a client wrote. So it is not where `hosts` or `proxy_header` is set, because then there is one.
    """
    if settings.hosts or (settings.webhooks is not None and settings.webhooks.proxy_header is not None):
        return False
    if any(request.requestHeaders.hasHeader(name) for name in PROXY_HEADERS) or request.clientproto != b"HTTP/1.1":
        return False
    host = (request.getHeader("host") or "").rpartition(":")
    if not _is_loopback((host[0] or host[2]).strip("[]")):
        return False
    peer = request.getClientAddress()
    return not isinstance(peer, UNIXAddress) and _is_loopback(str(getattr(peer, "host", "")))


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or bool(address is not None and address.is_loopback)


def own_address(request: Request) -> str:
    """Return the address of this gateway, as the one who asks writes it: `https://pulse.example.org`."""
    host = request.getHeader("host") or ""
    if not _HOST.fullmatch(host):
        here = request.getHost()
        host = f"{here.host}:{here.port}"
    is_secure = request.isSecure() or request.getHeader("x-forwarded-proto") == "https"
    return f"{'https' if is_secure else 'http'}://{host}"


def user_of(request: Request, settings: WebhookSettings | None) -> str | None:
    """Return the user whom the proxy names, None if there is none.

    The header counts only from a peer in `proxies`: what another machine sends in it is a text like any other. It is
    read as it is, because a proxy that lets a client's own header pass beside its own would let him choose who he is.
    Raises UserError if there are several, or if it is not one line of ASCII.
    """
    if settings is None or settings.proxy_header is None or not _is_proxy(request, settings.proxies):
        return None
    named = request.requestHeaders.getRawHeaders(settings.proxy_header.encode("ascii")) or []
    if not named:
        return None
    # A proxy between the two may have joined them (RFC 9110, section 5.3).
    if len(named) > 1 or b"," in named[0]:
        raise UserError(
            f"The proxy sends {settings.proxy_header} more than once; it must remove the one of the client."
        )
    try:
        text = named[0].decode("utf-8", "replace")
        # nginx sends an empty one for a reader who did not sign in, Apache the word for an unset variable.
        return None if text in ("", "(null)") else check_owner(text)
    except ConfigError as error:
        raise UserError(f"The user in {settings.proxy_header} of the proxy cannot be used: {error}.") from None


def _is_proxy(request: Request, proxies: tuple[str, ...]) -> bool:
    peer = request.getClientAddress()
    if isinstance(peer, UNIXAddress):
        return False
    address = _address(str(getattr(peer, "host", "")))
    return address is not None and address in {_address(each) for each in proxies}


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
