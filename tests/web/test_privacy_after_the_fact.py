# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A bug becomes private after its events were sent: a page that comes back and a queue that waits get nothing of it.

Real are the relay, the broker, the gateway and the sockets; Bugzilla's answers are those of a stand-in.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sourcepulse.brokers.file.admin import queue_statistics
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.outbox.outbox import WITHHELD_TYPE, Outbox
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from sourcepulse_bugzilla.visibility.folder_of_site import open_site
from support.brokers.embedded_log import drain, spec, subscribe, wait_until
from support.brokers.messages import unique
from support.brokers.rabbitmq import ADMIN, RabbitNode
from support.bugzilla.rows import BUG, BUG_ID, ID_SECRET, SITE, SOURCE, bug_create, changed, comment, row
from support.bugzilla.standin import StandIn
from support.web.bus import positions_of
from support.web.event_source import EventSourceParser, MessageEvent
from support.web.gateway import EXCHANGE, Gateway, MakeGateway
from support.web.streams import StreamClient

SUMMARY, FIRST, SECOND = "the summary that was public", "the first text that was public", "the second one"
SECRETS = [each.encode() for each in (SUMMARY, FIRST, SECOND)]
CREATED = row(
    "bug.create",
    bug_create(bug=changed(BUG, summary=SUMMARY), comments=[comment(5, text=FIRST), comment(6, text=SECOND)]),
)
HIDDEN = row("bug.update", {"place": ["a", "b"], "old_place": ["a", "b"], "transition": "hidden", "id": BUG_ID})
#: What the rows become: the bug and two comments.
PUBLIC_EVENTS = 3


class Recorder(EventSourceParser):
    """An EventSource that keeps every byte that it read."""

    seen = b""

    def feed(self, data: bytes) -> Iterator[MessageEvent]:
        self.seen += data
        return super().feed(data)


class Source:
    """A Bugzilla, its outbox, and its relay."""

    def __init__(self, folder: Path, broker: str, exchange: str) -> None:
        self._bugzilla = StandIn(folder / "bugzilla")
        self._outbox = folder / "outbox.db"
        self._relay = [
            sys.executable, "-m", "sourcepulse.cli", "relay", "--once", "--outbox", str(self._outbox),
            "--broker", broker, "--exchange", exchange,
        ]  # fmt: skip

    def publish(self, raw: dict[str, object]) -> None:
        """Store the public events of a row of Bugzilla, and relay them."""
        with Outbox.open(self._outbox) as outbox:
            open_site(outbox, SITE, self._bugzilla.folder, "perl")
            events = list(events_of(read_row(raw), Emitter(SOURCE, ID_SECRET)))
            outbox.append([event for event in events if event.stream == "public"])
        subprocess.run(self._relay, check=True, timeout=60, capture_output=True)


def texts_in(data: bytes) -> list[bytes]:
    return [each for each in SECRETS if each in data]


def check_nothing_is_left(gateway: Gateway, source: Source, exchange: str) -> None:
    """Publish, disconnect, hide, come back: the same with and without a bridge."""
    url = BrokerUrl.parse(f"file://{gateway.log}")
    subscribe(url, spec("bugzilla.#", queue="hooks", exchange=exchange)).close()
    saw, missed = Recorder(), Recorder()
    with closing(StreamClient(gateway.port, parser=missed)) as page:
        page.until(lambda each: each.named("hello"))
    with closing(StreamClient(gateway.port, parser=saw)) as page:
        source.publish(CREATED)
        page.until(lambda each: len(each.messages) >= PUBLIC_EVENTS)
    assert texts_in(saw.seen) == SECRETS, "it was public"
    ids = [message["id"] for message in page.messages]

    source.publish(HIDDEN)
    wait_until(lambda: positions_of(gateway.log, exchange) == PUBLIC_EVENTS + 1)
    saw.seen = b""
    with closing(StreamClient(gateway.port, parser=saw)) as page:
        page.until(lambda each: any(message["type"] == "bugzilla.bug.hidden.v1" for message in each.messages))
        assert [each for each in ids if each not in json.dumps(page.named("withdraw"))] == []
    with closing(StreamClient(gateway.port, parser=missed)) as page:
        page.until(lambda each: len(each.messages) == PUBLIC_EVENTS + 1)
        assert [message["type"] for message in page.messages[:-1]] == [WITHHELD_TYPE] * PUBLIC_EVENTS
    assert texts_in(saw.seen + missed.seen) == []
    assert texts_in(gateway.get("/events.json?after=0").body) == []

    assert [each.withdrawn for each in queue_statistics(url)] == [PUBLIC_EVENTS]
    with closing(subscribe(url, spec("bugzilla.#", queue="hooks", exchange=exchange))) as queue:
        bodies = drain(queue)
    assert [json.loads(body)["type"] for body in bodies] == [WITHHELD_TYPE] * PUBLIC_EVENTS + ["bugzilla.bug.hidden.v1"]
    assert texts_in(b"".join(bodies)) == []
    files = [path for path in gateway.folder.rglob("*") if path.is_file()]
    assert gateway.log in files
    wait_until(lambda: not [path.name for path in files if path.exists() and texts_in(path.read_bytes())])


def test_nothing_of_a_hidden_bug_is_delivered_by_a_gateway_with_a_bridge(
    rabbitmq: RabbitNode, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    exchange = unique("bus")
    rabbitmq.declare_exchange(exchange)
    gateway = make_gateway(
        broker="",
        configuration=f'broker = "{rabbitmq.url()}"\nexchange = "{exchange}"\n',
        options=["--queue", f"{ADMIN[0]}.{unique('web')}"],
    )
    gateway.start()
    check_nothing_is_left(gateway, Source(tmp_path, rabbitmq.url(), exchange), exchange)


def test_nothing_of_a_hidden_bug_is_delivered_by_a_gateway_over_the_log_of_a_relay(
    gateway: Gateway, tmp_path: Path
) -> None:
    check_nothing_is_left(gateway, Source(tmp_path, f"file://{gateway.log}", EXCHANGE), EXCHANGE)
