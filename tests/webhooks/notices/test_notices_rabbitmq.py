# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events about hooks at a real RabbitMQ: the login that may, one that may not, and a broker that is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import amqp
import pytest
from amqp.exceptions import AccessRefused

from sourcepulse import Consumer
from sourcepulse.config import load
from sourcepulse.events.event import Event
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.events import NETWORK, Circumstances
from sourcepulse_web.webhooks.notices.notices import Notices
from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import RabbitNode
from support.brokers.site import PUBLIC, SENDER_ROLE, Site, site_of

LIMIT_SECONDS = 60.0
NOW = 1_795_345_200.0
HOOK = Hook(name="chat-room", url="https://chat.example.org/", topics=("#",), owner="alice@example.org")


@pytest.fixture
def site(rabbitmq: RabbitNode, tmp_path: Path) -> Iterator[Site]:
    """A virtual host with a relay, a gateway that reads, and the login that publishes for its sender."""
    for site in site_of(rabbitmq, tmp_path, "hooks"):
        assert site.run("--apply", users=("publisher", "consumer", SENDER_ROLE)) == 0
        yield site


@contextmanager
def running(site: Site, broker_file: Path | None) -> Iterator[Notices]:
    config = load({"broker_file": str(site.file("consumer"))}, environ={})
    outbox = site.folder / "webhooks-outbox.db"
    notices = Notices(outbox, config, host="tree", broker_file=broker_file, buried_again_s=1.0)
    notices.start()
    try:
        yield notices
    finally:
        notices.close()


def park(notices: Notices, *numbers: int) -> None:
    for number in numbers:
        notices.parked(HOOK, Circumstances(reason=NETWORK, waiting=number), at=NOW + number)


def heard(consumer: Consumer, count: int) -> list[int]:
    """Return how many waited, by so many events."""
    found = []
    for _ in range(count):
        event: Event | None = consumer.receive(LIMIT_SECONDS)
        assert event is not None
        consumer.acknowledge()
        found.append(event.data["waiting"])
    return found


def reader(site: Site) -> Consumer:
    url = site.url("consumer")
    return Consumer(url, ["system.webhook.#"], queue=f"{url.user}.ear", durable=True, state=":memory:")


def test_a_gateway_that_may_only_read_keeps_its_events_names_the_grant_and_goes_on_with_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    file = site.folder / "sender.broker"
    with reader(site) as consumer, running(site, file) as notices:
        park(notices, 0)
        wait_until(lambda: f"{file} cannot be read" in notices.problem, LIMIT_SECONDS)
        file.touch(0o600)
        file.write_text(site.file("consumer").read_text())
        wait_until(lambda: "refused" in notices.problem, LIMIT_SECONDS)
        assert "--user webhook-publisher=webhooks" in notices.problem
        park(notices, 1)
        # The correction takes effect without a restart, before the next minute.
        file.write_text(site.file(SENDER_ROLE).read_text())
        assert heard(consumer, 2) == [0, 1]
        wait_until(lambda: not notices.problem, LIMIT_SECONDS)
        # A right that is narrower is refused event by event; what was refused is sent once it is corrected.
        site.node.control(
            "set_topic_permissions", "-p", site.vhost, site.user(SENDER_ROLE), PUBLIC, r"^system\.hg\.", "^$"
        )
        # The broker remembers for a connection that a key was allowed, so this is another one.
        other = Hook(name="other", url="https://chat.example.org/", topics=("#",))
        notices.parked(other, Circumstances(reason=NETWORK, waiting=2), at=NOW)
        wait_until(lambda: "were refused" in notices.problem, LIMIT_SECONDS)
        assert site.run("--apply", users=("publisher", "consumer", SENDER_ROLE)) == 0
        assert heard(consumer, 1) == [2]
        wait_until(lambda: not notices.problem, LIMIT_SECONDS)
    password = site.url(SENDER_ROLE).password
    assert password
    assert password not in caplog.text


def test_the_login_of_a_sender_publishes_what_happens_to_webhooks_and_nothing_else(site: Site) -> None:
    channel = site.channel(SENDER_ROLE)
    channel.basic_publish_confirm(amqp.Message(b"{}"), PUBLIC, "system.webhook.parked.x")
    for key in ("hg.push.x", "system.hg.down", "system.webhooks.x"):
        with pytest.raises(AccessRefused):
            site.channel(SENDER_ROLE).basic_publish_confirm(amqp.Message(b"{}"), PUBLIC, key)
    with pytest.raises(AccessRefused):
        site.channel(SENDER_ROLE).queue_declare("temporary-mine", exclusive=True)
    assert site.run("--check", users=("publisher", "consumer", SENDER_ROLE)) == 0


def test_while_the_broker_is_away_events_are_kept_and_then_sent_each_once(site: Site) -> None:
    with running(site, site.file(SENDER_ROLE)) as notices:
        with reader(site) as consumer:
            park(notices, 0)
            assert heard(consumer, 1) == [0]
        site.node.keep_declarations()
        site.node.kill()
        try:
            park(notices, *range(1, 20))
            wait_until(lambda: "that wait to be sent" in notices.problem, LIMIT_SECONDS)
        finally:
            site.node.start()
        with reader(site) as consumer:
            assert heard(consumer, 19) == list(range(1, 20))
        wait_until(lambda: not notices.problem, LIMIT_SECONDS)
