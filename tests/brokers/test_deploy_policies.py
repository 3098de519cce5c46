# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The broker set-ups that we ship, on real nodes: they work as they are, give least rights, and their limits hold."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree

import amqp
import pytest

from sourcepulse.brokers import (
    Message,
    Outcome,
    QueueLimits,
    Subscription,
    SubscriptionSpec,
    open_publisher,
    open_subscription,
)
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.main import main
from sourcepulse.consumer.consumer import Consumer
from sourcepulse.errors import BrokerRefusedUsError
from sourcepulse.gaps import Gap
from sourcepulse.operations.broker_setup.activemq import render
from sourcepulse.operations.broker_setup.objects import Plan
from sourcepulse.operations.broker_setup.roles import DEFAULT_USERS, ROLES, User
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
from support.brokers.activemq import ActiveMqNode
from support.brokers.activemq import is_installed as activemq_is_installed
from support.brokers.embedded_log import as_message, push_event
from support.brokers.messages import bodies, is_silent, message, send_all
from support.brokers.rabbitmq import ADMIN, RabbitNode
from support.brokers.rabbitmq import is_installed as rabbitmq_is_installed
from support.brokers.stomp_wire import StompWire
from support.events.heartbeats import heartbeat
from support.fenced_blocks import blocks

DEPLOY = Path(__file__).parents[2] / "shared" / "deploy"
DEFINITIONS = (DEPLOY / "rabbitmq-definitions.json").read_text()
ACTIVEMQ_XML = (DEPLOY / "activemq.xml").read_text()
#: As `setup-broker` writes it, where a second reader has rights of its own.
SECOND_READER = User("second-reader", ROLES["consumer"])
#: And a gateway's sender.
WEBHOOKS = User("webhooks", ROLES["webhook-publisher"])
ACTIVEMQ_PLAN = Plan("/", "sourcepulse", "sourcepulse-restricted", (*DEFAULT_USERS, SECOND_READER, WEBHOOKS))

EXCHANGES = {"": "sourcepulse", "restricted-": "sourcepulse-restricted"}
#: rabbitmqctl lists every column but this one.
POLICIES_OF_QUEUES = (
    '[{element(4, amqqueue:get_name(Q)), rabbit_policy:name_op(Q)} || Q <- rabbit_amqqueue:list(<<"sourcepulse">>)].'
)
WAIT_SECONDS = 20.0
SILENCE_SECONDS = 0.3
#: Of the policy for topics in activemq.xml.
PENDING_LIMIT = 1_000
SECRET, SENTINEL = b"secret", b"sentinel"


def password(user: str) -> str:
    """What the files' placeholders become."""
    return f"s3cret-{user}"


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A private node that was given our definitions."""
    require("rabbitmq-server", rabbitmq_is_installed())
    node = RabbitNode(tmp_path_factory.mktemp("deployed-rabbitmq"), management=True)
    definitions = json.loads(DEFINITIONS.replace("CHANGE-ME-", password("")))
    definitions["users"].append({"name": ADMIN[0], "password": ADMIN[1], "tags": "administrator"})
    (node.folder / "definitions.json").write_text(json.dumps(definitions))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="module")
def activemq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqNode]:
    """A private broker that was given our file, with one more reader."""
    with started_activemq(tmp_path_factory, render(ACTIVEMQ_XML, ACTIVEMQ_PLAN)) as node:
        yield node


@contextmanager
def started_activemq(tmp_path_factory: pytest.TempPathFactory, text: str) -> Iterator[ActiveMqNode]:
    """Start a broker with a text of ours; its key store and its ports are the test's."""
    require("activemq", activemq_is_installed())
    node = ActiveMqNode(tmp_path_factory.mktemp("deployed-activemq"))
    store = ElementTree.parse(node.folder / "activemq.xml").find(".//{*}sslContext/{*}sslContext")
    assert store is not None
    for placeholder, value in {
        "CHANGE-ME-keystore": store.attrib["keyStorePassword"],
        "CHANGE-ME-": password(""),
        "127.0.0.1:61613": f"127.0.0.1:{node.port}",
        "0.0.0.0:61614": f"127.0.0.1:{node.tls_port}",
    }.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    (node.folder / "activemq.xml").write_text(text)
    # All else is as shipped: the broker finds its own folders.
    (node.folder / "conf").mkdir()
    (node.folder / "broker.p12").rename(node.folder / "conf" / "broker.p12")
    # Our file has no port that wants a certificate of the client.
    node.client_cert_port = node.tls_port
    try:
        node.start()
        yield node
    finally:
        node.close()


def require(package: str, installed: bool) -> None:
    if not installed:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{package} is not installed")


class Deployed:
    """One shipped set-up by one protocol."""

    def __init__(self, scheme: str, node: RabbitNode | ActiveMqNode) -> None:
        self.scheme = scheme
        self.node = node
        if isinstance(node, ActiveMqNode):
            self.port, self.vhost = node.port, ""
        else:
            self.port, self.vhost = (node.port if scheme == "amqp" else node.stomp_port), "/sourcepulse"

    def url(self, user: str) -> BrokerUrl:
        return BrokerUrl.parse(f"{self.scheme}://{user}:{password(user)}@127.0.0.1:{self.port}{self.vhost}")

    def queue(self, user: str) -> str:
        """Return the name that a user's durable queue may have."""
        return user if self.scheme == "stomp+activemq" else f"{user}.{self.scheme}"

    def subscription(self, user: str, exchange: str, *, queue: str | None = None) -> Subscription:
        spec = SubscriptionSpec(exchange=exchange, patterns=("#",), queue=queue, durable=queue is not None)
        return open_subscription(self.url(user), spec)

    def durable_queue(self, user: str, pattern: str) -> Subscription:
        """Open a durable subscription of one pattern to what is public."""
        spec = SubscriptionSpec(exchange=EXCHANGES[""], patterns=(pattern,), queue=self.queue(user), durable=True)
        source = open_subscription(self.url(user), spec)
        source.open()
        return source


@pytest.fixture(params=["amqp", "stomp+rabbitmq", "stomp+activemq"])
def deployed(request: pytest.FixtureRequest) -> Deployed:
    """Each shipped set-up, by each protocol that it serves."""
    node = request.getfixturevalue("activemq" if request.param == "stomp+activemq" else "rabbitmq")
    return Deployed(request.param, node)


def publish(deployed: Deployed, user: str, exchange: str, *messages: Message) -> list[Outcome]:
    sender = open_publisher(deployed.url(user), exchange=exchange)
    sender.open()
    try:
        return [each.outcome for each in send_all(sender, messages)]
    finally:
        sender.abandon()


def refused(action: Callable[[], object]) -> str:
    """Run what must be refused for want of a right, and give what was said."""
    with pytest.raises(BrokerRefusedUsError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize("kind", EXCHANGES)
@pytest.mark.parametrize("durable", [True, False])
def test_each_relay_and_each_reader_can_do_its_work(deployed: Deployed, kind: str, durable: bool) -> None:
    exchange, reader = EXCHANGES[kind], f"{kind}reader"
    source = deployed.subscription(reader, exchange, queue=deployed.queue(reader) if durable else None)
    source.open()
    try:
        publish(deployed, f"{kind}relay", exchange, *(message(number) for number in range(5)))

        assert bodies(source, 5) == [b"0", b"1", b"2", b"3", b"4"]
    finally:
        source.close()


@pytest.mark.parametrize("kind", EXCHANGES)
def test_no_relay_can_write_to_the_other_exchange(deployed: Deployed, kind: str) -> None:
    other = next(name for which, name in EXCHANGES.items() if which != kind)

    refused(lambda: publish(deployed, f"{kind}relay", other, message(1)))


@pytest.mark.parametrize("kind", EXCHANGES)
@pytest.mark.parametrize("durable", [True, False])
def test_no_reader_can_subscribe_to_the_other_exchange(deployed: Deployed, kind: str, durable: bool) -> None:
    reader = f"{kind}reader"
    other = next(name for which, name in EXCHANGES.items() if which != kind)

    refused(deployed.subscription(reader, other, queue=deployed.queue(reader) if durable else None).open)


@pytest.mark.parametrize("user", ["reader", "restricted-reader"])
@pytest.mark.parametrize("exchange", EXCHANGES.values())
def test_no_reader_can_publish(deployed: Deployed, user: str, exchange: str) -> None:
    refused(lambda: publish(deployed, user, exchange, message(1)))


def test_a_sender_publishes_what_happens_to_webhooks_at_activemq_and_nothing_else(activemq: ActiveMqNode) -> None:
    deployed = Deployed("stomp+activemq", activemq)
    source = deployed.subscription("reader", EXCHANGES[""])
    source.open()
    try:
        publish(deployed, "webhooks", EXCHANGES[""], message(1, key="system.webhook.parked.chat-room"))
        assert bodies(source, 1) == [b"1"]
        for exchange, key in (
            (EXCHANGES[""], "hg.push.x"),
            (EXCHANGES[""], "system.hg.down"),
            (EXCHANGES["restricted-"], "system.webhook.parked.x"),
        ):
            refused(lambda e=exchange, k=key: publish(deployed, "webhooks", e, message(2, key=k)))
        refused(deployed.subscription("webhooks", EXCHANGES[""]).open)
        # The others go on as before.
        publish(deployed, "relay", EXCHANGES[""], message(3, key="system.webhook.parked.x"))
        assert bodies(source, 1) == [b"3"]
    finally:
        source.close()


@pytest.mark.parametrize("kind", EXCHANGES)
def test_no_reader_gets_at_the_queue_of_the_other(deployed: Deployed, kind: str) -> None:
    reader = f"{kind}reader"
    (other,) = {"reader", "restricted-reader"} - {reader}
    queue = deployed.queue(other)

    refused(deployed.subscription(reader, EXCHANGES[kind], queue=queue).open)


def test_no_reader_of_activemq_gets_at_the_queue_of_a_second_one_by_its_name(activemq: ActiveMqNode) -> None:
    deployed = Deployed("stomp+activemq", activemq)
    source = deployed.durable_queue("second-reader", "#")
    try:
        for queue in ("second-reader.dead", "second-reader.VirtualTopic.sourcepulse.>"):
            with StompWire(activemq.port, ("reader", password("reader"))) as wire:
                destination = f"/queue/Consumer.{queue}"
                wire.send("SUBSCRIBE", {"destination": destination, "id": "1", "ack": "client", "receipt": "1"})
                assert wire.read().command == "ERROR"
        publish(deployed, "relay", "sourcepulse", message(1))
        assert bodies(source, 1) == [b"1"]
    finally:
        source.close()


#: Everything a reader could write to reach more than one exchange at ActiveMQ.
WIDE = (
    "/topic/>",
    "/topic/VirtualTopic.>",
    "/topic/VirtualTopic.*.>",
    "/topic/VirtualTopic.*.hg.>",
    "/topic/*.*.hg.push.secret",
    "/topic/VirtualTopic.sourcepulse-restricted.>",
    "/topic/VirtualTopic.sourcepulse.>,VirtualTopic.sourcepulse-restricted.>",
    "/topic/ActiveMQ.Advisory.>",
    "/queue/>",
    "/queue/Consumer.>",
    "/queue/Consumer.*.VirtualTopic.>",
    "/queue/Consumer.*.VirtualTopic.*.>",
    "/queue/Consumer.*.*.*.>",
    "/queue/*.*.*.*.>",
    "/queue/Consumer.reader.VirtualTopic.>",
    "/queue/Consumer.reader.VirtualTopic.*.>",
    "/queue/Consumer.restricted-reader.VirtualTopic.*.>",
    "/queue/Consumer.restricted-reader.VirtualTopic.sourcepulse-restricted.>",
    "/queue/Consumer.*.dead",
    "/queue/DLQ.>",
    "/dsub/x",
)


def seen_by_reader(activemq: ActiveMqNode, destination: str) -> list[bytes]:
    """Subscribe as the public reader, publish restricted events, and give the bodies that came."""
    deployed = Deployed("stomp+activemq", activemq)
    before, after = message(1, key="hg.push.secret", body=SECRET), message(2, key="hg.push.other", body=SECRET)
    publish(deployed, "restricted-relay", "sourcepulse-restricted", before)
    seen: list[bytes] = []
    with StompWire(activemq.port, ("reader", password("reader"))) as wire:
        sentinel = "/topic/VirtualTopic.sourcepulse.hg.push.sentinel"
        wire.request("SUBSCRIBE", {"destination": sentinel, "id": "1", "ack": "auto"})
        wire.send("SUBSCRIBE", {"destination": destination, "id": "2", "ack": "auto", "receipt": "wide"})
        seen += [wire.read().body]
        publish(deployed, "restricted-relay", "sourcepulse-restricted", before, after)
        publish(deployed, "relay", "sourcepulse", message(3, key="hg.push.sentinel", body=SENTINEL))
        while SENTINEL not in seen:
            seen.append(wire.read().body)
        # A queue is served by a thread of its own.
        with suppress(TimeoutError):
            while True:
                seen.append(wire.read(SILENCE_SECONDS).body)
    return seen


@pytest.mark.parametrize("destination", WIDE)
def test_no_wide_destination_of_activemq_shows_a_reader_restricted_events(
    activemq: ActiveMqNode, destination: str
) -> None:
    assert SECRET not in seen_by_reader(activemq, destination)


def test_an_activemq_with_a_virtual_topic_for_both_exchanges_would_show_readers_restricted_events(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Which is its default, and why our file has a composite topic: a wildcard is allowed if any part of it is.
    default = re.sub(r"<destinationInterceptors>.*</destinationInterceptors>", "", ACTIVEMQ_XML, flags=re.DOTALL)
    assert default != ACTIVEMQ_XML
    with started_activemq(tmp_path_factory, default) as node:
        assert SECRET in seen_by_reader(node, "/queue/Consumer.reader.VirtualTopic.*.>")


def test_a_topic_of_activemq_drops_the_oldest_for_a_consumer_that_reads_nothing(activemq: ActiveMqNode) -> None:
    deployed, count = Deployed("stomp+activemq", activemq), PENDING_LIMIT + 500
    # An exchange without queues, which would take most of the time.
    with StompWire(activemq.port, ("admin", password("admin"))) as wire:
        topic = "/topic/VirtualTopic.flood.hg.push"
        asked = {"destination": topic, "id": "1", "ack": "client-individual", "activemq.prefetchSize": "1"}
        wire.request("SUBSCRIBE", asked)
        publish(deployed, "admin", "flood", *(message(number, key="hg.push") for number in range(count)))
        first = wire.read()
        wire.send("ACK", {"id": first.headers["ack"]})
        second = wire.read()
    assert first.body == b"0"
    assert int(second.body) >= count - PENDING_LIMIT - 1


@pytest.mark.parametrize("caching", [False, True], ids=["as-shipped", "with-its-default"])
def test_unread_queues_leave_activemq_memory_for_the_one_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, caching: bool
) -> None:
    text = ACTIVEMQ_XML.replace('limit="256 mb"', 'limit="64 mb"')
    if caching:
        text = text.replace(' useCache="false"', "")
    with started_activemq(tmp_path_factory, text) as node:
        deployed = Deployed("stomp+activemq", node)
        big = b'{"n":"%s"}' % (b"x" * 10_000)
        events = [dataclasses.replace(message(number, key="hg.push.repo"), body=big) for number in range(200)]
        for pattern in (
            "#",
            "*.#",
            "hg.#",
            "hg.*.#",
            "*.*.#",
            "hg.push.#",
            "*.push.#",
            "*.push.*",
            "hg.push.*",
            "hg.*.*",
        ):
            deployed.durable_queue("reader", pattern).close()
        # All of them together are far more than the memory; little by little it is filled to its end.
        for pattern in ("hg.push.repo", "*.push.repo", "hg.*.repo", "*.*.repo", "hg.push.repo.#", "*.push.repo.#"):
            publish(deployed, "relay", "sourcepulse", *events)
            source = deployed.durable_queue("reader", pattern)
            publish(deployed, "relay", "sourcepulse", *events[:20])
            assert all(source.receive(WAIT_SECONDS) for _ in range(20))
            source.close()
        # This is what the broker logs when it delivers late, or not at all until a consumer reads the other queues.
        assert ("no space available to page in messages" in node.log()) == caching


@pytest.mark.parametrize("expires_s", [None, 365 * 86_400])
def test_nothing_stays_in_activemq_for_more_than_a_week_even_if_its_publisher_wants_it(
    activemq: ActiveMqNode, expires_s: int | None
) -> None:
    topic = "/topic/VirtualTopic.sourcepulse.hg.push.old"
    with StompWire(activemq.port, ("reader", password("reader"))) as wire:
        wire.request("SUBSCRIBE", {"destination": topic, "id": "1", "ack": "auto"})
        with StompWire(activemq.port, ("relay", password("relay"))) as relay:
            expires = {} if expires_s is None else {"expires": str(int((time.time() + expires_s) * 1000))}
            relay.request("SEND", {"destination": topic, "persistent": "true", **expires}, b"x")
        left_s = int(wire.read().headers["expires"]) / 1000 - time.time()
    assert 6.9 * 86_400 < left_s <= 7 * 86_400


def test_what_a_reader_of_activemq_sets_aside_is_kept_where_only_it_can_look(activemq: ActiveMqNode) -> None:
    deployed = Deployed("stomp+activemq", activemq)
    source = deployed.subscription("reader", "sourcepulse", queue="reader")
    source.open()
    publish(deployed, "relay", "sourcepulse", message(1, body=b"poison"))
    # Other tests have left something in this queue.
    while (delivery := source.receive(WAIT_SECONDS)) is not None and delivery.body != b"poison":
        source.acknowledge(delivery)
    assert delivery is not None
    source.reject(delivery, "cannot be read")
    source.close()

    with StompWire(activemq.port, ("reader", password("reader"))) as wire:
        wire.send("SUBSCRIBE", {"destination": "/queue/Consumer.reader.dead", "id": "1", "ack": "auto"})
        letter = wire.read()
    assert (letter.body, letter.headers["x-reason"]) == (b"poison", "cannot be read")


def test_our_activemq_serves_tls(activemq: ActiveMqNode) -> None:
    url = f"stomps+activemq://relay:{password('relay')}@localhost:{activemq.tls_port}?ca={activemq.ca_file}"
    sender = open_publisher(BrokerUrl.parse(url), exchange="sourcepulse")
    sender.open()
    assert [each.outcome for each in send_all(sender, [message(1)])] == [Outcome.DELIVERED]
    sender.close()


def test_operators_limits_hold_for_every_queue_whatever_a_consumer_asks_for(rabbitmq: RabbitNode) -> None:
    deployed = Deployed("amqp", rabbitmq)
    huge = QueueLimits(max_length=10**9, message_ttl_s=3 * 10**6, expires_s=3 * 10**6)
    asked = (
        SubscriptionSpec(exchange="sourcepulse", patterns=("#",), queue="reader.huge", durable=True, limits=huge),
        SubscriptionSpec(exchange="sourcepulse", patterns=("#",), queue=None, durable=False, limits=huge),
    )
    opened = [open_subscription(deployed.url("reader"), spec) for spec in asked]
    try:
        for source in opened:
            source.open()
        listed = rabbitmq.control("eval", POLICIES_OF_QUEUES)
    finally:
        for source in opened:
            source.abandon()
    assert re.search(r'\{<<"reader.huge">>,\s*<<"durable-queues">>\}', listed)
    assert re.search(r'\{<<"temporary-[^"]*">>,\s*<<"other-queues">>\}', listed)


def test_an_operators_limit_drops_the_oldest_and_never_refuses_the_relay(rabbitmq: RabbitNode) -> None:
    deployed = Deployed("amqp", rabbitmq)
    # As our policy, with a limit that a test can reach.
    policy = ["set_operator_policy", "-p", "sourcepulse", "--priority", "9", "small", r"^reader\.small$"]
    rabbitmq.control(*policy, '{"max-length": 10}')
    source = deployed.subscription("reader", "sourcepulse", queue="reader.small")
    source.open()
    source.close()
    try:
        sent = publish(deployed, "relay", "sourcepulse", *(message(number) for number in range(50)))
        assert set(sent) == {Outcome.DELIVERED}
        source.open()
        assert bodies(source, 10) == [b"%d" % number for number in range(40, 50)]
        assert is_silent(source)
    finally:
        source.close()
        rabbitmq.control("clear_operator_policy", "-p", "sourcepulse", "small")


def test_the_virtual_host_is_limited(rabbitmq: RabbitNode) -> None:
    limits = rabbitmq.control("--formatter=json", "list_vhost_limits", "-p", "sourcepulse")

    assert json.loads(json.loads(limits)["value"]) == {"max-queues": 1000, "max-connections": 1000}


def test_a_reader_cannot_take_the_connections_of_the_relay(rabbitmq: RabbitNode) -> None:
    listed = rabbitmq.control("--formatter=json", "list_user_limits", "--global")
    limits = {row["user"]: json.loads(row["limits"]) for row in json.loads(listed)}
    for user in ("reader", "restricted-reader"):
        assert limits.pop(user) == {"max-connections": 50, "max-channels": 200}
    assert not limits.keys() & {"relay", "restricted-relay"}
    login = ("reader", password("reader"))
    opened = []
    try:
        with pytest.raises((amqp.exceptions.AMQPError, OSError)):  # noqa: PT012 - which one is refused is not said
            for _ in range(51):
                opened.append(amqp.Connection(f"127.0.0.1:{rabbitmq.port}", *login, virtual_host="sourcepulse"))
                opened[-1].connect()
        # The broker may still count one that an earlier test has closed.
        assert 49 <= len(opened) <= 51
        sent = publish(Deployed("amqp", rabbitmq), "relay", "sourcepulse", message(1))
        assert sent in ([Outcome.DELIVERED], [Outcome.UNROUTABLE])
    finally:
        for connection in opened:
            connection.collect()


def test_the_documented_set_up_finds_our_definitions_as_they_should_be_and_adds_consumers(
    rabbitmq: RabbitNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = [each for each in blocks("sh") if each.name.startswith("shared/docs/brokers.md: (umask 077")]
    monkeypatch.chdir(tmp_path)
    url = rabbitmq.management_tls_url(ADMIN, options=f"?ca={rabbitmq.ca_file}")
    (tmp_path / "admin-url").touch(0o600)
    (tmp_path / "admin-url").write_text(url)
    codes = []
    for command in block.commands():
        if command[0] == "sourcepulse":
            words = [word.replace("mq.example.org", f"localhost:{rabbitmq.tls_port}") for word in command[1:]]
            codes.append(main([*words, "--secrets", str(tmp_path)]))
    # The users of our definitions were there before, so their passwords are not in files of this folder.
    assert codes == [0, 1, 0]
    lines = [row for row in (re.split("  +", line) for line in capsys.readouterr().out.splitlines()) if len(row) > 3]
    assert {kind for state, kind, *_ in lines if state == "created"} == {"user", "user limit", "permission"}
    assert {state for state, *_ in lines} == {"STATE", "wanted", "ok", "exists", "created", "other"}
    assert {kind for state, kind, *_ in lines if state == "exists"} == {"user"}
    made = {path.name: BrokerUrl.parse(path.read_text()) for path in tmp_path.glob("*.broker")}
    assert made.keys() == {"dashboard.broker", "bot.broker"}
    login = (made["bot.broker"].user, made["bot.broker"].password)
    with amqp.Connection(f"127.0.0.1:{rabbitmq.port}", *login, virtual_host="sourcepulse") as connection:
        connection.channel().queue_declare("bot.app", durable=True, auto_delete=False)


@pytest.mark.parametrize("scheme", ["amqp", "stomp+rabbitmq"])
def test_a_queue_of_another_name_is_refused_with_one_that_is_allowed(rabbitmq: RabbitNode, scheme: str) -> None:
    deployed = Deployed(scheme, rabbitmq)
    # A queue belongs to the protocol that made it.
    queue = f"me-{deployed.port}"
    said = refused(deployed.subscription("reader", "sourcepulse", queue=queue).open)
    assert f"'reader.{queue}'" in said
    allowed = deployed.subscription("reader", "sourcepulse", queue=f"reader.{queue}")
    allowed.open()
    allowed.close()


def test_a_reader_cannot_publish_into_the_queue_of_another(rabbitmq: RabbitNode) -> None:
    login = ("reader", password("reader"))
    with amqp.Connection(f"127.0.0.1:{rabbitmq.port}", *login, virtual_host="sourcepulse") as connection:
        channel = connection.channel()
        channel.confirm_select()
        with pytest.raises(amqp.exceptions.AccessRefused):
            channel.basic_publish_confirm(amqp.Message(b"forged"), "", "restricted-reader.amqp")


def test_without_the_right_to_keep_dead_letters_a_reader_of_rabbitmq_goes_on(
    rabbitmq: RabbitNode, caplog: pytest.LogCaptureFixture
) -> None:
    deployed = Deployed("amqp", rabbitmq)
    source = deployed.subscription("reader", "sourcepulse", queue="reader.poisoned")
    source.open()
    try:
        publish(deployed, "relay", "sourcepulse", message(1, body=b"poison"), message(2, body=b"well"))
        delivery = source.receive(WAIT_SECONDS)
        assert delivery is not None
        source.reject(delivery, "cannot be read")
        assert bodies(source, 1) == [b"well"]
    finally:
        source.close()
    assert "dropped" in caplog.text


def test_a_relay_as_we_document_it_passes_events_to_a_consumer(deployed: Deployed, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    with Outbox.open(outbox) as opened:
        opened.append([system_event(1, source="system://test?restricted"), system_event(2)])
    settings = tmp_path / "config.toml"
    settings.write_text("".join(
        f'{key} = "{value}"\n' for key, value in {
            "outbox": outbox,
            "broker_file": secret(tmp_path / "broker", deployed, "relay"),
            "restricted_broker_file": secret(tmp_path / "restricted-broker", deployed, "restricted-relay"),
        }.items()
    ))  # fmt: skip
    with (
        Consumer(deployed.url("reader"), ["system.#"]) as public,
        Consumer(deployed.url("restricted-reader"), ["system.#"], exchange="sourcepulse-restricted") as restricted,
    ):
        assert main(["relay", "--once", "--config", str(settings)]) == 0

        for consumer, source in ((public, "system://test"), (restricted, "system://test?restricted")):
            event = consumer.receive(WAIT_SECONDS)
            assert event is not None
            assert event.source == source
            consumer.acknowledge()
            assert consumer.receive(SILENCE_SECONDS) is None


def test_a_reader_has_the_rights_to_hear_a_relay_beside_its_own_queue(deployed: Deployed, tmp_path: Path) -> None:
    gaps: list[Gap] = []
    queue = "reader" if deployed.scheme == "stomp+activemq" else f"reader.hears-{deployed.scheme}"
    with Consumer(
        deployed.url("reader"), ["hg.#"], queue=queue, durable=True,
        state=tmp_path / "state.db", heartbeats=True, on_gap=gaps.append, hold_seconds=0.1,
    ) as consumer:  # fmt: skip
        publish(deployed, "relay", EXCHANGES[""], *map(as_message, (push_event(1), heartbeat(repo=2))))
        got = []
        deadline = time.monotonic() + WAIT_SECONDS
        while not gaps and time.monotonic() < deadline:
            if (event := consumer.receive(0.1)) is not None:
                got.append(event.data)
                consumer.acknowledge()
        assert got[-1:] == [{"number": 1}]
    assert [(gap.first_missing, gap.last_missing) for gap in gaps] == [(2, 2)]


def secret(path: Path, deployed: Deployed, user: str) -> Path:
    url = deployed.url(user)
    path.touch(0o600)
    path.write_text(f"{url.scheme}://{user}:{password(user)}@127.0.0.1:{deployed.port}{deployed.vhost}\n")
    return path


@pytest.mark.parametrize("scheme", ["amqp", "stomp+rabbitmq"])
@pytest.mark.parametrize("shared", [True, False])
def test_in_a_virtual_host_of_quorum_queues_durable_subscriptions_are_such_and_temporary_ones_work(
    rabbitmq: RabbitNode, scheme: str, shared: bool
) -> None:
    vhost, login = "quorum", ("restricted-relay", password("restricted-relay"))
    if vhost not in rabbitmq.control("list_vhosts"):
        rabbitmq.control("add_vhost", vhost, "--default-queue-type", "quorum")
        rabbitmq.control("set_permissions", "-p", vhost, login[0], ".*", ".*", ".*")
    place = f"{rabbitmq.port}/{vhost}"
    if scheme == "stomp+rabbitmq":
        place = f"{rabbitmq.stomp_port}/{vhost}?amqp_port={rabbitmq.port}"
    url = BrokerUrl.parse(f"{scheme}://{login[0]}:{login[1]}@127.0.0.1:{place}")
    queue = f"events-{scheme.replace('+', '-')}-{shared}"
    durable = SubscriptionSpec(exchange="sourcepulse", patterns=("#",), queue=queue, durable=True, shared=shared)
    temporary = SubscriptionSpec(exchange="sourcepulse", patterns=("#",), queue=None, durable=False)
    opened = [open_subscription(url, spec) for spec in (durable, temporary)]
    sender = open_publisher(url, exchange="sourcepulse")
    try:
        for source in opened:
            source.open()
        sender.open()
        send_all(sender, (message(number) for number in range(5)))
        for source in opened:
            assert bodies(source, 5) == [b"0", b"1", b"2", b"3", b"4"]
        # The same again finds the queue as it was made.
        opened[0].close()
        opened[0].open()
        listed = json.loads(rabbitmq.control("--formatter=json", "list_queues", "-p", vhost, "name", "type"))
    finally:
        for each in (*opened, sender):
            each.abandon()
    assert {"name": queue, "type": "quorum"} in listed
    assert "classic" in {row["type"] for row in listed if row["name"].startswith("temporary-")}
