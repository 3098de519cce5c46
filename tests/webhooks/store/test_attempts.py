# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Attempts are found by hook, event, webhook id and number, kept for a week, and counted by the hour."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.send.upkeep import Upkeep
from sourcepulse_web.webhooks.store.pace import FIRST_STEP_SECONDS, median_of, step_of
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Delivered
from sourcepulse_web.webhooks.store.store import HookStore
from support.webhooks.log import hook

NOW = 1_796_000_000.0
DAY = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HookStore]:
    with HookStore(tmp_path / "webhooks.db") as opened:
        for name in ("first", "second"):
            opened.add(hook(name), "whsec_x", NOW)
        yield opened


def attempt(number: int, name: str = "first", **others: object) -> Attempt:
    values: dict[str, object] = {
        "hook": name, "at": NOW, "position": number, "webhook_id": f"msg_{number}", "source": "hg://host/repo",
        "id": f"id-{number}", "type": "hg.push.v1", "routing_key": "hg.push.repo", "tries": 1, "outcome": "delivered",
        "status": 200, "reason": "", "took_s": 0.05,
    }  # fmt: skip
    return Attempt(**(values | others))  # type: ignore[arg-type]


def test_attempts_are_found_by_each_of_their_names_within_their_hook(store: HookStore) -> None:
    refused = attempt(
        2, outcome="refused", status=422, reason="it answered 422", headers="x: y", excerpt="no", next_at=NOW + 5
    )
    sent = [attempt(1), refused, attempt(2, "second"), attempt(2)]
    assert store.attempts.record([*sent, attempt(9, "removed-meanwhile")]) == [1, 2, 3, 4, 0]
    kept = [dataclasses.replace(each, number=number) for number, each in enumerate(sent, 1)]
    assert store.attempts.of_hook("first", 10) == [kept[3], kept[1], kept[0]]
    assert store.attempts.of_hook("first", 1, before=4) == [kept[1]]
    assert store.attempts.of_event("hg://host/repo", "id-2") == [kept[3], kept[2], kept[1]]
    assert store.attempts.of_event("hg://host/repo", "id-2", "second") == [kept[2]]
    assert store.attempts.of_event("hg://host/other", "id-2") == []
    for word in ("id-2", "msg_2"):
        assert store.attempts.find("first", word) == [kept[3], kept[1]]
    assert store.attempts.find("first", "2") == [kept[1]]
    for word in ("3", "id-3", "", "²", "9" * 30):
        assert store.attempts.find("first", word) == [], "another hook's, or nothing's"


def test_the_last_twenty_of_an_event_are_kept_for_a_week(store: HookStore) -> None:
    store.attempts.record([attempt(1, tries=tries) for tries in range(1, 26)] + [attempt(1, "second")])
    assert [each.tries for each in store.attempts.of_event("hg://host/repo", "id-1", "first")] == list(range(25, 5, -1))
    assert len(store.attempts.of_hook("second", 50)) == 1
    store.attempts.record([attempt(number, at=NOW + DAY) for number in range(2, 12)])
    assert store.attempts.trim(NOW + 6 * DAY) == 0
    assert store.attempts.trim(NOW + 7.5 * DAY) == 21
    assert len(store.attempts.of_hook("first", 50)) == 10


def test_more_old_attempts_than_one_call_removes_go_within_seconds_and_not_minutes(
    store: HookStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sourcepulse_web.webhooks.store.attempts.TRIM_LIMIT_SECONDS", 0.0)
    with store.batch():
        store.attempts.record([attempt(number) for number in range(4_500)])
    seconds = 0.0
    queues = HookQueues(tmp_path / "log.db", "sourcepulse")
    upkeep = Upkeep(store, queues, lambda: NOW + 8 * DAY + seconds, lambda: seconds)
    left = []
    for _ in range(7):
        upkeep.trim()
        upkeep.trim()
        left.append(len(store.attempts.of_hook("first", 10_000)))
        seconds += 1.0
    assert left == [3_500, 2_500, 1_500, 500, 0, 0, 0]


def test_no_more_than_a_limit_is_kept_and_it_is_removed_in_small_steps(
    store: HookStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse_web.webhooks.store.attempts.ATTEMPTS_MAX", 500)
    monkeypatch.setattr("sourcepulse_web.webhooks.store.attempts.TRIM_LIMIT_SECONDS", 0.0)
    store.attempts.record([attempt(number) for number in range(1, 2_701)])
    assert [store.attempts.trim(NOW) for _ in range(4)] == [1_000, 1_000, 200, 0]
    assert [each.number for each in store.attempts.of_hook("first", 1)] == [2_700]
    assert len(store.attempts.of_hook("first", 5_000)) == 500


def test_what_was_delivered_is_counted_for_24_hours_and_for_200_hooks_at_once(store: HookStore) -> None:
    names = [f"hook-{number}" for number in range(200)]
    with store.batch():
        for name in names:
            store.add(hook(name), "whsec_x", NOW)
    hours = range(30)
    with store.batch():
        for name in names:
            store.attempts.record(
                [attempt(each, name, at=NOW - 3_600 * each, took_s=0.01 * (each + 1)) for each in hours[1:]]
            )
    store.attempts.record([attempt(40, "first", outcome="refused"), attempt(0, "first")])
    began = time.monotonic()
    found = store.attempts.delivered_of_all(NOW)
    took_s = time.monotonic() - began
    assert set(found) == set(names), "a refusal and a test are not counted"
    assert {each.count for each in found.values()} == {23}
    assert took_s < 1.0
    assert found["hook-0"].median_s == pytest.approx(
        statistics.median(0.01 * (each + 1) for each in hours[1:24]), rel=0.1
    )
    assert store.attempts.delivered("first", NOW) == Delivered()
    store.attempts.trim(NOW + DAY)
    assert store.attempts.delivered_of_all(NOW + DAY) == {}


@given(st.lists(st.floats(0.002, 60.0), min_size=1, max_size=50))
def test_a_median_that_is_counted_in_steps_is_right_to_a_tenth(times: list[float]) -> None:
    counted: dict[int, int] = {}
    for took_s in times:
        counted[step_of(took_s)] = counted.get(step_of(took_s), 0) + 1
    assert median_of(sorted(counted.items())) == pytest.approx(statistics.median_low(times), rel=0.1)


def test_no_time_is_outside_of_the_steps() -> None:
    assert [step_of(each) for each in (-1.0, 0.0, FIRST_STEP_SECONDS)] == [0, 0, 0]
    assert median_of([]) is None
    random = Random(19)
    assert all(0 <= step_of(random.uniform(0, 1e12)) <= 80 for _ in range(100))
