# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sources of a backlog are sent in turn, each in its own order, also after failures."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.brokers import Message, Outcome
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse.relay import sender
from sourcepulse.relay.backlog import Backlog
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event


def fill(outbox: Outbox, **counts: int) -> None:
    """Append events of each source, one source after the other."""
    for name, count in counts.items():
        outbox.append([system_event(number, source=f"system://{name}") for number in range(count)])


def delivery_to(broker: MemoryBroker, outbox: Outbox) -> Delivery:
    return Delivery(outbox, "public", broker.publisher, exchange="x", clock=lambda: 0.0, jitter=lambda: 0.0)


def claimed(backlog: Backlog, limit: int) -> Counter[str]:
    """Return of how many events of each source a claim consists."""
    return Counter(event.source.removeprefix("system://") for event in backlog.claim(limit))


def test_each_claim_has_something_of_each_source_until_it_has_no_more(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        fill(outbox, a=100, b=5, c=30)
        backlog = Backlog(outbox, "public")
        assert [claimed(backlog, 30) for _ in range(4)] == [
            {"a": 13, "b": 5, "c": 12},
            {"a": 15, "c": 15},
            {"a": 27, "c": 3},
            {"a": 30},
        ]


def test_of_more_sources_than_a_claim_has_room_for_each_is_served_before_one_is_served_twice(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        fill(outbox, **{f"s{number:02}": 30 for number in range(42)})
        backlog = Backlog(outbox, "public")
        served: Counter[str] = Counter()
        while len(served) < 42:
            before = len(served)
            served += claimed(backlog, 20)
            assert len(served) > before
        assert max(served.values()) <= 4


def test_a_claim_returns_what_is_there_whatever_was_claimed_before(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        fill(outbox, **{f"s{number:03}": 1 for number in range(300)})
        backlog = Backlog(outbox, "public")
        assert sum((claimed(backlog, 50) for _ in range(6)), Counter()).total() == 300
        assert backlog.claim(50) == []
        fill(outbox, a=1, s100=2, z=1)
        assert claimed(backlog, 50) == {"a": 1, "s100": 1, "z": 1}
        assert backlog.claim(50) == []


def test_what_is_buried_after_it_was_claimed_is_left_out(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(number) for number in range(3)])
        backlog = Backlog(outbox, "public")
        lot = [(event.position, event) for event in backlog.claim(10)]
        outbox.bury(2, "by hand")
        assert [position for position, _ in backlog.still_pending(lot)] == [1, 3]


def test_what_is_buried_while_it_waits_for_room_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the broker had made the relay wait for longer than that.
    monkeypatch.setattr(sender, "AHEAD_MAX_SECONDS", -1.0)
    with Outbox.open(tmp_path / "o.db") as outbox, Outbox.open(tmp_path / "o.db") as admin:

        def judge(message: Message) -> Outcome:
            if message.tag == 10:
                # Read, but not sent: the window has room for 100.
                admin.bury(150, "by hand")
            return Outcome.DELIVERED

        broker = MemoryBroker(judge=judge)
        outbox.append([system_event(number) for number in range(250)])
        delivery_to(broker, outbox).attempt(lambda: False)
        assert [row["position"] for row in rows(outbox, Selection(state="buried"))] == [150]
    assert [message.tag for message in broker.messages] == [tag for tag in range(1, 251) if tag != 150]


def test_a_new_source_is_served_in_the_next_batch_of_a_delivery(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox, Outbox.open(tmp_path / "o.db") as writer:

        def judge(message: Message) -> Outcome:
            if message.tag == 10:
                fill(writer, quiet=1)
            return Outcome.DELIVERED

        broker = MemoryBroker(judge=judge)
        fill(outbox, busy=2_000)
        delivery_to(broker, outbox).attempt(lambda: False)
    tags = [message.tag for message in broker.messages]
    assert len(tags) == 2_001
    assert tags.index(2_001) < 10 + 3 * broker.publisher().window


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=25), st.lists(st.sampled_from("dur!"), max_size=40))
@settings(max_examples=60, deadline=None)
def test_whatever_the_broker_does_the_order_of_each_source_holds(sources: list[str], script: list[str]) -> None:
    answers = iter(script)

    def judge(_: Message) -> Outcome:
        answer = next(answers, "d")
        if answer == "!":
            raise BrokerUnavailableError("gone")
        return {"d": Outcome.DELIVERED, "u": Outcome.UNROUTABLE, "r": Outcome.REFUSED}[answer]

    broker = MemoryBroker(judge=judge)
    with tempfile.TemporaryDirectory() as directory, Outbox.open(Path(directory, "o.db")) as outbox:
        outbox.append([system_event(number, source=f"system://{name}") for number, name in enumerate(sources)])
        delivery = delivery_to(broker, outbox)
        while delivery.attempt(lambda: False).error:
            pass
        buried = {row["position"] for row in rows(outbox, Selection(state="buried"))}
    tags = [message.tag for message in broker.messages]
    for name in "abc":
        ours = [tag for tag in tags if sources[tag - 1] == name]
        assert ours == sorted(ours)
    assert sorted([*tags, *buried]) == list(range(1, len(sources) + 1))


def test_an_outbox_of_an_earlier_version_is_relayed(tmp_path: Path) -> None:
    broker = MemoryBroker()
    with Outbox.open(tmp_path / "o.db") as outbox:
        fill(outbox, a=3, b=1)
    with sqlite3.connect(tmp_path / "o.db") as db:
        db.execute("DROP INDEX events_pending_by_source")
        db.execute("CREATE INDEX events_pending ON events (stream, position) WHERE state = 'pending'")
    with Outbox.open(tmp_path / "o.db") as outbox:
        assert delivery_to(broker, outbox).attempt(lambda: False).delivered == 4
        fill(outbox, a=5)
    with sqlite3.connect(tmp_path / "o.db") as db:
        indexes = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert "events_pending_by_source" in indexes
    assert "events_pending" not in indexes


@pytest.mark.parametrize("sources", [1, 1_000])
def test_the_cost_of_a_claim_does_not_depend_on_how_much_is_pending(tmp_path: Path, sources: int) -> None:
    steps = []
    for each in (10, 100) if sources == 1 else (1, 10):
        with Outbox.open(tmp_path / f"{each}.db") as outbox:
            names = [f"system://s{number}" for number in range(sources)]
            outbox.append([system_event(number, source=name) for name in names for number in range(each)])
            steps.append(_steps_of_a_claim(outbox))
    assert steps[1] < 1.5 * steps[0]


def _steps_of_a_claim(outbox: Outbox) -> int:
    """Return how many steps SQLite's virtual machine runs for a claim of ten events."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with outbox.reading() as db:
        db.set_progress_handler(step, 1)
    assert len(Backlog(outbox, "public").claim(10)) == 10
    with outbox.reading() as db:
        db.set_progress_handler(None, 1)
    return count
