# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The user is whom a trusted proxy names, once, and there is none without one."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.web.test.requesthelper import DummyRequest

from sourcepulse_web.server.asker import UserError, user_of
from sourcepulse_web.webhooks.settings import WebhookSettings

SETTINGS = WebhookSettings(proxy_header="X-Remote-User")
LOOPBACK = IPv4Address("TCP", "127.0.0.1", 4711)


def request(*users: bytes, peer: IAddress = LOOPBACK, header: str = "x-remote-user") -> DummyRequest:
    made = DummyRequest([b"hooks"])
    made.getClientAddress = lambda: peer
    for user in users:
        made.requestHeaders.addRawHeader(header, user)
    return made


def test_the_proxy_names_the_user() -> None:
    assert user_of(request(b"alice@example.org"), SETTINGS) == "alice@example.org"
    assert user_of(request(b"alice", peer=IPv6Address("TCP", "::ffff:127.0.0.1", 4711)), SETTINGS) == "alice"
    assert user_of(request(b"alice", peer=IPv6Address("TCP", "::1", 4711)), SETTINGS) == "alice"


@pytest.mark.parametrize("users", [(), (b"",), (b"(null)",)])
def test_a_reader_who_did_not_sign_in_is_nobody(users: tuple[bytes, ...]) -> None:
    assert user_of(request(*users), SETTINGS) is None


def test_there_is_no_user_without_the_settings() -> None:
    assert user_of(request(b"alice"), None) is None
    assert user_of(request(b"alice"), WebhookSettings()) is None
    assert user_of(request(b"alice", header="x-remote-users"), SETTINGS) is None


@pytest.mark.parametrize(
    "peer", [IPv4Address("TCP", "192.0.2.7", 1), IPv6Address("TCP", "fe80::1%eth0", 1), UNIXAddress("/run/x")]
)
def test_what_another_machine_sends_in_the_header_is_not_a_user(peer: IAddress) -> None:
    assert user_of(request(b"alice", peer=peer), SETTINGS) is None


@pytest.mark.parametrize(
    "users",
    [
        (b"alice", b"bob"),
        (b"alice", b"alice"),
        (b"alice, bob",),
        (b"al\xc3\xafce",),
        (b"alice\tbob",),
        (b"a" * 101,),
        (b"\xff",),
    ],
)
def test_a_name_that_could_be_read_as_another_is_refused(users: tuple[bytes, ...]) -> None:
    with pytest.raises(UserError, match="X-Remote-User"):
        user_of(request(*users), SETTINGS)
