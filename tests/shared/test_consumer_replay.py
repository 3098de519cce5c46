# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer that lost events asks the outbox for them: outbox, relay's delivery, log and consumer are real."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event, Outbox
from sourcepulse.brokers import QueueLimits, open_publisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import NothingThereError, OutboxDamagedError, OutboxWriteError
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.gaps import Gap
from sourcepulse.outbox.outgoing.replays import claim_replays
from sourcepulse.outbox.retention import Keep, prune
from sourcepulse.relay.sender import Delivery
from support.brokers.embedded_log import log_url

OTHER_UID = 65534
SOURCE = "hg://host/repo"
EXCHANGES = {PUBLIC: "sourcepulse", RESTRICTED: "sourcepulse-restricted"}


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def event(number: int, *, source: str = SOURCE, type_: str = "hg.push.v1") -> Event:
    return Event.of(
        type_, source=source, key=[str(number)], subject="repo", time=1.0, data={"number": number}, words=["repo"]
    )


def store(path: Path, *events: Event) -> None:
    with Outbox.open(path) as outbox:
        outbox.append(events)


def relay(path: Path, url: BrokerUrl) -> None:
    """Send what the outbox has to send, each stream to its exchange."""
    with Outbox.open(path) as outbox:
        for stream, exchange in EXCHANGES.items():
            delivery = Delivery(
                outbox,
                stream,
                lambda exchange=exchange: open_publisher(url, exchange=exchange),  # type: ignore[misc]  # bound in the loop
                exchange=exchange,
                clock=time.time,
            )
            report = delivery.attempt(lambda: False)
            assert report.error is None
            delivery.close()


def send(path: Path, url: BrokerUrl, *events: Event) -> None:
    store(path, *events)
    relay(path, url)


def take(consumer: Consumer) -> list[int]:
    got: list[int] = []
    while (event := consumer.receive(0.4)) is not None:
        got.append(event.data["number"])
        consumer.acknowledge()
    return got


@contextmanager
def loser(url: BrokerUrl, gaps: list[Gap], topic: str = "#", stream: str = PUBLIC) -> Iterator[Consumer]:
    """Return a consumer whose queue keeps three events."""
    with Consumer(
        url,
        [topic],
        queue=f"loser-{stream}",
        durable=True,
        exchange=EXCHANGES[stream],
        limits=QueueLimits(max_length=3),
        on_gap=gaps.append,
        hold_seconds=0.05,
    ) as consumer:
        yield consumer


def test_exactly_what_is_missing_comes_again_and_no_other_consumer_handles_it_twice(url: BrokerUrl, path: Path) -> None:
    gaps: list[Gap] = []
    with Consumer(url, ["#"], queue="other", durable=True) as other, loser(url, gaps) as consumer:
        send(path, url, event(1))
        assert take(consumer) == [1]
        send(path, url, *(event(number) for number in range(2, 11)))
        assert take(consumer) == [8, 9, 10]
        (gap,) = gaps
        assert (gap.first_missing, gap.last_missing) == (2, 7)
        assert take(other) == list(range(1, 11))
        assert consumer.replay(gap, outbox=path) == 6
        assert consumer.replay(gap, outbox=str(path)) == 6, "asking twice sends once"
        # The queue that lost them keeps three.
        with Outbox.open(path) as outbox:
            assert len(claim_replays(outbox, PUBLIC)) == 6
        relay(path, url)
        assert take(consumer) == [5, 6, 7]
        assert consumer.stats.gaps == 1
        assert take(other) == []
        assert other.stats.repeats == 6


def test_a_gap_of_a_type_is_replayed_by_the_numbers_of_the_type(url: BrokerUrl, path: Path) -> None:
    gaps: list[Gap] = []
    with loser(url, gaps, "hg.push.#") as consumer:
        send(path, url, event(1))
        assert take(consumer) == [1]
        for number in range(2, 8):
            store(path, event(number), event(number, type_="hg.tag.moved.v1"))
        relay(path, url)
        assert take(consumer) == [5, 6, 7]
        (gap,) = gaps
        assert (gap.type, gap.first_missing, gap.last_missing) == ("hg.push.v1", 2, 4)
        assert consumer.replay(gap, outbox=path) == 3
        relay(path, url)
        assert take(consumer) == [2, 3, 4]


def test_a_gap_callback_may_ask_for_the_replay_itself(url: BrokerUrl, path: Path) -> None:
    asked: list[int] = []
    with Consumer(
        url,
        ["#"],
        queue="me",
        durable=True,
        limits=QueueLimits(max_length=3),
        on_gap=lambda gap: asked.append(consumer.replay(gap, outbox=path)),
        hold_seconds=0.05,
    ) as consumer:
        send(path, url, event(1))
        assert take(consumer) == [1]
        send(path, url, *(event(number) for number in range(2, 7)))
        assert take(consumer) == [4, 5, 6]
        relay(path, url)
        assert take(consumer) == [2, 3]
    assert asked == [2]


def test_restricted_events_are_replayed_on_their_own_stream_only(url: BrokerUrl, path: Path) -> None:
    gaps: list[Gap] = []
    secret = f"{SOURCE}?restricted"
    with Consumer(url, ["#"], queue="public", durable=True) as public, loser(url, gaps, stream=RESTRICTED) as consumer:
        send(path, url, event(1, source=secret))
        assert take(consumer) == [1]
        send(path, url, *(event(number, source=secret) for number in range(2, 8)), event(1))
        assert take(consumer) == [5, 6, 7]
        assert take(public) == [1]
        (gap,) = gaps
        assert gap.source == secret
        assert consumer.replay(gap, outbox=path) == 3
        relay(path, url)
        assert take(consumer) == [2, 3, 4]
        assert take(public) == []
        assert public.stats.repeats == 0


def test_what_was_never_sent_comes_by_itself_and_counts(url: BrokerUrl, path: Path) -> None:
    send(path, url, event(1))
    store(path, event(2), event(3))
    assert ask(url, path, 1, 3) == 3
    with Outbox.open(path) as outbox:
        assert [claimed.position for _, claimed in claim_replays(outbox, PUBLIC)] == [1]


def test_what_has_expired_or_is_buried_does_not_come_and_is_reported(
    url: BrokerUrl, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    send(path, url, event(1), event(2))
    with Outbox.open(path, clock=lambda: time.time() + 86_400 * 40) as outbox:
        prune(outbox, Keep(days=30, bytes=2**30))
    send(path, url, event(3))
    store(path, event(4))
    with Outbox.open(path) as outbox:
        outbox.bury(4, "by the test")
    caplog.set_level(logging.WARNING, "sourcepulse.consumer")
    assert ask(url, path, 1, 4) == 1
    assert "can send 1: 1 are buried" in caplog.text
    assert "2 have expired" in caplog.text
    with pytest.raises(NothingThereError, match=r"can send 0: 0 are buried .* 2 have expired"):
        ask(url, path, 1, 2)
    with pytest.raises(NothingThereError, match="1 are buried"):
        ask(url, path, 4, 4)


def ask(url: BrokerUrl, path: Path, first: int, last: int, *, source: str = SOURCE, epoch: str | None = None) -> int:
    if epoch is None:
        with Outbox.open(path) as outbox, outbox.reading() as db:
            (epoch,) = db.execute("SELECT epoch FROM events LIMIT 1").fetchone()
    assert epoch is not None
    gap = Gap(source=source, epoch=epoch, type=None, first_missing=first, last_missing=last)
    return Consumer(url, ["#"]).replay(gap, outbox=path)


def test_an_outbox_that_cannot_help_is_a_clear_error(url: BrokerUrl, path: Path) -> None:
    with pytest.raises(NothingThereError, match=f"no outbox at {path}"):
        ask(url, path, 1, 1, epoch="one")
    assert not path.exists()
    send(path, url, event(1))
    with pytest.raises(NothingThereError, match="no events of hg://elsewhere/repo; another outbox sent them"):
        ask(url, path, 1, 1, source="hg://elsewhere/repo")
    with pytest.raises(NothingThereError, match="in epoch one; they were in an earlier file"):
        ask(url, path, 1, 1, epoch="one")
    with pytest.raises(NothingThereError, match="can send 0"):
        ask(url, path, 10**19, 10**20 - 1)
    path.write_bytes(b"no outbox at all" * 1000)
    with pytest.raises(OutboxDamagedError):
        ask(url, path, 1, 1, epoch="one")


def test_an_outbox_that_may_not_be_written_is_a_clear_error(url: BrokerUrl) -> None:
    with tempfile.TemporaryDirectory() as folder, Consumer(url, ["#"]) as consumer:
        Path(folder).chmod(0o755)
        path = Path(folder) / "outbox.db"
        store(path, event(1))
        gap = Gap(source=SOURCE, epoch="one", type=None, first_missing=1, last_missing=1)
        for each in Path(folder).iterdir():
            each.chmod(0o444)
        user = os.geteuid()
        if user == 0:
            # Root may write everything.
            os.seteuid(OTHER_UID)
        try:
            with pytest.raises(OutboxWriteError, match="Permission denied"):
                consumer.replay(gap, outbox=path)
        finally:
            os.seteuid(user)
