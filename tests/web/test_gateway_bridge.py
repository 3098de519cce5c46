# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The bridge of a real gateway process: what is on the bus is in its log, in order, once, whatever is killed."""

from __future__ import annotations

import random
import resource
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sourcepulse.brokers import Message
from sourcepulse.errors import EXIT_USAGE
from sourcepulse.events.event import Event
from sourcepulse.testing import system_event
from support.brokers.activemq import ActiveMqNode
from support.brokers.embedded_log import wait_until
from support.brokers.messages import unique
from support.brokers.rabbit_admin import close_all_connections
from support.brokers.rabbitmq import ADMIN, VHOST, RabbitNode
from support.events.heartbeats import heartbeat
from support.promtool import check_metrics
from support.web.bus import figure, message_of, positions_of, publish_to, rows_of
from support.web.gateway import Gateway, MakeGateway

ARRIVAL_LIMIT_SECONDS = 60.0
NOT_AN_EVENT = b'{"hello": "world"}'


def bridged(make_gateway: MakeGateway, url: str, exchange: str, *, more: str = "") -> Gateway:
    """Return a gateway, not started, that bridges an exchange through a queue of its own; the file names the broker."""
    return make_gateway(
        broker="",
        configuration=f'broker = "{url}"\nexchange = "{exchange}"\n{more}',
        options=["--queue", f"{ADMIN[0]}.{unique('web')}"],
    )


def events(first: int, last: int) -> list[Message]:
    return [message_of(system_event(n)) for n in range(first, last)]


def ids(log: Path, exchange: str) -> list[str]:
    return [row.id for row in rows_of(log, exchange)]


def expect(gateway: Gateway, exchange: str, messages: list[Message]) -> None:
    """Wait until the log has these messages, and check that it has nothing else, in this order, byte for byte."""
    wait_until(lambda: positions_of(gateway.log, exchange) >= len(messages), ARRIVAL_LIMIT_SECONDS)
    rows = rows_of(gateway.log, exchange)
    assert [(row.id, row.routing_key, row.body) for row in rows] == [
        (each.id, each.routing_key, each.body) for each in messages
    ]
    # No position was used twice or for a second copy.
    assert positions_of(gateway.log, exchange) == len(messages)


@pytest.mark.parametrize("scheme", ["amqp", "stomp"])
def test_what_is_on_rabbitmq_is_in_the_log_once_and_in_order(
    scheme: str, rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    rabbitmq.declare_exchange(exchange)
    url = rabbitmq.url() if scheme == "amqp" else rabbitmq.stomp_url()
    gateway = bridged(make_gateway, url, exchange)
    gateway.start()
    beats = [message_of(heartbeat()) for _ in range(2)]
    sent = [*events(0, 300), *beats, message_of(withheld(system_event(7)))]
    poison = replace(sent[0], id=unique("poison"), body=NOT_AN_EVENT)
    publish_to(rabbitmq.url(), exchange, [*sent[:10], poison, *sent[10:], *sent[5:9]])
    expect(gateway, exchange, sent)
    assert stat.S_IMODE(gateway.log.stat().st_mode) == 0o600
    wait_until(lambda: figure(gateway.get("/metrics").text, "bridge_repeats_total") == 4)
    metrics = gateway.get("/metrics").text
    assert check_metrics(metrics) == ""
    assert figure(metrics, "bridge_appended_events_total") == len(sent)
    assert figure(metrics, "bridge_rejected_messages_total") == 1
    said = "dead letters of the queue: 1, the last one: the message is not an event"
    # Another warning may say that the board still reads.
    wait_until(lambda: any(said in warning for warning in gateway.get("/ready").document["warnings"]))
    assert gateway.stop() == 0


def test_what_is_on_activemq_survives_kills_of_the_gateway(activemq: ActiveMqNode, make_gateway: MakeGateway) -> None:
    exchange = unique("bus")
    gateway = bridged(make_gateway, activemq.url(), exchange)
    survive_kills(gateway, exchange, activemq.url(), messages=150, kills=2)


def test_kills_of_the_gateway_and_cut_connections_lose_and_double_nothing(
    rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    rabbitmq.declare_exchange(exchange)
    gateway = bridged(make_gateway, rabbitmq.url(), exchange)

    def cut() -> None:
        close_all_connections(rabbitmq)

    survive_kills(gateway, exchange, rabbitmq.url(), messages=200, kills=2, between=cut)


@pytest.mark.soak
def test_kills_of_the_gateway_and_of_rabbitmq_lose_and_double_nothing(
    tmp_path: Path, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    with closing(RabbitNode(tmp_path / "node")) as node:
        node.start()
        node.declare_exchange(exchange)
        gateway = bridged(make_gateway, node.url(), exchange)

        def kill_the_broker() -> None:
            node.kill()
            node.start()

        survive_kills(gateway, exchange, node.url(), messages=3_000, kills=20, between=kill_the_broker, rest_s=2.5)


def survive_kills(
    gateway: Gateway,
    exchange: str,
    url: str,
    *,
    messages: int,
    kills: int,
    between: Callable[[], None] = lambda: None,
    rest_s: float = 0.0,
) -> None:
    """Publish while the gateway is killed at random moments, and `between` once, and expect everything once.

    A broker that is killed within `rest_s` forgets a queue that it declared before.
    """
    chance = random.Random(18)
    gateway.start()
    time.sleep(rest_s)
    sent = events(0, messages)

    def publish() -> None:
        for first in range(0, messages, 10):
            publish_to(url, exchange, sent[first : first + 10])
            time.sleep(0.02)

    publishing = threading.Thread(target=publish)
    publishing.start()
    for number in range(kills):
        time.sleep(chance.uniform(0.05, 0.5))
        gateway.kill()
        if number == 0:
            between()
        gateway.launch()
        begun = positions_of(gateway.log, exchange)
        wait_until(partial(gateway_got, gateway, exchange, begun, messages), ARRIVAL_LIMIT_SECONDS)
    publishing.join()
    expect(gateway, exchange, sent)
    wait_until(partial(is_ready, gateway), ARRIVAL_LIMIT_SECONDS)


def is_ready(gateway: Gateway) -> bool:
    gateway.check_runs()
    try:
        return gateway.get("/ready").status == 200
    except OSError:
        return False


def gateway_got(gateway: Gateway, exchange: str, begun: int, messages: int) -> bool:
    gateway.check_runs()
    end = positions_of(gateway.log, exchange)
    return end > begun or end >= messages


def test_a_wrong_password_is_named_and_a_corrected_one_takes_effect_without_a_restart(
    rabbitmq: RabbitNode, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    exchange = unique("bus")
    password = tmp_path / "broker"
    password.write_text(rabbitmq.url((ADMIN[0], "wr0ng-s3cret")))
    password.chmod(0o600)
    gateway = make_gateway(
        broker="",
        configuration=f'broker_file = "{password}"\nexchange = "{exchange}"\n',
        options=["--queue", f"{ADMIN[0]}.{unique('web')}"],
    )
    gateway.launch()
    wait_until(lambda: "refuses the user name or the password" in reasons(gateway), ARRIVAL_LIMIT_SECONDS)
    assert gateway.get("/live").status == 200
    password.write_text(rabbitmq.url())
    wait_until(lambda: gateway.get("/ready").status == 200, ARRIVAL_LIMIT_SECONDS)
    publish_to(rabbitmq.url(), exchange, events(0, 3))
    expect(gateway, exchange, events(0, 3))
    said = gateway.stderr() + gateway.get("/metrics").text + gateway.get("/ready").text
    assert "s3cret" not in said


def reasons(gateway: Gateway) -> str:
    """Return why the gateway is not ready."""
    gateway.check_runs()
    try:
        answer = gateway.get("/ready")
    except OSError:
        return ""
    return "; ".join(answer.document["reasons"]) if answer.status == 503 else ""


def test_while_the_log_cannot_be_written_nothing_is_acknowledged(
    rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    gateway = bridged(make_gateway, rabbitmq.url(), exchange)
    gateway.start()
    publish_to(rabbitmq.url(), exchange, events(0, 1))
    expect(gateway, exchange, events(0, 1))
    holder = sqlite3.connect(gateway.log, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    publish_to(rabbitmq.url(), exchange, events(1, 20))
    wait_until(lambda: "locked" in reasons(gateway), ARRIVAL_LIMIT_SECONDS)
    assert positions_of(gateway.log, exchange) == 1
    # The board writes into the same file, so what reads it may have named the lock before the bridge did.
    wait_until(lambda: figure(gateway.get("/metrics").text, "bridge_log_writable") == 0, ARRIVAL_LIMIT_SECONDS)
    # A kill now loses nothing, because the broker still has them.
    gateway.kill()
    holder.execute("ROLLBACK")
    holder.close()
    gateway.start()
    expect(gateway, exchange, events(0, 20))


def test_a_full_disk_is_named_and_what_waits_is_stored_when_there_is_room_again(
    rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    gateway = bridged(make_gateway, rabbitmq.url(), exchange)
    gateway.start()
    publish_to(rabbitmq.url(), exchange, events(0, 1))
    expect(gateway, exchange, events(0, 1))
    _, most = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    # No file may grow: a write fails as it does on a disk without room.
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (8_192, most))
    publish_to(rabbitmq.url(), exchange, events(1, 60))
    wait_until(lambda: str(gateway.log) in reasons(gateway), ARRIVAL_LIMIT_SECONDS)
    assert positions_of(gateway.log, exchange) == 1
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (most, most))
    expect(gateway, exchange, events(0, 60))
    wait_until(lambda: is_ready(gateway), ARRIVAL_LIMIT_SECONDS)
    assert gateway.stderr().count("nothing is acknowledged until it works") == 1


def test_a_second_gateway_at_the_same_queue_is_warned_and_takes_over(
    rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange, queue = unique("bus"), f"{ADMIN[0]}.{unique('web')}"
    configuration = f'broker = "{rabbitmq.url()}"\nexchange = "{exchange}"\n'
    first, second = (make_gateway(broker="", configuration=configuration, options=["--queue", queue]) for _ in range(2))
    first.start()
    second.start()
    said = f"another consumer reads the queue {queue}, and this one waits for it to end"
    wait_until(lambda: second.get("/ready").document["warnings"] == [said], ARRIVAL_LIMIT_SECONDS)
    assert first.get("/ready").document["warnings"] == []
    first.kill()
    publish_to(rabbitmq.url(), exchange, events(0, 3))
    expect(second, exchange, events(0, 3))
    wait_until(lambda: not second.get("/ready").document["warnings"], ARRIVAL_LIMIT_SECONDS)


def test_the_log_keeps_events_as_long_as_it_is_set_also_while_nothing_comes(
    rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    gateway = bridged(make_gateway, rabbitmq.url(), exchange)
    gateway.start()
    publish_to(rabbitmq.url(), exchange, events(0, 5))
    expect(gateway, exchange, events(0, 5))
    gateway.stop()
    gateway.configuration.write_text(gateway.configuration.read_text() + "[web]\nkeep_hours = 0.0001\n")
    # The bridge trims when it starts and each minute after that.
    gateway.start()
    wait_until(lambda: rows_of(gateway.log, exchange) == [], ARRIVAL_LIMIT_SECONDS)
    assert positions_of(gateway.log, exchange) == 5


def test_a_log_of_its_own_is_refused_where_the_broker_is_one(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(options=["--log", "/tmp/other.db"])
    gateway.launch()
    wait_until(lambda: "leave --log out" in gateway.stderr(), ARRIVAL_LIMIT_SECONDS)
    assert gateway.wait() == EXIT_USAGE


def withheld(event: Event) -> Event:
    """Return the stand-in of an event that is no longer public."""
    return Event.of(
        "system.event.withheld.v1",
        source=event.source,
        key=["withheld", event.id],
        subject=None,
        time=1_795_345_170.0,
        data={"type": event.type},
    )._replace(routing_key=event.routing_key)


@pytest.mark.parametrize("over", ["url", "stomp_url"])
def test_a_queue_that_was_deleted_is_counted_and_named_also_while_the_gateway_was_away(
    rabbitmq: RabbitNode, make_gateway: MakeGateway, over: str
) -> None:
    exchange = unique("bus")
    rabbitmq.declare_exchange(exchange)
    gateway = bridged(make_gateway, getattr(rabbitmq, over)(), exchange)
    gateway.start()
    publish_to(rabbitmq.url(), exchange, events(0, 3))
    expect(gateway, exchange, events(0, 3))
    assert interruptions(gateway) == 0
    queue = gateway.option("--queue")
    rabbitmq.delete("queues", VHOST, queue)
    wait_until(lambda: interruptions(gateway) == 1, ARRIVAL_LIMIT_SECONDS)
    wait_until(lambda: "events before that may be missing" in gateway.get("/ready").text, ARRIVAL_LIMIT_SECONDS)
    gateway.stop()
    rabbitmq.delete("queues", VHOST, queue)
    gateway.start()
    wait_until(lambda: interruptions(gateway) == 1, ARRIVAL_LIMIT_SECONDS)
    gateway.restart()
    assert interruptions(gateway) == 0


def interruptions(gateway: Gateway) -> float:
    return figure(gateway.get("/metrics").text, "bridge_interruptions_total")
