# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A RabbitMQ cluster of three nodes with quorum queues, whose leader is killed in mid-stream, again and again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers.faulty_broker import OPTIONS, FaultyBroker, Node, new_exchange
from support.brokers.rabbit_cluster import RabbitCluster
from support.brokers.rabbitmq import RabbitNode
from support.streams.fault_plan import Fault
from support.streams.fault_run import run_stream

EVENTS = 30_000
LEADER_KILLS = (Fault.BROKER_KILLED,) * 3

VHOST = "quorum"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitNode) -> Iterator[RabbitCluster]:
    """Three nodes; where RabbitMQ is missing, `rabbitmq` has skipped or failed already."""
    del rabbitmq
    nodes = RabbitCluster(tmp_path_factory.mktemp("cluster"))
    try:
        nodes.start()
        nodes.add_quorum_vhost(VHOST)
        yield nodes
    finally:
        nodes.close()


def type_of(cluster: RabbitCluster, queue: str) -> str:
    """Return the type of a queue as an admin sees it."""
    answer = cluster.nodes[0].control("--quiet", "--formatter", "json", "list_queues", "-p", VHOST, "name", "type")
    return str({row["name"]: row["type"] for row in json.loads(answer)}[queue])


@pytest.mark.soak
def test_a_cluster_has_a_new_leader_when_one_is_killed(cluster: RabbitCluster) -> None:
    cluster.declare_quorum_queue("sub.fixture", at=1)
    former = cluster.leader_of("sub.fixture")
    assert former is cluster.nodes[1]
    former.kill()
    assert cluster.leader_of("sub.fixture") is not former
    former.start()
    assert cluster.running() == {node.name for node in cluster.nodes}


@pytest.mark.soak
@pytest.mark.parametrize("scheme", ["amqp", "stomp+rabbitmq"])
def test_a_stream_outlives_three_kills_of_the_node_that_leads_its_queue(
    tmp_path: Path, cluster: RabbitCluster, scheme: str
) -> None:
    url = (cluster.url(vhost=VHOST) if scheme == "amqp" else cluster.stomp_url(vhost=VHOST)) + OPTIONS
    killed: list[Node] = []

    def leader() -> Node:
        killed.append(cluster.leader_of(broker.queue, vhost=VHOST))
        return killed[-1]

    broker = FaultyBroker(exchange=new_exchange(), relay_url=url, consumer_url=url, witness_url=url, victim=leader)
    cluster.declare_exchange(broker.exchange, vhost=VHOST)
    measured = run_stream(tmp_path, broker, LEADER_KILLS, events=EVENTS, seed=7)
    assert type_of(cluster, broker.queue) == "quorum"
    assert len(killed) == len(LEADER_KILLS)
    assert measured.relay_retries > 0
    assert measured.consumer_retries > 0
    assert min(measured.unhandled) > 0
    assert max(measured.unconfirmed) > 0
