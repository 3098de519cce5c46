# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse queues`: whose a queue is, how full, how old, what it lost; and what a broker does not show."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits, Subscription, SubscriptionSpec, open_publisher, open_subscription
from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.queues import owner_of
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.catalogue import schema_for
from sourcepulse.cli.main import main
from sourcepulse.config import load
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.queues.rules import DROPPED, LOOKS_COMPARED, OVERGROWN, Notice, QueueRules
from sourcepulse.relay.health.queues.watch import reader_of
from support.brokers.messages import message, send_all
from support.brokers.rabbitmq import ADMIN, MONITOR, RELAY, VHOST, RabbitNode

PATIENCE_SECONDS = 30.0
QUEUE, OTHER = "team.ci", "team.other"
#: The time of every message of `support.brokers.messages`.
EVENT_TIME = "2026-11-22T10:59:21.000000Z"


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, dict[str, Any]]:
    """Return the lines of `queues --json` by name, each as its schema says."""
    capsys.readouterr()
    assert main(["queues", "--json", *options]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row in rows:
        jsonschema.validate(row, schema_for("queues.v1"))
    return {row["name"]: row for row in rows}


def subscribed(url: BrokerUrl, queue: str | None, *patterns: str, max_length: int = 100) -> Subscription:
    limits = QueueLimits(max_length=max_length)
    spec = SubscriptionSpec(
        exchange="sourcepulse", patterns=patterns, queue=queue, durable=queue is not None, limits=limits, prefetch=5
    )
    source = open_subscription(url, spec)
    source.open()
    return source


def published(url: BrokerUrl, count: int) -> None:
    sender = open_publisher(url, exchange="sourcepulse")
    sender.open()
    send_all(sender, [message(number) for number in range(count)])
    sender.close()


def test_the_owner_is_what_is_before_the_first_dot() -> None:
    names = ("team.ci", "team.ci.dead", "plain", "temporary-1.x", "amq.gen-1", ".x", "")
    assert [owner_of(name) for name in names] == ["team", "team", None, None, None, None, None]


def test_the_embedded_log_shows_all_of_a_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = f"--broker=file://{tmp_path}/log.db"
    url = BrokerUrl.parse(f"file://{tmp_path}/log.db")
    assert main(["queues", option]) == 3
    assert "there is no log at" in capsys.readouterr().err
    source = subscribed(url, QUEUE, "hg.#", "system.#", max_length=10)
    source.close()
    assert listed(capsys, option)[QUEUE]["oldest_at"] is None
    published(url, 25)

    row = listed(capsys, option)[QUEUE]
    age = time.time() - _seconds(row.pop("oldest_at"))
    used = time.time() - _seconds(row.pop("last_consumer_at"))
    assert 0 <= age < 60
    assert 0 <= used < 60
    assert row == {
        "broker": f"file://{tmp_path}/log.db", "name": QUEUE, "owner": "team", "user": None, "durable": True,
        "streams": ["public"], "patterns": ["hg.#", "system.#"], "consumers": 0, "depth": 10, "limit": 10,
        "bytes": None, "limit_bytes": None, "dropped": 15, "withdrawn": 0, "dead": 0,
    }  # fmt: skip
    # What was only computed before is the same after it was dropped.
    source = subscribed(url, QUEUE, "hg.#", "system.#", max_length=10)
    assert source.receive(5) is not None
    row = listed(capsys, option)[QUEUE]
    assert (row["depth"], row["dropped"], row["consumers"]) == (10, 15, 1)
    source.close()


def test_the_table_names_owner_and_how_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = BrokerUrl.parse(f"file://{tmp_path}/log.db")
    for queue in (QUEUE, "other.x", "plain"):
        subscribed(url, queue, "hg.#", max_length=10).close()
    published(url, 9)
    assert main(["queues", "--broker", str(url), "--owner", "team"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "NAME"
    assert line.split()[:5] == [QUEUE, "team", "9", "10", "90%"]
    assert main(["queues", "--broker", str(url)]) == 0
    owners = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]}
    assert owners == {QUEUE: "team", "other.x": "other", "plain": "?"}


@pytest.fixture(scope="module")
def overgrown(rabbitmq: RabbitNode) -> Iterator[RabbitNode]:
    """A node with an operator policy of 40 messages for the queues of a team."""
    api = Management(BrokerUrl.parse_management(rabbitmq.management_url()))
    api.put(
        "operator-policies", VHOST, "small",
        value={"pattern": r"^team\.", "definition": {"max-length": 40}, "priority": 1, "apply-to": "queues"},
    )  # fmt: skip
    yield rabbitmq
    for queue in (QUEUE, f"{QUEUE}.dead", OTHER):
        rabbitmq.delete("queues", VHOST, queue)
    rabbitmq.delete("operator-policies", VHOST, "small")


def test_rabbitmq_shows_a_queue_by_its_management_api(
    overgrown: RabbitNode, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--broker", overgrown.url(RELAY), "--management-url", overgrown.management_url(MONITOR))
    url = BrokerUrl.parse(overgrown.url(ADMIN))
    # The node serves all tests of its worker, and what these left may still be there.
    before = listed(capsys, *options).keys()
    source = subscribed(url, QUEUE, "hg.#", "system.#", max_length=60)
    temporary = subscribed(url, None, "hg.#")
    published(url, 100)
    for number in range(4):
        delivery = source.receive(5)
        assert delivery is not None
        source.acknowledge(delivery) if number else source.reject(delivery, "cannot be read")
    wait_until(lambda: [listed(capsys, *options)[QUEUE][name] for name in ("dropped", "dead", "depth")] == [55, 1, 41])
    rows = listed(capsys, *options)
    row = rows[QUEUE]
    # What was delivered and not acknowledged counts in addition to its limit.
    assert row.pop("bytes") > 0
    assert row == {
        "broker": f"amqp://relay@127.0.0.1:{overgrown.port}/{VHOST}", "name": QUEUE, "owner": "team", "user": "admin",
        "durable": True, "streams": ["public"], "patterns": ["hg.#", "system.#"], "consumers": 1, "depth": 41,
        "limit": 40, "limit_bytes": None, "oldest_at": EVENT_TIME, "dropped": 55, "withdrawn": None, "dead": 1,
        "last_consumer_at": None,
    }  # fmt: skip
    (other,) = [each for name, each in rows.items() if name.startswith("temporary-") and name not in before]
    assert (other["owner"], other["depth"]) == ("admin", 100)

    assert f"{QUEUE}.dead" not in rows
    source.close()
    temporary.close()


def test_a_relay_reports_what_a_queue_of_rabbitmq_drops(
    overgrown: RabbitNode, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "management"
    file.touch(0o600)
    file.write_text(overgrown.management_url(MONITOR))
    options = ("--broker", overgrown.url(RELAY), "--management-url-file", str(file))
    url = BrokerUrl.parse(overgrown.url(ADMIN))
    subscribed(url, OTHER, "hg.#").close()
    published(url, 38)
    wait_until(lambda: listed(capsys, *options)[OTHER]["depth"] == 38)
    settings = load({"broker": overgrown.url(RELAY), "management_url_file": str(file), "heartbeat_s": 600}, environ={})
    with (
        Consumer(url, ["system.queue.#"], state=":memory:") as consumer,
        open_relay(tmp_path / "o.db", settings, stop := threading.Event()) as relay,
    ):
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            event = consumer.receive(PATIENCE_SECONDS)
        finally:
            stop.set()
            thread.join(PATIENCE_SECONDS)
    assert event is not None
    assert (event.type, event.data["owner"], event.data["limit"]) == (OVERGROWN, "team", 40)

    read = reader_of(settings)
    assert read is not None
    rules = QueueRules()
    for _ in range(LOOKS_COMPARED):
        rules.look(read(), time.monotonic())
    published(url, 30)
    # A relay looks every 15 s, which is longer than any of the figures is old.
    wait_until(lambda: listed(capsys, *options)[OTHER]["dropped"] == 28)
    found: list[Notice] = []
    for _ in range(LOOKS_COMPARED):
        found += rules.look(read(), time.monotonic())
    assert [(notice.type, notice.data["dropped"]) for notice in found if notice.queue == OTHER] == [(DROPPED, 28)]


def test_what_cannot_be_seen_is_said(
    rabbitmq: RabbitNode, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert main(["queues", "--broker", rabbitmq.url(RELAY)]) == 2
    assert "RabbitMQ shows them by its management API only; set management_url_file" in capsys.readouterr().err
    assert main(["queues", "--broker", "stomp+activemq://relay@127.0.0.1"]) == 3
    assert "ActiveMQ does not show them over STOMP; use its web console or JMX" in capsys.readouterr().err
    closed = rabbitmq.url(RELAY).replace(f"/{VHOST}", "/closed")
    assert main(["queues", "--broker", closed, "--management-url", rabbitmq.management_url(MONITOR)]) == 4
    assert "it needs an entry for this virtual host" in capsys.readouterr().err
    # The queues of the one broker are listed where those of the other cannot be seen.
    url = BrokerUrl.parse(f"file://{tmp_path}/log.db")
    subscribed(url, QUEUE, "hg.#").close()
    assert listed(capsys, "--broker", str(url), "--restricted-broker", rabbitmq.url(RELAY)).keys() == {QUEUE}
    assert "restricted events: the queues of amqp://relay@" in caplog.text


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
