# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A broker that is stopped, killed, silent or full during pushes: no push notices, everything arrives in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sourcepulse.consumer.consumer import Consumer
from sourcepulse.outbox.files import is_locked
from support.brokers.activemq import ActiveMqNode
from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import RabbitNode
from support.hg.sites import VENV_HG, Repository, Site, require
from support.streams.spine import kill_relay, publishing_server, receive, relay_ended

#: A push takes a third of a second; a wait for the broker would take many.
PUSH_LIMIT_SECONDS = 5.0
AWAY_SECONDS = 1.0
LONG_AWAY_SECONDS = 60.0
PUSHES = 4


Node = RabbitNode | ActiveMqNode


def stopped(node: Node) -> Callable[[], None]:
    node.stop()
    return node.start


def killed(node: Node) -> Callable[[], None]:
    node.kill()
    return node.start


def frozen(node: Node) -> Callable[[], None]:
    node.freeze()
    return node.thaw


def full(node: Node) -> Callable[[], None]:
    assert isinstance(node, RabbitNode)
    node.alarm(raised=True)
    return lambda: node.alarm(raised=False)


def push_while_away(
    tmp_path: Path, node: Node, url: str, leave: Callable[[Node], Callable[[], None]], away_s: float
) -> None:
    site = Site(tmp_path / "site", require(VENV_HG))
    server = publishing_server(site, url)
    work = site.repository("work")
    work.hg("debugbuilddag", f"+{2 * PUSHES + 1}")
    nodes = work.nodes()
    queue = f"sub.away-{leave.__name__}-{away_s:.0f}-{url.partition(':')[0]}"
    consumer = Consumer(url, topics=["hg.push.#"], queue=queue, durable=True, state=":memory:")
    with consumer, relay_ended(server.outbox):
        timed_push(work, server, nodes[0])
        assert len(receive(consumer, 1)) == 1
        node.keep_declarations()
        come_back = leave(node)
        try:
            for revision in nodes[1 : PUSHES + 1]:
                timed_push(work, server, revision)
            # One relay that has seen the broker go, and one that never saw it there.
            kill_relay(server.outbox)
            # The shell that started it looks every half second whether it lives; until then a push starts no other.
            wait_until(lambda: not is_locked(f"{server.outbox}.relay.starting"))
            for revision in nodes[PUSHES + 1 :]:
                timed_push(work, server, revision)
            time.sleep(away_s)
        finally:
            come_back()
        events = receive(consumer, 2 * PUSHES)
        assert [event.data["first"] for event in events] == nodes[1:]
        assert [event.numbers.typesequence for event in events if event.numbers] == list(range(2, 2 * PUSHES + 2))
        assert consumer.stats.gaps == 0


def timed_push(work: Repository, server: Repository, revision: str) -> None:
    begun = time.monotonic()
    work.push_ssh(server, "--rev", revision)
    assert time.monotonic() - begun < PUSH_LIMIT_SECONDS


@pytest.mark.parametrize("leave", [killed, frozen, full])
def test_pushes_go_on_while_the_broker_is_away_and_arrive_when_it_is_back(
    tmp_path: Path, rabbit: RabbitNode, leave: Callable[[Node], Callable[[], None]]
) -> None:
    push_while_away(tmp_path, rabbit, rabbit.url(), leave, AWAY_SECONDS)


@pytest.mark.parametrize("leave", [killed])
def test_pushes_over_stomp_go_on_while_rabbitmq_is_away_and_arrive_when_it_is_back(
    tmp_path: Path, rabbit: RabbitNode, leave: Callable[[Node], Callable[[], None]]
) -> None:
    push_while_away(tmp_path, rabbit, rabbit.stomp_url(), leave, AWAY_SECONDS)


@pytest.mark.parametrize("leave", [killed, frozen])
def test_pushes_go_on_while_activemq_is_away_and_arrive_when_it_is_back(
    tmp_path: Path, active: ActiveMqNode, leave: Callable[[Node], Callable[[], None]]
) -> None:
    push_while_away(tmp_path, active, active.url(), leave, AWAY_SECONDS)


@pytest.mark.soak
@pytest.mark.parametrize("leave", [stopped, killed, frozen, full])
def test_pushes_go_on_while_the_broker_is_away_for_a_minute(
    tmp_path: Path, rabbit: RabbitNode, leave: Callable[[Node], Callable[[], None]]
) -> None:
    push_while_away(tmp_path, rabbit, rabbit.url(), leave, LONG_AWAY_SECONDS)


@pytest.mark.soak
@pytest.mark.parametrize("leave", [stopped, frozen, full])
def test_pushes_over_stomp_go_on_while_rabbitmq_is_away_for_a_minute(
    tmp_path: Path, rabbit: RabbitNode, leave: Callable[[Node], Callable[[], None]]
) -> None:
    push_while_away(tmp_path, rabbit, rabbit.stomp_url(), leave, LONG_AWAY_SECONDS)


@pytest.mark.soak
@pytest.mark.parametrize("leave", [stopped, frozen])
def test_pushes_go_on_while_activemq_is_away_for_a_minute(
    tmp_path: Path, active: ActiveMqNode, leave: Callable[[Node], Callable[[], None]]
) -> None:
    push_while_away(tmp_path, active, active.url(), leave, LONG_AWAY_SECONDS)
