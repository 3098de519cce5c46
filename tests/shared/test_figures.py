# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The figures of an outbox are exact, and do not cost more the more events there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourcepulse.outbox.delivery_state import SAMPLE_SECONDS
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.outgoing.replays import request_replay
from sourcepulse.outbox.queries import figures
from sourcepulse.outbox.repair import repair
from sourcepulse.outbox.retention import Keep, prune
from sourcepulse.relay.backlog import ensure_index
from sourcepulse.testing import system_event

NOON = 1_795_345_200.0
FOREVER_DAYS = 10_000.0
PLENTY_BYTES = 2**40


class Clock:
    """The clock of an outbox, set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outbox(tmp_path: Path, clock: Clock) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db", clock=clock) as opened:
        yield opened


def public(outbox: Outbox) -> dict[str, Any]:
    found: dict[str, Any] = figures(outbox)["streams"]["public"]
    return found


def kept(outbox: Outbox) -> tuple[int, int]:
    found = figures(outbox)
    return found["payloads_kept"], found["payload_bytes_kept"]


def scanned(outbox: Outbox) -> tuple[int, int]:
    with outbox.reading() as db:
        found: tuple[int, int] = db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM bodies").fetchone()
    return found


def test_each_source_has_its_last_confirmed_number_and_what_waits(outbox: Outbox, clock: Clock) -> None:
    outbox.append([system_event(number, source=f"system://{number % 2}") for number in range(6)])
    clock.now += 100
    outbox.append([system_event(9, source="system://s?restricted")])
    outbox.acknowledge("public", [1, 2, 3])
    outbox.bury(6, "because")
    clock.now += 20
    names = ("source", "stream", "sequence", "confirmed", "pending", "oldest_pending_age_s", "buried")
    assert [tuple(source[name] for name in names) for source in figures(outbox)["sources"]] == [
        ("system://0", "public", 3, 2, 1, 120, 0),
        ("system://1", "public", 3, 1, 1, 120, 1),
        ("system://s?restricted", "restricted", 1, 0, 1, 20, 0),
    ]
    state = public(outbox)
    assert (state["pending"], state["oldest_pending_age_s"], state["buried"]) == (2, 120, 1)


def test_a_buried_event_is_not_the_last_confirmed_one(outbox: Outbox) -> None:
    outbox.append([system_event(number) for number in range(6)])
    outbox.acknowledge("public", [1, 3])
    for position in (2, 4, 5, 6):
        outbox.bury(position, "because")
    (row,) = figures(outbox)["sources"]
    assert (row["confirmed"], row["sequence"], row["buried"]) == (3, 6, 4)
    outbox.retry(2)
    (row,) = figures(outbox)["sources"]
    assert (row["confirmed"], row["pending"]) == (1, 1)


def test_what_waits_since_a_repair_does_not_count_against_the_new_epoch(outbox: Outbox, clock: Clock) -> None:
    outbox.append([system_event(number) for number in range(3)])
    outbox.acknowledge("public", [1])
    outbox.close()
    repair(outbox.path)
    with Outbox.open(outbox.path, clock=clock) as repaired:
        repaired.append([system_event(number) for number in range(3, 5)])
        rows = [(row["sequence"], row["confirmed"], row["pending"]) for row in figures(repaired)["sources"]]
        assert sorted(rows) == [(2, 0, 2), (3, 1, 2)]
        assert public(repaired)["pending"] == 4
        assert kept(repaired) == scanned(repaired)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("append", "acknowledge", "withhold", "reduce", "age", "size", "replay", "bury", "again")),
            st.integers(1, 12),
        ),
        max_size=25,
    )
)
def test_what_is_kept_is_counted_through_every_change(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    with Outbox.open(tmp_path_factory.mktemp("kept") / "o.db") as outbox:
        for number, (step, position) in enumerate(steps):
            known = position <= scanned_positions(outbox)
            if step == "append":
                outbox.append([system_event(number * 100 + each) for each in range(position)])
            elif step == "again":
                outbox.append([system_event(0)])
            elif step == "acknowledge":
                outbox.acknowledge("public", range(1, position))
            elif step == "withhold" and known:
                outbox.withhold(position, b"x" * position, None, routing_key="a")
            elif step == "reduce" and known:
                outbox.replace_body(position, b"y" * 3 * position)
            elif step == "age":
                prune(outbox, Keep(days=0, bytes=PLENTY_BYTES), now=outbox.now() + position)
            elif step == "size":
                prune(outbox, Keep(days=FOREVER_DAYS, bytes=position * 300))
            elif step == "replay" and known:
                with outbox.writing() as db:
                    db.execute(
                        "INSERT OR IGNORE INTO replays (position, requested_at) SELECT position, 0 FROM bodies "
                        "WHERE position = ?",
                        (position,),
                    )
            assert kept(outbox) == scanned(outbox), step


def scanned_positions(outbox: Outbox) -> int:
    with outbox.reading() as db:
        return int(db.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])


@pytest.mark.parametrize("limit", [0, 1, 700, 1_000, 1_400, 5_000])
def test_the_newest_payloads_that_fit_are_kept(outbox: Outbox, limit: int) -> None:
    outbox.append([system_event(number) for number in range(8)])
    outbox.acknowledge("public", range(1, 9))
    request_replay(outbox, 1)
    with outbox.reading() as db:
        sizes = dict(db.execute("SELECT position, length(body) FROM bodies"))
    fits = [position for position in sizes if sum(size for at, size in sizes.items() if at >= position) <= limit]
    prune(outbox, Keep(days=FOREVER_DAYS, bytes=limit))
    with outbox.reading() as db:
        assert [position for (position,) in db.execute("SELECT position FROM bodies")] == sorted({1, *fits})


def test_a_relay_counts_what_an_earlier_version_did_not_count(outbox: Outbox) -> None:
    outbox.append([system_event(number) for number in range(5)])
    with sqlite3.connect(outbox.path) as db:
        db.execute("DELETE FROM sqlite_sequence WHERE name LIKE 'kept %'")
    db.close()
    assert kept(outbox) == scanned(outbox)
    outbox.append([system_event(5)])
    ensure_index(outbox)
    ensure_index(outbox)
    outbox.append([system_event(6)])
    assert kept(outbox) == scanned(outbox) == (7, scanned(outbox)[1])


def test_the_figures_cost_no_more_when_many_events_are_kept(tmp_path: Path) -> None:
    def steps(number: int) -> int:
        """Return how many steps SQLite takes for the figures of an outbox with so many delivered events."""
        taken = 0

        def count() -> int:
            nonlocal taken
            taken += 1
            return 0

        with Outbox.open(tmp_path / f"{number}.db") as outbox:
            outbox.append([system_event(each) for each in range(number)])
            outbox.acknowledge("public", range(1, number + 1))
            with outbox.reading() as db:
                db.set_progress_handler(count, 10)
            figures(outbox)
        return taken

    assert steps(3_000) <= steps(30) + 5


def test_the_rate_is_that_of_the_last_minute_and_of_the_last_five(outbox: Outbox, clock: Clock) -> None:
    position = 0

    def deliver(number: int) -> None:
        nonlocal position
        outbox.append([system_event(position + each) for each in range(number)])
        outbox.acknowledge("public", range(position + 1, position + number + 1))
        position += number

    def rates() -> tuple[float, float]:
        state = public(outbox)
        return state["rate_60s"], state["rate_300s"]

    assert rates() == (0.0, 0.0)
    for _ in range(120):
        deliver(4)
        clock.now += 2
    assert rates() == (pytest.approx(2.0, rel=0.05), pytest.approx(120 * 4 / 300, rel=0.05))
    clock.now += 60 + SAMPLE_SECONDS
    assert rates() == (0.0, pytest.approx(2.0 * 230 / 300, rel=0.1))
    clock.now += 300
    assert rates() == (0.0, 0.0)
    # What came before a pause does not count for the first event after it.
    deliver(1)
    assert rates() == (pytest.approx(1 / 60, abs=0.001), pytest.approx(1 / 300, abs=0.001))
    # A clock that is set back makes it unknown for a while, not wrong.
    clock.now -= 10_000
    assert rates() == (0.0, 0.0)
    deliver(60)
    assert rates()[0] == pytest.approx(1.0)
