# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer that lost events asks the outbox for them: outbox, relay's delivery, log and consumer are real."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event, Outbox
from sourcepulse.brokers import QueueLimits, open_publisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import (
    ConfigError,
    NothingThereError,
    OutboxDamagedError,
    OutboxWriteError,
    VisibilityUnknownError,
)
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.gaps import Gap
from sourcepulse.outbox.delivery_state import bind_broker
from sourcepulse.outbox.outbox import Claimed
from sourcepulse.outbox.outgoing.replays import claim_replays
from sourcepulse.outbox.outgoing.visibility import Verdict
from sourcepulse.outbox.queries import Selection, rows
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
    while (event := consumer.receive(0.15)) is not None:
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


def test_exactly_what_is_missing_comes_next_and_to_this_consumer_only(url: BrokerUrl, path: Path) -> None:
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
        assert consumer.replay(gap, outbox=str(path)) == 6
        send(path, url, event(11))
        first = consumer.receive(5)
        assert first is not None
        assert (first.data["number"], first.replayed) == (2, True)
        # Those that were pulled come before what came meanwhile, and the second replay finds all handled.
        assert take(consumer) == [2, 3, 4, 5, 6, 7, 11]
        with Outbox.open(path) as outbox:
            assert claim_replays(outbox, PUBLIC) == []
        relay(path, url)
        assert take(other) == [11]
        assert (other.stats.repeats, consumer.stats.repeats, consumer.stats.late) == (0, 0, 0)
        assert consumer.stats.gaps == 1


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
        assert take(consumer) == [2, 3, 4, 5, 6], "the missing ones come in their place"
    assert asked == [2]


def test_restricted_events_are_replayed_to_readers_of_the_restricted_exchange_only(url: BrokerUrl, path: Path) -> None:
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
        with pytest.raises(ConfigError, match="is restricted, and this consumer reads"):
            public.replay(gap, outbox=path)
        assert consumer.replay(gap, outbox=path) == 3
        assert take(consumer) == [2, 3, 4]
        public.replay(0.0, outbox=path)
        assert take(public) == [], "of all that was stored it handled what is public"


def test_a_reader_of_a_public_exchange_of_any_name_pulls_no_restricted_event(url: BrokerUrl, path: Path) -> None:
    secret = f"{SOURCE}?restricted"
    send(path, url, event(1, source=secret), event(2))
    with Outbox.open(path) as outbox:
        bind_broker(outbox, PUBLIC, f"{url} pulse")
        bind_broker(outbox, RESTRICTED, f"{url} embargoed")
        (epoch,) = {row["epoch"] for row in rows(outbox, Selection())}
    gap = Gap(source=secret, epoch=epoch, type=None, first_missing=1, last_missing=1)
    for exchange in ("pulse", "sourcepulse", "sourcepulse-restricted"):
        with Consumer(url, ["#"], exchange=exchange) as consumer:
            with pytest.raises(ConfigError, match="is not the one of restricted events"):
                consumer.replay(gap, outbox=path)
            consumer.replay(0.0, outbox=path)
            assert take(consumer) == [2]
    with Consumer(url, ["#"], exchange="embargoed") as consumer:
        assert consumer.replay(gap, outbox=path) == 1
        assert take(consumer) == [1]


def test_a_rejected_or_unacknowledged_replay_can_be_asked_for_again(url: BrokerUrl, path: Path) -> None:
    send(path, url, *(event(number) for number in range(1, 4)))
    with Consumer(url, ["#"], queue="q", durable=True) as consumer:
        consumer.replay(0.0, outbox=path)
        assert consumer.receive(5) is not None
        consumer.reject("not now")
        second = consumer.receive(5)
        assert second is not None
        assert second.data["number"] == 2
    with Consumer(url, ["#"], queue="q", durable=True) as consumer:
        consumer.replay(0.0, outbox=path)
        assert take(consumer) == [1, 2, 3]
        consumer.replay(0.0, outbox=path)
        assert take(consumer) == []


def test_a_pulled_event_whose_live_copy_comes_too_is_handled_once(url: BrokerUrl, path: Path) -> None:
    with Consumer(url, ["#"], queue="q", durable=True) as consumer:
        send(path, url, event(1))
        store(path, event(2))
        consumer.replay(0.0, outbox=path)
        first = consumer.receive(5)
        assert first is not None
        relay(path, url)
        consumer.acknowledge()
        assert take(consumer) == [2]
        assert consumer.stats.repeats == 2
    with Consumer(url, ["#"], queue="q", durable=True) as again:
        assert take(again) == [], "both copies were acknowledged"


@pytest.mark.parametrize("workers", [1, 3])
def test_a_replay_goes_to_the_workers_too_and_each_failure_is_tried_again(
    url: BrokerUrl, path: Path, workers: int
) -> None:
    store(path, *(event(number, source=f"hg://host/{number % 3}") for number in range(1, 61)))
    handled: list[int] = []
    failed: set[int] = set()

    def handle(got: Event) -> None:
        number = got.data["number"]
        if number % 20 == 0 and number not in failed:
            failed.add(number)
            raise RuntimeError("once")
        handled.append(number)

    with Consumer(url, ["#"], queue="q", durable=True, timeout=0.3) as consumer:
        consumer.replay(0.0, outbox=path)
        consumer.run(handle, workers=workers, retry_seconds=0.01)
    assert sorted(handled) == list(range(1, 61))


def test_stored_and_live_events_join_without_a_hole_or_a_repeat(url: BrokerUrl, path: Path) -> None:
    total = 1_500
    send(path, url, *(event(number) for number in range(1, 301)))

    def work() -> None:
        for start in range(301, total, 40):
            send(path, url, *(event(number) for number in range(start, min(start + 40, total + 1))))

    with Consumer(url, ["#"]) as consumer:
        busy = threading.Thread(target=work)
        busy.start()
        consumer.replay(0.0, outbox=path)
        got: list[int] = []
        while len(got) < total and (each := consumer.receive(10)) is not None:
            got.append(each.data["number"])
            consumer.acknowledge()
        busy.join()
        assert got == list(range(1, total + 1))
        assert take(consumer) == []
        assert (consumer.stats.gaps, consumer.stats.late, consumer.stats.bad) == (0, 0, 0)


class Checker:
    """Knows by number which bugs are public, and counts what it is asked."""

    def __init__(self, hidden: set[int]) -> None:
        self.hidden = hidden
        self.asked = 0
        self.works = True

    def ask(self, events: Sequence[Claimed]) -> list[Verdict]:
        if not self.works:
            raise VisibilityUnknownError("the database is away")
        self.asked += len(events)
        return [Verdict(send=json.loads(each.body)["data"]["number"] not in self.hidden) for each in events]

    def close(self) -> None:
        """Nothing was opened."""


BUGS = "bugzilla://site"


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> Checker:
    made = Checker(hidden={3})
    monkeypatch.setattr("sourcepulse.outbox.outgoing.pull.check_openers", lambda: {"bugzilla": lambda _outbox: made})
    return made


def bug(number: int) -> Event:
    return event(number, source=BUGS, type_="bugzilla.bug.changed.v1")


def test_what_is_no_longer_public_is_withheld_right_before_it_is_handed_over(
    url: BrokerUrl, path: Path, checker: Checker
) -> None:
    store(path, *(bug(number) for number in range(1, 6)))
    with Consumer(url, ["bugzilla.#"], queue="q", durable=True) as consumer:
        consumer.replay(0.0, outbox=path)
        assert consumer.receive(5) is not None
        # The fourth becomes private while the program handles the first.
        checker.hidden.add(4)
        got: list[tuple[str, object]] = []
        while (each := consumer.receive(0.2)) is not None:
            got.append((each.type, each.data.get("number")))
            consumer.acknowledge()
    changed, withheld = "bugzilla.bug.changed.v1", "system.event.withheld.v1"
    assert got == [(changed, 1), (changed, 2), (withheld, None), (withheld, None), (changed, 5)]
    with Outbox.open(path) as outbox, outbox.reading() as db:
        bodies = [row[0] for row in db.execute("SELECT body FROM bodies ORDER BY position")]
    assert [b'"number"' in body for body in bodies] == [True, True, False, False, True]


def test_nothing_is_handed_over_while_it_is_unknown_what_is_public(
    url: BrokerUrl, path: Path, checker: Checker, caplog: pytest.LogCaptureFixture
) -> None:
    store(path, *(bug(number) for number in (1, 2)))
    with Consumer(url, ["bugzilla.#"], queue="q", durable=True) as consumer:
        checker.works = False
        consumer.replay(0.0, outbox=path)
        assert take(consumer) == []
        assert "the replay ends early, ask for it again later: the database is away" in caplog.text
        checker.works = True
        consumer.replay(0.0, outbox=path)
        assert take(consumer) == [1, 2]


def test_without_the_plugin_no_event_of_bugzilla_is_handed_over(
    url: BrokerUrl, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sourcepulse.outbox.outgoing.pull.check_openers", dict)
    store(path, event(1), bug(2), event(3))
    with Consumer(url, ["#"]) as consumer:
        consumer.replay(0.0, outbox=path)
        assert take(consumer) == [1]
    assert "no installed plugin can do that" in caplog.text


def test_a_withheld_event_fills_the_gap_of_its_type(url: BrokerUrl, path: Path, checker: Checker) -> None:
    store(path, *(bug(number) for number in range(1, 5)))
    with Outbox.open(path) as outbox:
        outbox.acknowledge(PUBLIC, [1, 2, 3, 4])
        with outbox.reading() as db:
            (epoch,) = db.execute("SELECT epoch FROM events LIMIT 1").fetchone()
    gap = Gap(source=BUGS, epoch=epoch, type="bugzilla.bug.changed.v1", first_missing=2, last_missing=4)
    for _ in range(2):
        with Consumer(url, ["bugzilla.#"]) as consumer:
            assert consumer.replay(gap, outbox=path) == 3
            assert [each.type.split(".")[2] for each in receive(consumer)] == ["changed", "withheld", "changed"]


def receive(consumer: Consumer) -> Iterator[Event]:
    while (each := consumer.receive(0.2)) is not None:
        yield each
        consumer.acknowledge()


def test_what_was_never_sent_comes_by_itself_and_counts(url: BrokerUrl, path: Path) -> None:
    send(path, url, event(1))
    store(path, event(2), event(3))
    assert ask(url, path, 1, 3) == 3


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
    assert "has 1: 1 are buried" in caplog.text
    assert "2 have expired" in caplog.text
    with pytest.raises(NothingThereError, match=r"has 0: 0 are buried .* 2 have expired"):
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
    with pytest.raises(NothingThereError, match="has 0"):
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
