# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Broker URLs: what is read, what is refused, and that no password is ever shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sourcepulse.brokers.url import BrokerUrl, redact
from sourcepulse.errors import ConfigError

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
ADDRESSES = st.ip_addresses(v=6).map(str)
PORTS = st.integers(1, 65535)
HOSTS = st.lists(st.tuples(NAMES | ADDRESSES, PORTS), min_size=1, max_size=3)


def shown_of(text: str) -> str:
    """Return everything that a log, an error or a traceback could show of the URL."""
    try:
        url = BrokerUrl.parse(text)
    except ConfigError as error:
        return redact(text) + str(error) + repr(error.__cause__)
    return redact(text) + str(url) + repr(url)


def written(hosts: list[tuple[str, int]]) -> str:
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)


@given(st.sampled_from(["amqp", "amqps", "stomp+rabbitmq", "stomps+rabbitmq"]), TEXTS, TEXTS, HOSTS, TEXTS)
def test_every_part_is_read_back_as_it_was_escaped(
    scheme: str, user: str, password: str, hosts: list[tuple[str, int]], vhost: str
) -> None:
    url = BrokerUrl.parse(
        f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{written(hosts)}/{quote(vhost, safe='')}"
    )

    assert (url.scheme, url.user, url.password) == (scheme, user, password)
    assert url.hosts == tuple(hosts)
    assert url.vhost == (vhost or "/")
    assert url.has_password == bool(password)
    again = BrokerUrl.parse(str(url))
    assert (again.user, again.password, again.hosts, again.vhost) == (user, "", tuple(hosts), url.vhost)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(lambda name: name.strip()))
def test_a_file_url_names_any_path(name: str) -> None:
    url = BrokerUrl.parse(f"file:///var/{quote(name, safe='')}")

    assert url.path == f"/var/{name}"
    assert BrokerUrl.parse(str(url)) == url


def test_a_file_name_that_is_not_utf8_stays_the_same_bytes() -> None:
    url = BrokerUrl.parse("file:///var/%FF.db")

    assert url.path.encode("utf-8", "surrogateescape") == b"/var/\xff.db"
    assert str(url) == "file:///var/%FF.db"


@pytest.mark.parametrize(
    ("text", "hosts", "vhost"),
    [
        ("amqp://localhost", (("localhost", 5672),), "/"),
        ("amqps://Broker.Example.ORG/", (("broker.example.org", 5671),), "/"),
        ("amqp://[::1]/pulse", (("::1", 5672),), "pulse"),
        ("amqp://a,b:5673/%2Fpulse", (("a", 5672), ("b", 5673)), "/pulse"),
        ("  amqp://a?heartbeat=30\n", (("a", 5672),), "/"),
    ],
)
def test_what_a_url_leaves_out_has_a_default(text: str, hosts: tuple[tuple[str, int], ...], vhost: str) -> None:
    url = BrokerUrl.parse(text)

    assert (url.hosts, url.vhost) == (hosts, vhost)


def test_options_are_read_as_they_stand_and_percent_decoded() -> None:
    url = BrokerUrl.parse("amqps://a/?ca=/etc/ssl/our+ca%20file.pem&heartbeat=30")

    assert url.option("ca") == "/etc/ssl/our+ca file.pem"
    assert url.option("heartbeat") == "30"
    assert url.option("cert") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "scheme"),
        ("localhost:5672", "scheme"),
        ("http://localhost/", "amqp://, amqps://, stomp+rabbitmq://"),
        ("AMQP//localhost", "scheme"),
        ("amqp://", "host"),
        ("amqp://a,,b", "host"),
        ("amqp://a b/", "host"),
        ("amqp://a:x/", "host"),
        ("amqp://a:/", "host"),
        ("amqp://a:0/", "65535"),
        ("amqp://a:65536/", "65535"),
        ("amqp://::1/", "host"),
        ("amqp://a/b/c", "%2F"),
        ("amqp://a/b#c", "%23"),
        ("amqp://a/?colour=red", "heartbeat"),
        ("amqp://a/?", "heartbeat"),
        ("amqp://a/?ca=/x", "heartbeat"),
        ("amqp://a/?heartbeat", "heartbeat"),
        ("amqp://a/?heartbeat=soon", "whole seconds"),
        ("amqps://a/?ca=/x&ca=/y", "twice"),
        ("amqp://%FF@a/", "UTF-8"),
        ("amqp://100%@a/", "%25"),
        ("file://log.db", "three slashes"),
        ("file://elsewhere/log.db", "three slashes"),
        ("file:///", "three slashes"),
        ("file:///var/", "three slashes"),
        ("file:///log.db?x=1", "no options"),
        ("file:///log.db#x", "no options"),
        ("file:///a%00b", "zero byte"),
    ],
)
def test_a_defect_is_a_configuration_error_that_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        BrokerUrl.parse(text)

    assert reason in str(caught.value)


@given(
    st.text(st.sampled_from("SECRT"), min_size=4, max_size=8),
    st.text(st.sampled_from(":/?#@%&=,[]+ "), max_size=4),
    st.text(st.sampled_from("SECRT"), min_size=4, max_size=8),
    st.sampled_from(["amqp", "amqps", "stomp", "", "x y"]),
)
@example("SECRET", "?", "SECRET", "amqp")
@example("SECRET", "?heartbeat=", "SECRET", "amqp")
@example("SECRET", "://", "SECRET", "amqp")
def test_a_password_shows_nowhere_however_badly_it_was_escaped(start: str, between: str, end: str, scheme: str) -> None:
    text = f"{scheme}://user:{start}{between}{end}@host:5672/vhost"
    shown = shown_of(text)

    # The URL itself has none of these letters in upper case.
    assert start not in shown
    assert end not in shown


@pytest.mark.parametrize(
    "text",
    [
        "amqp://user:SECRET",
        "amqp://user:SECRET/vhost",
        "amqp://user:SEC/RET",
        "amqp://:SECRET@host",
        "user:SECRET@host",
        "SECRET",
        " SEC RET\n",
        "SEC?RET",
        "SEC/RET",
        "SEC:5672/RET",
        "file:SECRET",
        "user@SECRET",
        "SEC%://RET",
        "amqp:user:SECRET@host://x",
        "amqp://host/?password=SECRET",
        "amqp://host/?SECRET",
    ],
)
def test_a_password_in_the_wrong_place_is_not_repeated_either(text: str) -> None:
    shown = shown_of(text)

    assert "SEC" not in shown
    assert "RET" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SECRET", "the broker URL '***' cannot be read: its scheme is missing"),
        (
            "ampq://user:SECRET@host/vhost",
            "the broker URL 'ampq://user:***@host/vhost' cannot be read: its scheme is unknown",
        ),
        (" amqp://host:99999/vhost\n", "the broker URL 'amqp://host:99999/vhost' cannot be read: a port"),
        ("", "the broker URL '' cannot be read: its scheme is missing"),
    ],
)
def test_an_error_shows_a_url_without_its_password_and_nothing_of_another_text(text: str, shown: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BrokerUrl.parse(text)

    assert str(caught.value).startswith(shown)


@given(TEXTS | TEXTS.map("amqp://{}".format))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        url = BrokerUrl.parse(text)
    except ConfigError:
        return
    assert BrokerUrl.parse(str(url)).hosts == url.hosts


@given(st.sampled_from(["stomp+activemq", "stomps+activemq"]), TEXTS, TEXTS, HOSTS)
def test_a_url_of_activemq_has_no_virtual_host(
    scheme: str, user: str, password: str, hosts: list[tuple[str, int]]
) -> None:
    text = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{written(hosts)}"
    url = BrokerUrl.parse(text)

    assert (url.scheme, url.user, url.password, url.hosts) == (scheme, user, password, tuple(hosts))
    assert BrokerUrl.parse(f"{text}/") == url
    with pytest.raises(ConfigError, match="no virtual hosts"):
        BrokerUrl.parse(f"{text}/pulse")


@pytest.mark.parametrize(
    ("scheme", "tls"),
    [("amqp", False), ("amqps", True), ("stomp+rabbitmq", False), ("stomps+rabbitmq", True), ("stomps+activemq", True)],
)
def test_only_an_encrypted_scheme_takes_the_options_of_tls(scheme: str, tls: bool) -> None:
    assert BrokerUrl.parse(f"{scheme}://broker").tls == tls
    text = f"{scheme}://broker?ca=/etc/ca.pem"
    if tls:
        assert BrokerUrl.parse(text).option("ca") == "/etc/ca.pem"
    else:
        with pytest.raises(ConfigError, match=r"is not one of .*heartbeat$"):
            BrokerUrl.parse(text)


def test_kombus_way_to_write_the_default_virtual_host_is_understood() -> None:
    assert BrokerUrl.parse("amqp://guest:guest@localhost:5672//") == BrokerUrl.parse(
        "amqp://guest:guest@localhost:5672/"
    )
    with pytest.raises(ConfigError, match="virtual host"):
        BrokerUrl.parse("stomp+activemq://localhost//")


@pytest.mark.parametrize("text", ["AMQP://u:p@Host", "Stomp+ActiveMQ://u:p@Host", "FILE:///tmp/Log.db"])
def test_a_scheme_has_no_case(text: str) -> None:
    scheme, _, rest = text.partition("://")
    assert BrokerUrl.parse(text) == BrokerUrl.parse(f"{scheme.lower()}://{rest}")


def test_a_file_without_slashes_is_answered_with_how_it_is_written() -> None:
    with pytest.raises(ConfigError, match="write file:// and the absolute path"):
        BrokerUrl.parse("file:log.db")
