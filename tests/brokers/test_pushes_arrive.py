# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pushes of one, a hundred and more changesets arrive as exact events, whatever the broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from sourcepulse.consumer.consumer import Consumer
from support.brokers.activemq import ActiveMqNode
from support.brokers.rabbitmq import RabbitNode
from support.hg.sites import VENV_HG, Repository, Site, require
from support.streams.spine import publishing_server, receive, relay_ended

#: The event of the last is shortened; how large its push is makes no difference to a broker.
SIZES = (1, 100, 101)
LARGE = (1, 100, 20_000)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return client_with(sum(SIZES), tmp_path_factory.mktemp("client"))


def client_with(changesets: int, folder: Path) -> Repository:
    repository = Site(folder, require(VENV_HG)).repository("work")
    repository.hg("debugbuilddag", f"+{changesets}")
    return repository


def push_and_compare(site: Site, client: Repository, url: str, sizes: tuple[int, ...] = SIZES) -> None:
    server = publishing_server(site, url)
    nodes = client.nodes()
    begin = 0
    with Consumer(url, topics=["hg.push.#"]) as consumer, relay_ended(server.outbox):
        for number, size in enumerate(sizes, start=1):
            pushed = nodes[begin : begin + size]
            begin += size
            client.push_ssh(server, "--rev", pushed[-1])
            (event,) = receive(consumer, 1)
            data = event.data
            assert (data["count"], data["first"], data["last"]) == (size, pushed[0], pushed[-1])
            assert [changeset["node"] for changeset in data["changesets"]] == pushed[:100]
            assert data["heads"] == [{"node": pushed[-1], "branch": "default", "closed": False}]
            assert event.routing_key == "hg.push.server"
            assert event.numbers is not None
            assert event.numbers.typesequence == number
            if size > len(data["changesets"]):
                assert data["truncated"] == [{"field": "/changesets", "kept": 100, "total": size}]
                assert server.nodes(data["query"]) == pushed
            else:
                assert data["truncated"] == []
                assert data["query"] is None
        assert consumer.receive(0.5) is None
        assert consumer.stats.gaps == consumer.stats.repeats == 0


def test_pushes_arrive_through_the_embedded_log(tmp_path: Path, client: Repository) -> None:
    site = Site(tmp_path / "site", require(VENV_HG))
    push_and_compare(site, client, f"file://{site.folder}/log.db")


@pytest.mark.soak
def test_a_push_of_twenty_thousand_changesets_arrives(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", require(VENV_HG))
    push_and_compare(site, client_with(sum(LARGE), tmp_path / "client"), f"file://{site.folder}/log.db", LARGE)


def test_pushes_arrive_through_rabbitmq_over_amqp(tmp_path: Path, client: Repository, rabbitmq: RabbitNode) -> None:
    push_and_compare(Site(tmp_path / "site", require(VENV_HG)), client, rabbitmq.url())


def test_pushes_arrive_through_rabbitmq_over_stomp(tmp_path: Path, client: Repository, rabbitmq: RabbitNode) -> None:
    push_and_compare(Site(tmp_path / "site", require(VENV_HG)), client, rabbitmq.stomp_url())


def test_pushes_arrive_through_activemq(tmp_path: Path, client: Repository, activemq: ActiveMqNode) -> None:
    push_and_compare(Site(tmp_path / "site", require(VENV_HG)), client, activemq.url())
