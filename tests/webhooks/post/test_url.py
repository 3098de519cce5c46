# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Hostile URLs are refused with a sentence that says what to do; of an accepted one every reader sees the same host."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.post.special_addresses import SPECIAL_NETWORKS, is_public
from sourcepulse_web.webhooks.post.url import Target, check_url
from sourcepulse_web.webhooks.settings import WebhookSettings

USUAL = WebhookSettings()
ALLOWED = WebhookSettings(allow=("chat.internal", "chat.internal:8065", "localhost:8065", "10.1.2.3", "[fd12::1]:8443"))

BEGINS = "begins with https://"
USER = "must not contain a user or a password"
PORT = "the port in the URL of a webhook is a number from 1 to 65535"
GOES = "a webhook goes to port 443, not"
SPACE = "must not contain a space or a line end"
UNSEEN = "characters that cannot be seen"
BACKSLASH = "must not contain a backslash"
FRAGMENT = "must not contain #"
LACKS = "lacks its host"
PERCENT = "must not contain %"
DOT = "must not end in a dot"
NOT_A_NAME = "is not the name of a host"
FORM = "is an unusual form of an IPv4 address"
BRACKETS = "is written in brackets"
NOT_IPV6 = "what is in brackets in the URL of a webhook is not an IPv6 address"
ZONE = "must not have a zone"
NOT_PUBLIC = "is not a public address, it is"
INSIDE = "is a name inside a network"
OTHER = "can be read as another one"
ASCII = "what follows the host in a webhook's URL must be ASCII"

HOSTILE = [
    ("", "a webhook needs a URL"),
    ("https://" + "a" * 1993, "has at most 2000 characters, not 2001"),
    # Schemes.
    ("http://chat.example.org/in", "read and change what is sent over http"),
    ("HTTP://chat.example.org/in", "read and change what is sent over http"),
    ("ftp://chat.example.org/in", "not with 'ftp'"),
    ("file:///etc/passwd", "not with 'file'"),
    ("gopher://127.0.0.1:70/_GET", "not with 'gopher'"),
    ("wss://chat.example.org/", "not with 'wss'"),
    ("javascript:alert(1)", BEGINS),
    ("chat.example.org/in", BEGINS),
    ("//chat.example.org/in", BEGINS),
    ("https:/chat.example.org/in", BEGINS),
    ("https:chat.example.org", BEGINS),
    ("https:///chat.example.org/in", LACKS),
    ("https://", LACKS),
    ("https://?x", LACKS),
    # Users and passwords.
    ("https://alice:topsecret@chat.example.org/in", USER),
    ("https://topsecret@chat.example.org/in", USER),
    ("https://@chat.example.org/in", USER),
    ("https://chat.example.org:443@127.0.0.1/in", USER),
    ("https://chat.example.org&@127.0.0.1/in", USER),
    ("https://alice%40chat.example.org/in", PERCENT),
    # Ports.
    ("https://chat.example.org:22/in", f"{GOES} 22"),
    ("https://chat.example.org:6379/", f"{GOES} 6379"),
    ("https://chat.example.org:8443/in", "or chat.example.org:8443 to allow"),
    ("https://chat.example.org:0/in", PORT),
    ("https://chat.example.org:65536/in", PORT),
    ("https://chat.example.org:99999999999/in", PORT),
    ("https://chat.example.org:-1/in", PORT),
    ("https://chat.example.org:/in", PORT),
    ("https://chat.example.org:0443/in", PORT),
    ("https://chat.example.org:\uff14\uff14\uff13/in", PORT),
    ("https://chat.example.org:443:80/in", BRACKETS),
    # Characters.
    (" https://chat.example.org/in", SPACE),
    ("https://chat.example.org/in room", SPACE),
    ("https://chat.example.org/in\r\nx-forged: 1", SPACE),
    ("https://chat.example.org/in\u00a0room", SPACE),
    ("https://chat.exa\tmple.org/in", SPACE),
    ("https://chat.example.org/in\x00", UNSEEN),
    ("https://chat.example.org/\x7f", UNSEEN),
    ("https://chat\u200b.example.org/in", UNSEEN),
    ("https://chat\u00ad.example.org/in", UNSEEN),
    ("https://\u202egro.elpmaxe.tahc/in", UNSEEN),
    ("https://chat.example.org\\@127.0.0.1/", BACKSLASH),
    ("https:\\\\127.0.0.1/in", BACKSLASH),
    ("https://chat.example.org/in#part", FRAGMENT),
    ("https://chat.example.org#@127.0.0.1/", FRAGMENT),
    ("https://chat.example.org/in#", FRAGMENT),
    ("https://chat.example.org/grüße", ASCII),
    ("https://chat.example.org?grüße", ASCII),
    # Names.
    ("https://chat%2eexample.org/in", PERCENT),
    ("https://%31%32%37.0.0.1/in", PERCENT),
    ("https://chat.example.org%00.evil.example/in", PERCENT),
    ("https://chat.example.org./in", DOT),
    ("https://127.0.0.1./in", DOT),
    ("https://chat..example.org/in", NOT_A_NAME),
    ("https://.example.org/in", NOT_A_NAME),
    ("https://-chat.example.org/in", NOT_A_NAME),
    ("https://chat.example.org,127.0.0.1/in", FORM),
    ("https://chat!.example.org/in", NOT_A_NAME),
    ("https://*.example.org/in", NOT_A_NAME),
    ("https://" + "a" * 64 + ".example.org/in", NOT_A_NAME),
    ("https://" + "a." * 127 + "org/in", "has at most 253 characters"),
    ("https://localhost/in", INSIDE),
    ("https://intranet/in", INSIDE),
    ("https://app.localhost/in", INSIDE),
    ("https://printer.local/in", INSIDE),
    ("https://metadata.google.internal/computeMetadata/v1/", INSIDE),
    ("https://router.home.arpa/in", INSIDE),
    ("https://①②⑦.⓪.⓪.①/in", OTHER),
    ("https://\uff11\uff12\uff17.0.0.1/in", OTHER),
    ("https://127\u30020\u30020\u30021/in", OTHER),
    ("https://\uff4cocalhost/in", OTHER),
    ("https://chat.example.org\uff0fin", OTHER),
    ("https://chat.example.org℀evil.example/", OTHER),
    ("https://straße.example/in", OTHER),
    # Addresses of IPv4, also in unusual forms.
    ("https://127.0.0.1/in", f"{NOT_PUBLIC} of the machine itself"),
    ("https://127.8.9.10/in", NOT_PUBLIC),
    ("https://10.1.2.3/in", f"{NOT_PUBLIC} private"),
    ("https://172.16.0.1/in", NOT_PUBLIC),
    ("https://192.168.1.1/in", NOT_PUBLIC),
    ("https://100.64.0.1/in", f"{NOT_PUBLIC} shared by the customers of a provider"),
    ("https://169.254.169.254/latest/meta-data/", f"{NOT_PUBLIC} the metadata service of a cloud"),
    ("https://168.63.129.16/", f"{NOT_PUBLIC} the metadata service of a cloud"),
    ("https://0.0.0.0/in", f"{NOT_PUBLIC} unspecified"),
    ("https://224.0.0.1/in", f"{NOT_PUBLIC} multicast"),
    ("https://255.255.255.255/in", f"{NOT_PUBLIC} reserved"),
    ("https://2130706433/in", FORM),
    ("https://0x7f000001/in", FORM),
    ("https://0x7f.0.0.1/in", FORM),
    ("https://0177.0.0.1/in", FORM),
    ("https://127.1/in", FORM),
    ("https://127.0.1/in", FORM),
    ("https://127.0.0.01/in", FORM),
    ("https://0/in", FORM),
    ("https://0x/in", FORM),
    ("https://1.2.3.4.5/in", FORM),
    ("https://256.0.0.1/in", FORM),
    ("https://chat.example.0x1/in", FORM),
    # Addresses of IPv6.
    ("https://[::1]/in", f"{NOT_PUBLIC} of the machine itself"),
    ("https://[::]/in", f"{NOT_PUBLIC} unspecified"),
    ("https://[::ffff:127.0.0.1]/in", f"{NOT_PUBLIC} an IPv4 address in IPv6 form"),
    ("https://[::ffff:5db8:d70e]/in", f"{NOT_PUBLIC} an IPv4 address in IPv6 form"),
    ("https://[::127.0.0.1]/in", NOT_PUBLIC),
    ("https://[64:ff9b::7f00:1]/in", f"{NOT_PUBLIC} translated by NAT64"),
    ("https://[2002:7f00:1::]/in", f"{NOT_PUBLIC} tunnelled by 6to4"),
    ("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/in", f"{NOT_PUBLIC} tunnelled by Teredo"),
    ("https://[fd00:ec2::254]/in", f"{NOT_PUBLIC} the metadata service of a cloud"),
    ("https://[fe80::1]/in", f"{NOT_PUBLIC} link-local"),
    ("https://[fe80::1%25eth0]/in", ZONE),
    ("https://[fe80::1%eth0]/in", ZONE),
    ("https://[2600::1%25lo]/in", ZONE),
    ("https://[2600::5efe:7f00:1]/in", f"{NOT_PUBLIC} an IPv4 address in IPv6 form"),
    ("https://[::1", BRACKETS),
    ("https://[::1]443/in", BRACKETS),
    ("https://::1/in", BRACKETS),
    ("https://[127.0.0.1]/in", NOT_IPV6),
    ("https://[v1.fe80::1]/in", NOT_IPV6),
    ("https://[]/in", NOT_IPV6),
    ("https://[1::2::3]/in", NOT_IPV6),
]  # fmt: skip


@pytest.mark.parametrize(("url", "sentence"), HOSTILE)
def test_a_hostile_url_is_refused_with_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_url(url, USUAL)
    text = str(caught.value)
    assert sentence in text
    assert text.isprintable()
    assert "topsecret" not in text


GOOD = [
    ("https://chat.example.org/in/7?a=b&c[]=d", "chat.example.org", 443, "/in/7?a=b&c[]=d", "chat.example.org"),
    ("HTTPS://Chat.Example.ORG", "chat.example.org", 443, "/", "chat.example.org"),
    ("https://chat.example.org:443/in", "chat.example.org", 443, "/in", "chat.example.org"),
    ("https://chat.example.org:80/in", "chat.example.org", 80, "/in", "chat.example.org:80"),
    ("https://chat.example.org?x", "chat.example.org", 443, "/?x", "chat.example.org"),
    ("https://chat.example.org/a/@alice:b", "chat.example.org", 443, "/a/@alice:b", "chat.example.org"),
    ("https://Bücher.example/in", "xn--bcher-kva.example", 443, "/in", "xn--bcher-kva.example"),
    ("https://xn--bcher-kva.example/in", "xn--bcher-kva.example", 443, "/in", "xn--bcher-kva.example"),
    ("https://a_b-c.example.org/in", "a_b-c.example.org", 443, "/in", "a_b-c.example.org"),
    ("https://93.184.215.14/in", "93.184.215.14", 443, "/in", "93.184.215.14"),
    ("https://[2600:0::0001]:80/in", "2600::1", 80, "/in", "[2600::1]:80"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "host", "port", "path_query", "host_header"), GOOD)
def test_a_public_url_is_accepted(url: str, host: str, port: int, path_query: str, host_header: str) -> None:
    target = check_url(url, USUAL)
    assert (target.host, target.port, target.path_query, target.host_header) == (host, port, path_query, host_header)
    assert (target.scheme, target.allowed) == ("https", False)
    # What is registered is what is checked before each POST.
    assert check_url(target.url, USUAL) == target


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://chat.internal/in", True),
        ("https://Chat.Internal:8065/in", True),
        ("http://localhost:8065/in", True),
        ("http://10.1.2.3/in", True),
        ("http://[fd12::1]:8443/in", True),
        ("https://chat.example.org/in", False),
    ],
)
def test_what_the_admin_allows_by_name_may_be_private_and_without_tls(url: str, allowed: bool) -> None:
    assert check_url(url, ALLOWED).allowed is allowed


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://localhost/in", "https://"),
        ("https://localhost/in", INSIDE),
        ("https://localhost:443/in", INSIDE),
        ("https://chat.internal:22/in", "a webhook goes to port 443, 80, not 22"),
        ("https://other.internal/in", INSIDE),
        ("https://a.chat.internal/in", INSIDE),
        ("https://10.1.2.4/in", NOT_PUBLIC),
        ("https://[fd12::1]/in", NOT_PUBLIC),
        ("https://chat.internal./in", DOT),
        ("ftp://chat.internal/in", "not with 'ftp'"),
        ("https://alice@chat.internal/in", USER),
    ],
)
def test_what_is_allowed_by_name_is_only_that_name_at_that_port(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_url(url, ALLOWED)


def test_http_and_more_ports_are_settings() -> None:
    settings = replace(USUAL, http=True, ports=(443, 8443))
    assert check_url("http://chat.example.org:8443/in", settings).host_header == "chat.example.org:8443"
    with pytest.raises(ConfigError, match="a webhook goes to port 443, 8443, not 80"):
        check_url("http://chat.example.org/in", settings)
    with pytest.raises(ConfigError, match="port 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 or another of the 441 in"):
        check_url("https://a.example.org/", WebhookSettings(ports=tuple(range(1, 443))))


def test_what_the_admin_is_to_write_for_http_is_enough_at_once() -> None:
    for url, entry in (
        ("http://localhost:8000/in", "localhost:8000"),
        ("http://localhost/in", "localhost"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ):
        with pytest.raises(ConfigError, match=re.escape(f'in [webhooks]: allow = ["{entry}"]')):
            check_url(url, USUAL)
        assert check_url(url, WebhookSettings(allow=(entry,))).allowed


def test_another_port_of_an_allowed_host_is_refused_with_those_at_which_it_works() -> None:
    allowed = WebhookSettings(allow=("localhost",))
    assert check_url("http://localhost:80/", allowed).port == 80
    with pytest.raises(ConfigError, match=r"a webhook goes to port 443, 80, not 8000; .* or localhost:8000 to allow"):
        check_url("http://localhost:8000/", allowed)


def test_a_target_shows_neither_path_nor_query() -> None:
    target = check_url("https://chat.example.org/in/topsecret?key=topsecret", USUAL)
    assert "topsecret" not in repr(target)


@given(st.sampled_from(SPECIAL_NETWORKS), st.data())
def test_no_literal_address_of_a_special_range_is_accepted(special: tuple[object, str], data: st.DataObject) -> None:
    network = special[0]
    offset = data.draw(st.integers(0, network.num_addresses - 1))  # type: ignore[attr-defined]
    ip = network[offset]  # type: ignore[index]
    assert not is_public(ip)
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    with pytest.raises(ConfigError, match=NOT_PUBLIC):
        check_url(f"https://{host}/in", USUAL)
    assert check_url(f"https://{host}/in", replace(USUAL, allow=(host,))).allowed


#: What URLs are made of, so that odd ones are near to good ones.
PIECES = st.sampled_from(
    ["https", "http", "://", "//", "/", "chat", ".", "example", "org", "127", "0", "1", "0x7f", ":", "443", "@", "?",
     "#", "[", "]", "::", "%", "2e", "%25", "\\", " ", "\t", "ü", "ß", "\u3002", "①", "xn--", "-", "_", "a",
     "%00", "&", ";"]
)  # fmt: skip


ODD = st.lists(PIECES, max_size=12).map("".join)


@given(st.one_of(ODD, ODD.map(lambda odd: f"https://{odd}"), st.text(max_size=60)))
def test_any_text_is_refused_or_means_the_same_to_other_readers(text: str) -> None:
    try:
        target: Target = check_url(text, USUAL)
    except ConfigError:
        return
    for url in [target.url, *([text] if text.isascii() else [])]:
        parts = urlsplit(url)
        assert (parts.scheme, parts.hostname, parts.port or 443) == ("https", target.host, target.port)
        assert (parts.username, parts.password, parts.fragment) == (None, None, "")
    assert target.url.isascii()
    try:
        assert is_public(ip_address(target.host))
    except ValueError:
        assert "." in target.host
