# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Connections that never hang: clear errors, bounded calls, the next host, and no password in any text."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Outcome, Publisher, Subscription
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from support.brokers.broker_under_test import RemoteBroker
from support.brokers.embedded_log import push_event
from support.brokers.impostor import answering, server
from support.brokers.messages import bodies, message, receive, send_all, take
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import free_port

WRONG = "wr0ng-s3cret"
#: Every limit of a hasty publisher or subscription.
HASTY_SECONDS = 1.0
#: Far above what a call may take with these limits, far below what it takes without any.
BOUND_SECONDS = 8.0


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Check that what is done inside ends in time."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < BOUND_SECONDS, what


def openers(remote: RemoteBroker, url: str) -> list[tuple[str, Callable[[], object]]]:
    """Return every way to connect."""
    return [
        ("publisher", remote.hasty_publisher(url, HASTY_SECONDS).open),
        ("durable", remote.hasty_subscription(url, remote.spec("#"), HASTY_SECONDS).open),
        ("temporary", remote.hasty_subscription(url, remote.spec("#", durable=False), HASTY_SECONDS).open),
    ]


def at_once(check: Callable[[str, Callable[[], object]], None], ways: list[tuple[str, Callable[[], object]]]) -> None:
    """Check all ways to connect at the same time, because each of them waits."""
    with ThreadPoolExecutor(len(ways)) as pool:
        for checked in [pool.submit(check, *way) for way in ways]:
            checked.result()


def everything_said(error: BaseException) -> str:
    """Return all texts of an error and of those that led to it."""
    chain = "".join(traceback.format_exception(error))
    return f"{error!r}{error}{chain}{error.__cause__!r}{error.__context__!r}"


def test_the_error_for_a_wrong_password_does_not_contain_it(
    remote: RemoteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = remote.url_of(user=(remote.plain.user, WRONG))
    for what, open_it in openers(remote, url):
        with pytest.raises(BrokerRefusedUsError, match=r"127\.0\.0\.1") as caught:
            open_it()
        assert WRONG not in everything_said(caught.value), what
    with pytest.raises(BrokerRefusedUsError) as caught:
        Consumer(url, ["#"]).receive(10)
    assert WRONG not in everything_said(caught.value)
    assert WRONG not in caplog.text


def test_the_right_password_is_in_no_text_either(remote: RemoteBroker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Proxy(remote.plain.hosts[0][1]) as proxy:
        url = remote.url_of(hosts=f"127.0.0.1:{proxy.port}")
        sender = remote.hasty_publisher(url, HASTY_SECONDS)
        source = remote.hasty_subscription(url, remote.spec("#", durable=False), HASTY_SECONDS)
        consumer = Consumer(url, ["#"], exchange=remote.exchange)
        for each in (sender, source, consumer):
            each.open()
        send_all(sender, [message(1)])
        proxy.hold()
        sender.send(message(2))
        with pytest.raises(BrokerUnavailableError) as caught:
            settle_until_it_fails(sender)
        shown = f"{sender!r}{vars(sender)!r}{source!r}{vars(source)!r}{consumer!r}{consumer.url!r}{consumer.url}"
        for each in (sender, source):
            each.abandon()
        consumer.close()
    assert remote.plain.password not in everything_said(caught.value)
    assert remote.plain.password not in shown
    assert remote.plain.password not in caplog.text


def settle_until_it_fails(sender: Publisher) -> None:
    """Settle until the publisher says that it is of no more use."""
    deadline = time.monotonic() + BOUND_SECONDS
    while time.monotonic() < deadline:
        sender.settle(0.5)


def test_the_error_names_a_port_on_which_no_process_listens(remote: RemoteBroker) -> None:
    port = free_port()
    url = remote.url_of(hosts=f"127.0.0.1:{port}")
    for what, open_it in openers(remote, url):
        with bounded(what), pytest.raises(BrokerUnavailableError, match=f"127.0.0.1:{port}") as caught:
            open_it()
        assert not isinstance(caught.value, BrokerRefusedUsError)
        assert remote.plain.password not in everything_said(caught.value)


def test_the_error_names_a_host_that_does_not_exist(remote: RemoteBroker) -> None:
    for what, open_it in openers(remote, remote.url_of(hosts="nowhere.invalid:5672")):
        with bounded(what), pytest.raises(BrokerUnavailableError, match=r"nowhere\.invalid"):
            open_it()


def test_hosts_are_tried_in_turn(remote: RemoteBroker) -> None:
    port = remote.plain.hosts[0][1]
    url = remote.url_of(hosts=f"127.0.0.1:{free_port()},nowhere.invalid:1,127.0.0.1:{port}")
    source = remote.hasty_subscription(url, remote.spec("#"), HASTY_SECONDS)
    source.open()
    sender = remote.hasty_publisher(url, HASTY_SECONDS)
    sender.open()
    assert [item.outcome for item in send_all(sender, [message(1)])] == [Outcome.DELIVERED]
    assert bodies(source, 1) == [b"1"]
    sender.close()
    source.close()


def test_a_first_host_that_is_a_black_hole_does_not_keep_us_from_the_second(remote: RemoteBroker) -> None:
    port = remote.plain.hosts[0][1]

    def opens(what: str, open_it: Callable[[], object]) -> None:
        with bounded(what):
            open_it()

    with Proxy(port) as hole:
        hole.hold()
        at_once(opens, openers(remote, remote.url_of(hosts=f"127.0.0.1:{hole.port},127.0.0.1:{port}")))


def test_if_no_host_takes_us_each_is_named(remote: RemoteBroker) -> None:
    first, second = free_port(), free_port()
    url = remote.url_of(hosts=f"127.0.0.1:{first},[::1]:{second}")
    for what, open_it in openers(remote, url):
        with bounded(what), pytest.raises(BrokerUnavailableError) as caught:
            open_it()
        assert f"127.0.0.1:{first}" in str(caught.value)
        assert f"[::1]:{second}" in str(caught.value)


def test_connecting_into_a_black_hole_ends_at_the_limit(remote: RemoteBroker) -> None:
    def fails(what: str, open_it: Callable[[], object]) -> None:
        with bounded(what), pytest.raises(BrokerUnavailableError, match=f"127.0.0.1:{proxy.port}"):
            open_it()

    with Proxy(remote.plain.hosts[0][1]) as proxy:
        proxy.hold()
        at_once(fails, openers(remote, remote.url_of(hosts=f"127.0.0.1:{proxy.port}")))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_no_call_of_a_publisher_hangs_in_a_black_hole(remote: RemoteBroker, tls: bool) -> None:
    target = remote.encrypted if tls else remote.plain
    with Proxy(target.hosts[0][1]) as proxy:
        url = remote.url_of(hosts=f"localhost:{proxy.port}", tls=tls, options=f"?ca={remote.ca_file}" if tls else "")
        first, second, third = (remote.hasty_publisher(url, HASTY_SECONDS) for _ in range(3))
        for sender in (first, second, third):
            sender.open()
        proxy.hold()
        first.send(message(1))
        with bounded("settle(0)"):
            assert list(first.settle(0)) == []
        with bounded("settle"), pytest.raises(BrokerUnavailableError):
            settle_until_it_fails(first)
        with bounded("abandon"):
            first.abandon()
        with bounded("a flood"), pytest.raises(BrokerUnavailableError):
            flood(second)
        with bounded("close with something unsettled"):
            second.close()
        with bounded("close"):
            third.close()


def flood(sender: Publisher) -> None:
    """Send more than any buffer takes."""
    for number in range(sender.window):
        sender.send(message(number, body=b"x" * 250_000))
        sender.settle(0)
    settle_until_it_fails(sender)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_no_call_of_a_subscription_hangs_in_a_black_hole(remote: RemoteBroker, tls: bool) -> None:
    target = remote.encrypted if tls else remote.plain
    with Proxy(target.hosts[0][1]) as proxy:
        url = remote.url_of(hosts=f"localhost:{proxy.port}", tls=tls, options=f"?ca={remote.ca_file}" if tls else "")
        source = remote.hasty_subscription(url, remote.spec("#"), HASTY_SECONDS)
        source.open()
        remote.publish(message(1), message(2))
        first, second = receive(source, 2)
        proxy.hold()
        with bounded("acknowledge"):
            source.acknowledge(first)
        with bounded("reject"), pytest.raises(BrokerUnavailableError):
            source.reject(second, "because")
        with bounded("receive"), suppress(BrokerUnavailableError):
            assert source.receive(0.2) is None
        with bounded("close"):
            source.close()
        with bounded("open"), pytest.raises(BrokerUnavailableError):
            source.open()
        with bounded("abandon"):
            source.abandon()


def test_a_program_is_held_up_by_a_black_hole_no_longer_than_it_wants(remote: RemoteBroker) -> None:
    with Proxy(remote.plain.hosts[0][1]) as proxy:
        consumer = remote.consumer("hg.#")
        proxied = Consumer(
            remote.url_of(hosts=f"127.0.0.1:{proxy.port}"), ["hg.#"], exchange=remote.exchange, timeout=1
        )
        proxied.open()
        remote.publish_events(push_event(1))
        assert take(proxied, 1) == [1]
        proxy.hold()
        remote.publish_events(push_event(2))
        with bounded("a loop with a timeout"):
            assert list(proxied) == []
        with bounded("close"):
            proxied.close()
    assert take(consumer, 2) == [1, 2]


def test_a_connection_cut_in_the_middle_of_a_message_loses_nothing(remote: RemoteBroker) -> None:
    with Proxy(remote.plain.hosts[0][1]) as proxy:
        url = remote.url_of(hosts=f"127.0.0.1:{proxy.port}")
        source: Subscription = remote.hasty_subscription(url, remote.spec("#"), HASTY_SECONDS)
        source.open()
        proxy.to_client.cut(after_bytes=5_000)
        remote.publish(*(message(number, body=b"%d " % number + b"x" * 1000) for number in range(10)))
        got = []
        with pytest.raises(BrokerUnavailableError):  # noqa: PT012 - any of these calls
            while True:
                (delivery,) = receive(source, 1)
                got.append(int(delivery.body.split()[0]))
        assert got == list(range(len(got)))
        assert len(got) < 10
        source.abandon()
    again = remote.subscription(remote.spec("#"), former=("#",))
    assert [int(body.split()[0]) for body in bodies(again, 10)] == list(range(10))


def test_a_consumer_goes_on_after_its_connection_is_cut(remote: RemoteBroker) -> None:
    with Proxy(remote.plain.hosts[0][1]) as proxy:
        url = remote.url_of(hosts=f"127.0.0.1:{proxy.port}")
        remote.prepare(remote.exchange)
        consumer = Consumer(url, ["hg.#"], remote.queue, durable=True, exchange=remote.exchange)
        consumer.open()
        proxy.to_client.cut(after_bytes=20_000)
        remote.publish_events(*(push_event(number) for number in range(1, 101)))
        assert take(consumer, 100) == list(range(1, 101))
        consumer.close()
    assert consumer.stats.reconnects == 1
    assert (consumer.stats.gaps, consumer.stats.interruptions) == (0, 0)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b""],
    ids=["http", "ssh", "tls", "nothing"],
)
def test_a_server_that_is_not_a_broker_is_reported_at_once(remote: RemoteBroker, answer: bytes) -> None:
    with server(answering(answer)) as port:
        for what, open_it in openers(remote, remote.url_of(hosts=f"127.0.0.1:{port}")):
            with bounded(what), pytest.raises(BrokerUnavailableError, match=f"127.0.0.1:{port}") as caught:
                open_it()
            assert "does not answer within" not in str(caught.value), what
