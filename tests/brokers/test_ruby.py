# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The Ruby programs of the page, as printed and with Debian's clients, read real pushes from real brokers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sourcepulse.brokers import open_publisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.catalogue import example_of
from sourcepulse.events.event import Event, Numbers
from support.brokers.activemq import ActiveMqNode
from support.brokers.embedded_log import as_message, wait_until
from support.brokers.messages import send_all
from support.brokers.rabbitmq import RabbitNode
from support.component import require
from support.fenced_blocks import blocks

PAGE = "shared/docs/other-languages.md"
RUBY = shutil.which("ruby") or "/usr/bin/ruby"
WAIT_SECONDS = 60
#: Numbers that are never published.
LOST = 3


def program(first_line: str) -> str:
    """Return a program of the page."""
    (found,) = [each.text for each in blocks("ruby") if each.page == PAGE and each.text.startswith(first_line)]
    return found


class Reader:
    """A program of the page that runs."""

    def __init__(self, url: str, folder: Path) -> None:
        broker = BrokerUrl.parse(url)
        ((host, port),) = broker.hosts
        self._library = "bunny" if broker.scheme == "amqp" else "stomp"
        # As the package manager sees it: with Debian's Ruby and without a user's gems.
        listed = subprocess.run([RUBY, "-e", f"require '{self._library}'"], capture_output=True, check=False)
        require(listed.returncode == 0, f"no {self._library} for Ruby (Debian: ruby-{self._library})")
        (folder / "seen.rb").write_text(program('require "json"'), encoding="utf-8")
        (folder / "reader.rb").write_text(program(f'require "{self._library}"'), encoding="utf-8")
        self._folder = folder
        self._environ = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "BROKER": broker.scheme.rpartition("+")[2],
            "HOST": host,
            "PORT": str(port),
            "VHOST": broker.vhost or "/",
            "LOGIN": broker.user,
            "PASSWORD": broker.password,
            "QUEUE": f"reader-{uuid.uuid4().hex}",
            "PATTERN": "hg.#",
            "STATE": str(folder / "state"),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._lines = 0

    def start(self) -> None:
        """Start it and wait until it is subscribed."""
        self._process = subprocess.Popen(
            [RUBY, str(self._folder / "reader.rb")],
            env=self._environ,
            stdout=(self._folder / "out").open("a"),
            stderr=(self._folder / "errors").open("a"),
        )
        assert self.line() == "subscribed"

    def line(self) -> str:
        """Return the next line that it prints."""
        self._lines += 1
        out = self._folder / "out"
        wait_until(
            lambda: out.read_text(encoding="utf-8").count("\n") >= self._lines or self._has_ended(), WAIT_SECONDS
        )
        lines = out.read_text(encoding="utf-8").splitlines()
        assert len(lines) >= self._lines, (self._folder / "errors").read_text(encoding="utf-8")
        return lines[self._lines - 1]

    def kill(self, remembered: int = 0) -> None:
        """Kill it once it has remembered so many events, or at once."""
        state = self._folder / "state"
        if remembered:
            wait_until(lambda: len(state.read_text(encoding="utf-8").splitlines()) >= remembered)
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


@pytest.fixture(params=["amqp", "stomp+rabbitmq", "stomp+activemq"])
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
    made = Reader(url, tmp_path)
    yield made
    made.kill()


def pushes(numbers: Sequence[int]) -> list[Event]:
    """Return recorded pushes of one source with these numbers."""
    epoch = str(uuid.uuid4())
    recorded = example_of("hg.push")
    return [recorded._replace(id=str(uuid.uuid4()), numbers=Numbers(epoch, number, number)) for number in numbers]


def publish(url: str, events: Sequence[Event]) -> None:
    """Publish them as a relay does."""
    sender = open_publisher(BrokerUrl.parse(url), exchange="sourcepulse")
    sender.open()
    send_all(sender, [as_message(event) for event in events])
    sender.close()


def test_a_program_of_the_page_prints_events_once_resumes_and_sees_what_is_lost(url: str, reader: Reader) -> None:
    first, second, third, late = events = pushes([1, 2, 3, 4 + LOST])
    printed = [f"hg.push.v1 {event.routing_key} {event.id}" for event in events]
    reader.start()
    publish(url, [first, first, second])
    # What was handled is not printed again.
    assert [reader.line(), reader.line()] == printed[:2]
    reader.kill(remembered=2)

    # It comes while no reader is there, after one that is known.
    publish(url, [second, third])
    reader.start()
    assert reader.line() == printed[2]
    publish(url, [late])
    assert reader.line() == f"{LOST} events of {late.source} are missing"
    assert reader.line() == printed[3]
