# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The addresses of a receiver, looked up once for each attempt and checked, so that no name leads into our networks."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from sourcepulse.brokers import bounded_socket
from sourcepulse.events.safe_text import short
from sourcepulse_web.webhooks.errors import AddressRefusedError, NoAnswerError, Problem
from sourcepulse_web.webhooks.post.special_addresses import is_public, refusal
from sourcepulse_web.webhooks.post.url import Target

__all__ = ["Address", "Lookup", "is_public", "refusal", "resolve"]

#: The family of an address, and what `connect` accepts.
Address = tuple[int, Any]
#: Looks up a host and a port until a deadline (monotonic), as `bounded_socket.resolve` does.
Lookup = Callable[[str, int, float], list[Address]]


def resolve(target: Target, deadline: float, lookup: Lookup = bounded_socket.resolve) -> list[Address]:
    """Return the addresses of a target, all of them checked; the caller connects to these and looks up nothing again.

    AddressRefusedError if any address is special and the admin does not allow the host by name: an attacker who mixes
    a public address with a private one would otherwise choose which of them is used. NoAnswerError if there is none, or
    not before the deadline (monotonic). No error names an address that was looked up, because the owner of a webhook
    must not learn the names of our networks.
    """
    try:
        found = lookup(target.host, target.port, deadline)
    except socket.gaierror as error:
        raise NoAnswerError(
            f"the name {target.host} cannot be looked up: {short(str(error.strerror))}", Problem.NAME
        ) from None
    except TimeoutError:
        raise NoAnswerError(f"the name {target.host} could not be looked up in time", Problem.NAME) from None
    except (OSError, UnicodeError, RuntimeError) as error:
        # RuntimeError: no thread can be started.
        raise NoAnswerError(
            f"the name {target.host} cannot be looked up: {short(type(error).__name__)}", Problem.NAME
        ) from None
    found = [(family, address) for family, address in found if family in (socket.AF_INET, socket.AF_INET6)]
    if not found:
        raise NoAnswerError(f"the name {target.host} has no address", Problem.NAME)
    if not target.allowed:
        for _, address in found:
            _check(target, address)
    return found


def _check(target: Target, address: Any) -> None:
    kind = refusal(_ip(address))
    if kind is not None:
        raise AddressRefusedError(
            f"the host {target.host} has an address that is not public, it is {kind}; correct the name, or ask the "
            "admin to add the host to allow in [webhooks]"
        )


def _ip(address: Any) -> IPv4Address | IPv6Address:
    try:
        return ip_address(address[0])
    except ValueError:
        # A resolver that returns what is not an address is not trusted with one.
        return IPv4Address(0)
