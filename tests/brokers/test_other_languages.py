# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Programs of another language, with its stock clients and the page on the wire format alone, read the bus."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.brokers import open_publisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event, Numbers
from sourcepulse.events.wire import decode, encode
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, body, rows
from support.brokers.activemq import ActiveMqNode
from support.brokers.embedded_log import as_message
from support.brokers.messages import send_all
from support.brokers.rabbitmq import RabbitNode
from support.hg.sites import VENV_HG, Repository, Site, require
from support.streams.spine import publishing_server, relay_ended, wait_until_delivered

PERL = shutil.which("perl") or "/usr/bin/perl"
PROGRAMS = Path(__file__).parents[1] / "support" / "foreign"
#: The module of each program, and Debian's package of it.
MODULES = {
    "stomp_reader.pl": ("Net::Stomp", "libnet-stomp-perl"),
    "amqp_reader.pl": ("AnyEvent::RabbitMQ", "libanyevent-rabbitmq-perl"),
}
WAIT_SECONDS = 60.0
#: Events that never reach the broker in the test of gaps.
LOST = 3


class Reader:
    """A durable subscriber in Perl; `start` may be called again when it has died."""

    def __init__(self, program: str, url: str, folder: Path) -> None:
        broker = BrokerUrl.parse(url)
        ((host, port),) = broker.hosts
        self._program = program
        self._out = folder / "printed"
        self._environ = {
            "PATH": os.environ["PATH"],
            # Exactly what the page names; no argument, because every user may read those.
            "BROKER": broker.scheme.rpartition("+")[2],
            "HOST": host,
            "PORT": str(port),
            "VHOST": broker.vhost,
            "LOGIN": broker.user,
            "PASSWORD": broker.password,
            "EXCHANGE": "sourcepulse",
            "QUEUE": f"sub-{uuid.uuid4().hex}",
            "PATTERN": "hg.#",
            "STATE": str(folder / "state"),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0

    def start(self, *, dies_before_ack: int | None = None) -> None:
        """Start it and wait until it is subscribed."""
        extra = {} if dies_before_ack is None else {"DIE_BEFORE_ACK": str(dies_before_ack)}
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(
                [PERL, str(PROGRAMS / self._program)], env={**self._environ, **extra}, stdout=out, stderr=out
            )
        assert self.printed(1) == [{"ready": True}]

    def printed(self, count: int) -> list[dict[str, Any]]:
        """Wait for `count` more lines of what it prints."""
        deadline = time.monotonic() + WAIT_SECONDS
        while len(lines := self._out.read_text().splitlines()) < self._read + count:
            assert time.monotonic() < deadline, lines
            assert self._process is not None
            assert self._process.poll() in (None, -signal.SIGKILL), lines
            time.sleep(0.05)
        begin, self._read = self._read, self._read + count
        return [json.loads(line) for line in lines[begin : self._read]]

    def wait_until_dead(self) -> None:
        """Wait until it has killed itself."""
        assert self._process is not None
        assert self._process.wait(WAIT_SECONDS) == -signal.SIGKILL

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_SECONDS)


def test_the_example_of_the_page_is_an_event_and_the_page_explains_every_member() -> None:
    page = (Path(__file__).parents[2] / "shared" / "docs" / "wire-format.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    event = decode(example.encode(), routing_key="hg.push.integration.inbound")
    explained = page.partition("### Properties")[0].partition("| member |")[2]
    for member in json.loads(encode(event)):
        assert member in ("specversion", "datacontenttype") or f"`{member}`" in explained, member
    properties = page.partition("### Properties")[2].partition("## Routing keys")[0]
    for header in ("amqp-message-id", "event-id", "routing-key", "expires", "type", "persistent"):
        assert f"`{header}" in properties, header


@pytest.fixture(params=["stomp+rabbitmq", "stomp+activemq", "amqp"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of each real broker."""
    if request.param == "stomp+activemq":
        activemq: ActiveMqNode = request.getfixturevalue("activemq")
        return activemq.url()
    rabbitmq: RabbitNode = request.getfixturevalue("rabbitmq")
    return rabbitmq.url() if request.param == "amqp" else rabbitmq.stomp_url()


@pytest.fixture
def reader(url: str, tmp_path: Path) -> Iterator[Reader]:
    """The program for the broker."""
    program = "amqp_reader.pl" if url.startswith("amqp:") else "stomp_reader.pl"
    module, package = MODULES[program]
    if subprocess.run([PERL, f"-M{module}", "-e1"], capture_output=True, check=False).returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {module} for Perl (Debian: {package})")
    made = Reader(program, url, tmp_path)
    yield made
    made.kill()


@pytest.fixture
def client(tmp_path: Path) -> Repository:
    """A repository with a few changesets."""
    repository = Site(tmp_path / "client", require(VENV_HG)).repository("work")
    repository.hg("debugbuilddag", "+5")
    return repository


def test_a_perl_program_reads_real_pushes_resumes_knows_repeats_and_sees_gaps(
    tmp_path: Path, url: str, reader: Reader, client: Repository
) -> None:
    server = publishing_server(Site(tmp_path / "site", require(VENV_HG)), url, "pulse")
    with relay_ended(server.outbox):
        # The first push publishes the repository and its branch too; the others, on top of it, themselves only.
        first_node, *nodes = client.nodes()
        client.push_ssh(server, "--rev", first_node)
        wait_until_delivered(server.outbox)
        before = len(published(server))
        reader.start(dies_before_ack=2)
        client.push_ssh(server, "--rev", nodes[0])
        client.push_ssh(server, "--rev", nodes[1])
        first, second = reader.printed(2)
        reader.wait_until_dead()

        # One comes while no reader is there.
        client.push_ssh(server, "--rev", nodes[2])
        reader.start()
        repeat, third = reader.printed(2)

        pushes = published(server)[before:]
        assert [first, second, third] == [
            {"key": "hg.push.pulse", "id": push.id, "type": "hg.push.v1", "sequence": number}
            for number, push in enumerate(pushes, start=before + 1)
        ]
        assert repeat == {"id": second["id"], "repeat": True}

        client.push_ssh(server, "--rev", nodes[3])
        (fourth,) = reader.printed(1)
        assert fourth["sequence"] == before + 4
        assert "lost" not in fourth

    publish_after_a_gap(url, server)
    (late,) = reader.printed(1)
    assert late["sequence"] == before + 4 + LOST + 1
    assert late["lost"] == LOST


def published(server: Repository) -> list[Event]:
    """Return every event that the outbox numbered, in order."""
    with Outbox.open(server.outbox, create=False) as outbox:
        return [
            decode(body(outbox, row["position"]), routing_key=row["routing_key"]) for row in rows(outbox, Selection())
        ]


def publish_after_a_gap(url: str, server: Repository) -> None:
    """Publish an event of the same source whose forerunners are missing."""
    last = published(server)[-1]
    assert last.numbers is not None
    number = last.numbers.sequence + LOST + 1
    numbers = Numbers(epoch=last.numbers.epoch, sequence=number, typesequence=number)
    sender = open_publisher(BrokerUrl.parse(url), exchange="sourcepulse")
    sender.open()
    send_all(sender, [as_message(last._replace(id=str(uuid.uuid4()), numbers=numbers))])
    sender.close()
