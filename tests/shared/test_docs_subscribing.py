# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every program of docs/subscribing.md is run as it stands there, but for the broker's URL and the outbox's path."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse import Consumer, Outbox
from sourcepulse.brokers import QueueLimits
from sourcepulse.brokers.file.admin import queue_statistics
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event, Numbers
from sourcepulse.events.wire import decode
from support.brokers.embedded_log import log_url, publish_events, wait_until
from support.events.examples import key_of, wire_examples

PAGE = Path(__file__).parents[2] / "shared" / "docs" / "subscribing.md"
URL = "amqps://reader:password@host/vhost"
OUTBOX = "/var/lib/sourcepulse/outbox.db"
LIMIT_SECONDS = 30


def programs() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def the_program(mark: str) -> str:
    (program,) = [each for each in programs() if mark in each]
    return program


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate(timeout=LIMIT_SECONDS)


def push(number: int = 1) -> Event:
    """Make the contract's own push, with these numbers."""
    example = next(
        event for line in wire_examples() if (event := decode(line, routing_key=key_of(line))).type == "hg.push.v1"
    )
    return Event.of(
        "hg.push.v1",
        source=example.source,
        key=[str(number)],
        subject=example.subject,
        time=1.0,
        data=example.data,
        words=["integration", "inbound"],
    ).numbered(Numbers(epoch="one", sequence=number, typesequence=number))


def start(processes: list[subprocess.Popen[str]], program: str, url: BrokerUrl) -> subprocess.Popen[str]:
    """Run a program of the page, with this broker, until it has subscribed."""
    assert URL in program
    process = subprocess.Popen(
        [sys.executable, "-c", program.replace(URL, str(url))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    processes.append(process)

    def subscribed() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return Path(url.path).exists() and any(queue.consumers for queue in queue_statistics(url))

    wait_until(subscribed, LIMIT_SECONDS)
    return process


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode, talk


DATA = push().data

#: A mark of each program, what it prints of the push, and whether Ctrl-C ends it in order.
SAID = {
    'changeset["desc"]': (f"{push().source} {DATA['changesets'][0]['node']} {DATA['changesets'][0]['desc']}", False),
    "workers=4": (f"hg.push.v1 {push().source} {push().subject}", True),
    "asyncio.run": (f"hg.push.v1 {push().source} {push().subject}", False),
    "data_as": (f"{DATA['user']} {DATA['count']} {DATA['heads'][0]['branch']}", False),
    "GenericConsumer": (f"{push().routing_key} {DATA['user']}", True),
    "heartbeats=True": (f"{push().source} {push().numbers}", False),
    "on_silent=page": (f"{push().source} hg.push.v1", False),
    "event.routing_key": (f"{push().routing_key} {DATA['user']}", False),
}


@pytest.mark.parametrize("mark", SAID)
def test_a_program_of_the_page_prints_the_event_and_ends_by_ctrl_c(
    url: BrokerUrl, processes: list[subprocess.Popen[str]], mark: str
) -> None:
    said, in_order = SAID[mark]
    process = start(processes, the_program(mark), url)
    publish_events(url, push())
    assert line(process) == said
    code, talk = interrupt(process)
    if in_order:
        assert (code, talk) == (0, "")
    else:
        assert code != 0
        assert talk.splitlines()[-1] == "KeyboardInterrupt"


def test_the_program_that_asks_for_a_replay_gets_what_was_lost(
    url: BrokerUrl, processes: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    with Outbox.open(tmp_path / "outbox.db") as outbox:
        outbox.append([push(number)._replace(numbers=None) for number in range(1, 5)])
        sent = [decode(claimed.body, routing_key=claimed.routing_key) for claimed in outbox.claim("public")]
        outbox.acknowledge("public", [1, 2, 3, 4])
        program = the_program("ask_again").replace(OUTBOX, str(outbox.path))
        process = start(processes, program, url)
        publish_events(url, sent[0], sent[3])
        assert line(process).startswith("Numbers(")
        assert line(process) == f"{sent[0].source}: events 2 to 3 are missing - 2 will come"
        for number, replayed in ((2, True), (3, True), (4, False)):
            said = line(process)
            assert f"sequence={number}" in said
            assert said.endswith(str(replayed))
    interrupt(process)


def test_no_program_of_the_page_is_left_out() -> None:
    assert len(programs()) == len(SAID) + 1


def test_the_page_names_every_argument_and_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = dict(rows)
    parameters = inspect.signature(Consumer).parameters
    assert parameters.keys() == named.keys()
    for name in ("durable", "shared", "from_start", "prefetch", "exchange"):
        assert named[name].strip("`") == str(parameters[name].default)
    assert float(named["hold_seconds"]) == parameters["hold_seconds"].default


def test_the_page_names_the_limits_that_hold() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    limits = QueueLimits()
    assert f"A durable queue holds {limits.max_length:,} events, each for {limits.message_ttl_s // 86_400} days" in text
    assert f"removed after {limits.expires_s // 86_400} days without a consumer" in text
