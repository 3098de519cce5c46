# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A name leads to public addresses or nowhere, and a POST goes only to an address that was checked for it."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_web.webhooks.errors import AddressRefusedError, NoAnswerError, Problem
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.address import Address, is_public, refusal, resolve
from sourcepulse_web.webhooks.post.post import Answer, Poster
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.post.special_addresses import PUBLIC_IPV6, SPECIAL_NETWORKS
from sourcepulse_web.webhooks.post.url import Target, check_url
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.webhooks.receiver import Receiver

PUBLIC = ("93.184.215.14", "8.8.8.8", "1.1.1.1", "2600::1", "2a00:1450:4001::65", "2001:4860:4860::8888")
LIMIT_SECONDS = 60.0
#: The ranges of the issue and of the brief, written again, so that a line that is lost in the table is noticed.
RANGES = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
    "100::/64", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "2002::/16", "3fff::/20",
    "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "4000::/2", "8000::/1", "::/3",
)  # fmt: skip


def sockaddr(address: str, port: int = 443) -> Address:
    """Return an address as a lookup returns it."""
    if ":" in address:
        return socket.AF_INET6, (address, port, 0, 0)
    return socket.AF_INET, (address, port)


def target(host: str = "hooks.example.org", *, allowed: bool = False) -> Target:
    return check_url(f"https://{host}/in", WebhookSettings(allow=(host,) if allowed else ()))


def soon() -> float:
    return time.monotonic() + LIMIT_SECONDS


class Names:
    """A resolver whose answers are passed in, one for each look; it repeats the last one."""

    def __init__(self, *answers: list[Address] | Exception) -> None:
        self.answers = list(answers)
        self.looks = 0

    def __call__(self, host: str, port: int, deadline: float) -> list[Address]:
        answer = self.answers[min(self.looks, len(self.answers) - 1)]
        self.looks += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def in_range(network_text: str, data: st.DataObject) -> IPv4Address | IPv6Address:
    network = ip_network(network_text)
    edge = st.sampled_from([0, network.num_addresses - 1])
    return network[data.draw(st.one_of(edge, st.integers(0, network.num_addresses - 1)))]


@given(st.sampled_from((*RANGES, *(str(network) for network, _ in SPECIAL_NETWORKS))), st.data())
def test_one_special_address_among_public_ones_refuses_a_name(network: str, data: st.DataObject) -> None:
    special = in_range(network, data)
    assert not is_public(special)
    among = [*data.draw(st.lists(st.sampled_from(PUBLIC), max_size=3)), str(special)]
    found = [sockaddr(address) for address in data.draw(st.permutations(among))]
    with pytest.raises(
        AddressRefusedError, match=r"^the host hooks\.example\.org has an address that is not public"
    ) as caught:
        resolve(target(), soon(), Names(found))
    assert "ask the admin to add the host to allow" in str(caught.value)
    # Nothing of our networks is repeated to the owner of a hook.
    assert str(special) not in str(caught.value)
    assert resolve(target(allowed=True), soon(), Names(found)) == found


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_no_address_is_public_that_the_standard_library_or_the_registry_says_is_not(ip: Any) -> None:
    if is_public(ip):
        assert ip.is_global
        assert not any((ip.is_multicast, ip.is_reserved, ip.is_private, ip.is_loopback, ip.is_link_local))
        assert ip.version == 4 or ip in PUBLIC_IPV6


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_accepted(address: str) -> None:
    assert refusal(ip_address(address)) is None
    found = [sockaddr(address)]
    assert resolve(target(), soon(), Names(found)) == found


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "cannot be looked up: Name or service"),
        (TimeoutError(), "could not be looked up in time"),
        (OSError(5, "no"), "cannot be looked up"),
        (RuntimeError("can't start new thread"), "cannot be looked up"),
        (UnicodeError("label too long"), "cannot be looked up"),
        ([], "has no address"),
        ([(socket.AF_UNIX, "/run/socket")], "has no address"),
    ],
)
def test_a_name_without_an_address_is_a_sentence(answer: Any, sentence: str) -> None:
    with pytest.raises(NoAnswerError, match=rf"^the name hooks\.example\.org {sentence}") as caught:
        resolve(target(), soon(), Names(answer))
    assert caught.value.problem is Problem.NAME


def test_what_is_not_an_address_is_refused() -> None:
    with pytest.raises(AddressRefusedError):
        resolve(target(), soon(), Names([(socket.AF_INET, ("localhost", 443))]))


def post(poster: Poster, url: str) -> Answer:
    return poster.post(Hook(name="a", url=url, topics=("hg.#",)), [new_secret()], "msg_1", b"{}", time.time())


def test_a_name_is_looked_up_once_for_each_attempt_and_again_for_the_next() -> None:
    with Receiver() as first, Receiver(host="127.0.0.2", port=first.port) as second:
        names = Names([sockaddr("127.0.0.1", first.port)], [sockaddr("127.0.0.2", first.port)])
        poster = Poster(WebhookSettings(allow=(f"hooks.internal:{first.port}",)), names)
        url = first.url_of("hooks.internal")
        assert post(poster, url).accepted
        assert (names.looks, first.connections, second.connections) == (1, 1, 0)
        assert post(poster, url).accepted
        assert (names.looks, first.connections, second.connections) == (2, 1, 1)
        assert second.requests[0].headers["host"] == f"hooks.internal:{first.port}"


def test_a_name_that_leads_into_our_network_reaches_nothing() -> None:
    with Receiver() as inside:
        private, public = sockaddr("127.0.0.1", inside.port), sockaddr(PUBLIC[0], inside.port)
        names = Names([private], [public, private], [private, public])
        poster = Poster(WebhookSettings(http=True, ports=(inside.port,)), names)
        answers = [post(poster, inside.url_of("hooks.example.org")) for _ in names.answers]
        assert inside.connections == 0
    assert {(each.status, each.problem) for each in answers} == {(None, Problem.ADDRESS)}


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    with Receiver() as receiver, socket.create_server(("127.0.0.9", receiver.port), backlog=0) as full:
        # A full backlog accepts no connection and refuses none.
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        found = [sockaddr(f"127.0.0.{n}", receiver.port) for n in (8, 9, 1)]
        settings = WebhookSettings(allow=(f"hooks.internal:{receiver.port}",), post_seconds=8)
        answer = post(Poster(settings, Names(found)), receiver.url_of("hooks.internal"))
        for each in waiting:
            each.close()
    assert answer.accepted
    assert answer.took_s < 8


def test_a_refused_connection_is_a_sentence() -> None:
    receiver = Receiver()
    receiver.stop()
    answer = post(Poster(WebhookSettings(allow=(receiver.allowed,))), receiver.url)
    assert (answer.status, answer.problem) == (None, Problem.CONNECTION)
    assert answer.reason == "no connection to 127.0.0.1: Connection refused"
