# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A cluster of private RabbitMQ nodes, for quorum queues whose leader is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import amqp

from support.brokers.rabbitmq import ADMIN, VHOST, RabbitNode, SharedByNodes

ELECTION_LIMIT_SECONDS = 30
DISCOVERY_RETRIES = 120
DISCOVERY_INTERVAL_MS = 500


class RabbitCluster:
    """Nodes that know each other; kill and start them one by one, their data stays."""

    def __init__(self, folder: Path, *, size: int = 3) -> None:
        self._shared = SharedByNodes(folder)
        first = RabbitNode(folder / "node-0", shared=self._shared)
        # The first looks for no other node, so that it does not wait; the others look for it alone until it is up.
        discovery = {
            "cluster_formation.peer_discovery_backend": "classic_config",
            "cluster_formation.classic_config.nodes.1": first.name,
            "cluster_formation.discovery_retry_limit": str(DISCOVERY_RETRIES),
            "cluster_formation.discovery_retry_interval": str(DISCOVERY_INTERVAL_MS),
        }
        others = [
            RabbitNode(folder / f"node-{number}", shared=self._shared, settings=discovery) for number in range(1, size)
        ]
        self.nodes: Sequence[RabbitNode] = (first, *others)
        self.ca_file = first.ca_file
        self._formed = False

    def start(self) -> None:
        """Start all nodes, at first or after all were killed, and wait until they are one cluster."""
        first, *others = self.nodes
        first.launch()
        if not self._formed:
            # Who joins while the first still makes its tables fails: "replicas ... are not active yet". Later they
            # must start together, because the first may wait for what the others know.
            first.wait_until_started()
        for node in others:
            node.launch()
        for node in self.nodes:
            node.wait_until_started()
        self._formed = True
        running = self.running()
        if running != {node.name for node in self.nodes}:
            raise RuntimeError(f"not one cluster: {running}")

    def close(self) -> None:
        """End everything that was started."""
        for node in self.nodes:
            node.close()
        self._shared.close()

    def url(self, user: tuple[str, str] = ADMIN, *, vhost: str = VHOST) -> str:
        """Return the URL of all nodes over AMQP."""
        return f"amqp://{user[0]}:{user[1]}@{self._hosts([node.port for node in self.nodes])}/{vhost}"

    def stomp_url(self, user: tuple[str, str] = ADMIN, *, vhost: str = VHOST) -> str:
        """Return the URL of all nodes over STOMP."""
        return f"stomp+rabbitmq://{user[0]}:{user[1]}@{self._hosts([node.stomp_port for node in self.nodes])}/{vhost}"

    def add_quorum_vhost(self, name: str) -> None:
        """Add a virtual host in which each durable queue is a quorum queue, and only ADMIN has rights."""
        first = self.nodes[0]
        first.control("add_vhost", name, "--default-queue-type", "quorum")
        first.control("set_permissions", "-p", name, ADMIN[0], ".*", ".*", ".*")

    def declare_exchange(self, name: str, *, vhost: str = VHOST) -> None:
        """Declare a durable topic exchange."""
        with amqp.Connection(f"127.0.0.1:{self.nodes[0].port}", *ADMIN, virtual_host=vhost) as connection:
            connection.channel().exchange_declare(name, "topic", durable=True, auto_delete=False)

    def declare_quorum_queue(
        self,
        name: str,
        *,
        at: int = 0,
        exchange: str = "sourcepulse",
        key: str = "#",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare a queue with a copy on each node, its leader on node `at`, and bind it.

        It outlives a kill of all nodes at once only when it is some seconds old (measured: lost at 1, kept at 2).
        """
        options = {
            "x-queue-type": "quorum",
            "x-quorum-initial-group-size": len(self.nodes),
            "x-queue-leader-locator": "client-local",
            **(arguments or {}),
        }
        with amqp.Connection(f"127.0.0.1:{self.nodes[at].port}", *ADMIN, virtual_host=VHOST) as connection:
            channel = connection.channel()
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=options)
            channel.queue_bind(name, exchange, key)

    def leader_of(self, queue: str, *, vhost: str = VHOST) -> RabbitNode:
        """Return the node that leads a quorum queue; waits while one is elected, TimeoutError when none is."""
        nodes = {node.name: node for node in self.nodes}
        deadline = time.monotonic() + ELECTION_LIMIT_SECONDS
        while True:
            answer = self._ask("list_queues", "-p", vhost, "name", "leader")
            leader = nodes.get({row["name"]: row["leader"] for row in json.loads(answer)}.get(queue, ""))
            # Right after a kill the dead leader may still be named.
            if leader is not None and leader.is_running:
                return leader
            if time.monotonic() > deadline:
                raise TimeoutError(f"the queue {queue!r} has no leader")

    def running(self) -> set[str]:
        """Name the nodes of the cluster that run, as one of them sees it."""
        return set(json.loads(self._ask("cluster_status"))["running_nodes"])

    def _ask(self, *question: str) -> str:
        node = next(node for node in self.nodes if node.is_running)
        return node.control("--quiet", "--formatter", "json", *question)

    @staticmethod
    def _hosts(ports: Sequence[int]) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in ports)
