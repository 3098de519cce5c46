# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the state word and the banners of services go by: the last heartbeats, statuses and numbers of a log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sourcepulse_web.pages.live.watch import FORGOTTEN_SECONDS, Watch
from sourcepulse_web.stream.ports import Bounds, Row

NOW = 1_000_000.0
CI, HG = "buildbot://ci", "hg://h/inbound"


def row(position: int, type_: str, data: Any, *, source: str = "system://a", at: float = NOW, **members: Any) -> Row:
    event = {"specversion": "1.0", "type": type_, "source": source, "id": str(position), "time": TIME, "data": data}
    body = json.dumps({**event, **members}).encode()
    return Row(position, at, type_.rpartition(".v")[0], type_, source, None, str(position), "", body, withdrawn=False)


TIME = "2026-11-22T10:52:11.000000Z"


def beat(position: int, relay: str, *sources: str, at: float = NOW, late_s: int | None = None) -> Row:
    listed = [{"source": each, "pending": 212 if late_s else 0, "oldest_age_s": late_s} for each in sources]
    data = {"interval_s": 30, "oldest_age_s": late_s, "pending": 300, "sources": listed}
    return row(position, "system.relay.heartbeat.v1", data, source=relay, at=at)


def status(position: int, state: str, **members: Any) -> Row:
    return status_of("hg", position, state, **members)


def status_of(service: str, position: int, state: str, **members: Any) -> Row:
    data = {"message": None, "until": None, "url": None, "figures": None, **members}
    return row(position, f"system.{service}.{state}.v1", data)


def push(
    position: int, epoch: str, sequence: int, *, at: float = NOW, source: str = HG, replayed: bool | None = None
) -> Row:
    numbers = {"epoch": epoch, "sequence": f"{sequence:020}"} | ({} if replayed is None else {"replayed": replayed})
    return row(position, "hg.push.v1", {}, source=source, at=at, **numbers)


def test_the_last_heartbeat_of_each_relay_counts_with_the_source_that_is_latest() -> None:
    watch = Watch(lambda: NOW + 5)
    watch.apply([beat(1, "system://a", HG, CI, late_s=240), beat(2, "system://b")])
    assert watch.beats() == [
        {"source": "system://a", "names": f"{CI} and 1 more", "ago_s": 5.0, "interval_s": 30, "late_s": 240,
         "worst": HG, "waiting": 212},
        {"source": "system://b", "names": "system://b", "ago_s": 5.0, "interval_s": 30, "late_s": 0,
         "worst": "system://b", "waiting": 300},
    ]  # fmt: skip
    watch.apply([beat(3, "system://a", HG, at=NOW + 4)])
    assert [(each["ago_s"], each["late_s"]) for each in watch.beats()] == [(1.0, 0), (5.0, 0)]


def test_a_relay_that_moved_is_not_missed_and_one_that_was_taken_away_is_forgotten() -> None:
    now = [NOW + 200]
    watch = Watch(lambda: now[0])
    watch.apply([beat(1, "system://old", HG), beat(2, "system://gone", CI), beat(3, "system://new", HG, at=NOW + 190)])
    assert [each["source"] for each in watch.beats()] == ["system://gone", "system://new"]
    now[0] = NOW + FORGOTTEN_SECONDS + 1
    assert [each["source"] for each in watch.beats()] == ["system://new"]


def test_a_relay_that_reported_that_it_stopped_is_not_missed_until_it_beats_again() -> None:
    now = [NOW + 200]
    watch = Watch(lambda: now[0])
    stopped = status_of("relay", 3, "stopped", message="the relay ends as it was asked to")
    watch.apply([beat(1, "system://a", HG), beat(2, "system://b", CI), stopped])
    assert [each["source"] for each in watch.beats()] == ["system://b"]
    watch.apply([beat(4, "system://a", HG, at=NOW + 100)])
    assert [each["source"] for each in watch.beats()] == ["system://b", "system://a"]


def test_a_silent_relay_is_missed_for_the_sources_of_which_nothing_came_since() -> None:
    now = [NOW + 95]
    watch = Watch(lambda: now[0])
    watch.apply([beat(1, "system://a", HG, CI), push(2, "e1", 1, at=NOW + 60)])
    missed = lambda: [(each["names"], each["ago_s"]) for each in watch.beats()]  # noqa: E731
    assert missed() == [(f"{CI} and 1 more", 35.0)]
    # One that a push started publishes them now.
    now[0] = NOW + 200
    watch.apply([push(3, "e1", 2, at=NOW + 150)])
    assert missed() == [(CI, 200.0)]
    watch.apply([push(4, "e1", 1, at=NOW + 190, source=CI)])
    assert missed() == []


def test_a_service_that_is_down_has_a_banner_until_it_is_up() -> None:
    watch = Watch(lambda: NOW)
    watch.apply([status(1, "down", message="disk full", until=TIME, url="https://status.example.org/")])
    (banner,) = watch.banners()
    assert (banner["tag"], banner["look"], banner["when"]) == ("DOWN", "broken", "since 10:52 · until 10:52")
    assert "".join(part.text for part in banner["parts"]) == "hg: disk full https://status.example.org/"
    watch.apply([status(2, "maintenance", url="javascript:alert(1)")])
    assert [part.href for banner in watch.banners() for part in banner["parts"]] == [None]
    watch.apply([status(3, "up")])
    assert watch.banners() == []


def test_numbers_that_did_not_come_are_a_gap_and_a_new_epoch_is_a_new_numbering() -> None:
    watch = Watch(lambda: NOW)
    rows = [push(1, "e1", 7), push(2, "e1", 8), push(3, "e1", 12), push(4, "e1", 3), push(5, "e2", 1)]
    watch.apply(rows)
    watch.apply(rows)
    texts = {position: gap["text"] for position in range(1, 7) if (gap := watch.gap(position))}
    assert texts == {
        3: f"3 events of {HG} between 8 and 12 will not come here.",
        5: f"{HG} began again at 1 at 10:52:11.",
    }
    watch.apply([push(6, "e2", 9, replayed=True), push(7, "e2", 2)])
    assert watch.gap(6) is watch.gap(7) is None


class OtherLog:
    """A log whose file is replaced by another one."""

    def __init__(self, rows: list[Row]) -> None:
        self.token = "one"
        self._rows = rows

    def bounds(self) -> Bounds:
        return Bounds(1, len(self._rows))

    def read(self, after: int, *, limit: int = 500) -> list[Row]:
        return self._rows[after : after + limit]


def test_what_a_log_has_is_read_at_the_start_and_a_new_log_is_followed_from_its_beginning() -> None:
    log = OtherLog([push(1, "e1", 1, at=NOW - 60), beat(2, "system://a", HG, at=NOW - 60)])
    watch = Watch(lambda: NOW, log)
    watch.start()
    assert [each["ago_s"] for each in watch.beats()] == [60.0]
    watch.apply([beat(2, "system://a", HG)])
    assert [each["ago_s"] for each in watch.beats()] == [60.0]
    log.token = "two"
    watch.apply([beat(1, "system://a", HG), push(2, "e1", 4)])
    assert [each["ago_s"] for each in watch.beats()] == [0.0]
    assert watch.gap(2) is not None


@pytest.mark.parametrize("data", [None, [], {}, {"interval_s": "x", "sources": [], "oldest_age_s": 1, "pending": 1}])
def test_heartbeats_that_are_not_as_their_schema_says_report_nothing(data: Any) -> None:
    watch = Watch(lambda: NOW)
    watch.apply([row(1, "system.relay.heartbeat.v1", data), row(2, "system.hg.down.v1", data)])
    assert (watch.beats(), watch.banners()) == ([], [])
