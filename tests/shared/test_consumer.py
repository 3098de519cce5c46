# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The consumer at the embedded log, in one process."""

from __future__ import annotations

import logging
import sqlite3
import stat
import threading
import time
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event
from sourcepulse.brokers.file.admin import dead_letters, queue_statistics
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerError, BrokerRefusedUsError, ConfigError, DecodeError, StateError
from sourcepulse.gaps import Gap, Reset
from support.brokers.embedded_log import as_message, log_url, message, publish, publish_events, push_event, wait_until


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def numbers(consumer: Consumer, count: int | None = None) -> list[int]:
    """Consume until silence, or that many; what was asked for is acknowledged."""
    got: list[int] = []
    while count is None or len(got) < count:
        event = consumer.receive(0.3 if count is None else 10)
        if event is None:
            break
        got.append(event.data["number"])
        consumer.acknowledge()
    return got


def durable(url: BrokerUrl, *topics: str, **options: object) -> Consumer:
    consumer = Consumer(url, topics or ("hg.#",), queue="me", durable=True, **options)  # type: ignore[arg-type]  # passed through
    consumer.open()
    return consumer


def test_the_six_lines_of_the_promise_work(url: BrokerUrl) -> None:
    Consumer(str(url), topics=["hg.push.#"], queue="me", durable=True).open()
    publish_events(url, *(push_event(number) for number in range(1, 4)))
    got = []
    for event in Consumer(str(url), topics=["hg.push.#"], queue="me", durable=True):
        assert isinstance(event, Event)
        got.append((event.type, event.source, event.routing_key, event.data["number"]))
        if len(got) == 3:
            break
    assert got == [("hg.push.v1", "hg://host/repo", "hg.push.repo", number) for number in (1, 2, 3)]


def test_an_event_left_by_break_is_the_first_of_the_next_loop(url: BrokerUrl) -> None:
    with durable(url, timeout=0.3) as consumer:
        publish_events(url, *(push_event(number) for number in range(1, 4)))
        for event in consumer:
            if event.data["number"] == 2:
                break
        assert [event.data["number"] for event in consumer] == [2, 3]
        assert [event.data["number"] for event in consumer] == []


def test_an_event_left_by_an_exception_comes_again_to_the_next_process(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1), push_event(2))

    def fail() -> None:
        for event in consumer:
            if event.data["number"] == 2:
                raise RuntimeError("the handler's own trouble")

    with pytest.raises(RuntimeError):
        fail()
    consumer.close()
    assert numbers(durable(url)) == [2]


def test_receive_gives_the_same_event_until_it_is_acknowledged(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1), push_event(2))
    first = consumer.receive(5)
    assert first is not None
    assert consumer.receive(5) is first
    consumer.acknowledge()
    consumer.acknowledge()
    second = consumer.receive(5)
    assert second is not None
    assert second.data["number"] == 2


def test_silence_ends_the_loop_and_receive_says_none(url: BrokerUrl) -> None:
    with Consumer(url, ["hg.#"], timeout=0.1) as consumer:
        assert list(consumer) == []
        assert consumer.receive(0) is None


def test_a_repeat_is_dropped_by_its_id_also_in_the_next_process(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1), push_event(1), push_event(2), push_event(1))
    assert numbers(consumer) == [1, 2]
    assert consumer.stats.repeats == 2
    consumer.close()
    publish_events(url, push_event(2), push_event(3))
    again = durable(url)
    assert numbers(again) == [3]
    assert again.stats.repeats == 1
    again.close()
    assert queue_statistics(url)[0].pending == 0, "repeats are acknowledged"


def test_a_repeat_of_an_event_that_is_being_handled_is_dropped(url: BrokerUrl) -> None:
    consumer = durable(url, prefetch=10)
    publish_events(url, push_event(1), push_event(3), push_event(3), push_event(2))
    assert numbers(consumer) == [1, 2, 3]
    assert consumer.stats.repeats == 1


def test_events_come_in_the_order_of_their_numbers(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, *(push_event(number) for number in (1, 3, 2, 6, 5, 4)))
    assert numbers(consumer) == [1, 2, 3, 4, 5, 6]
    assert consumer.stats.gaps == 0


def test_the_smallest_prefetch_leaves_room_for_the_one_before(url: BrokerUrl) -> None:
    consumer = durable(url, prefetch=1)
    publish_events(url, *(push_event(number) for number in (1, 3, 2, 4)))
    assert numbers(consumer) == [1, 2, 3, 4]
    assert consumer.stats.gaps == 0


def test_a_damaged_log_is_not_tried_again(url: BrokerUrl) -> None:
    Path(url.path).write_bytes(b"no log at all" * 1_000)
    with pytest.raises(BrokerError, match="move it aside"):
        Consumer(url, "hg.#").receive(5)


def test_a_gap_is_reported_between_its_neighbours_and_a_late_event_is_still_delivered(url: BrokerUrl) -> None:
    reported: list[object] = []
    consumer = durable(url, "hg.push.#", on_gap=reported.append, hold_seconds=0.2)
    publish_events(url, push_event(1, typesequence=1), push_event(5, typesequence=4))
    assert numbers(consumer, 2) == [1, 5]
    assert reported == [Gap(source="hg://host/repo", epoch="one", type="hg.push.v1", first_missing=2, last_missing=3)]
    publish_events(url, push_event(4, typesequence=3))
    assert numbers(consumer, 1) == [4]
    assert (consumer.stats.gaps, consumer.stats.missing, consumer.stats.late) == (1, 2, 1)


def test_a_hole_is_seen_across_processes(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1))
    assert numbers(consumer, 1) == [1]
    consumer.close()
    publish_events(url, push_event(3))
    reported: list[Gap] = []
    assert numbers(durable(url, on_gap=reported.append, hold_seconds=0.1), 1) == [3]
    assert [(gap.type, gap.first_missing, gap.last_missing) for gap in reported] == [(None, 2, 2)]


def test_a_gap_is_reported_even_if_the_stream_never_pauses(url: BrokerUrl) -> None:
    reported: list[Gap] = []
    consumer = durable(url, "#", on_gap=reported.append, hold_seconds=0.1, prefetch=10)
    busy = [push_event(number, source="hg://host/busy") for number in range(1, 300)]
    publish_events(url, push_event(1), push_event(3), *busy)
    got = 0
    while not reported:
        assert consumer.receive(5) is not None
        consumer.acknowledge()
        got += 1
        time.sleep(0.01)
    assert got < 299


def test_a_new_epoch_is_a_reset(url: BrokerUrl) -> None:
    reported: list[Reset] = []
    consumer = durable(url, on_reset=reported.append)
    publish_events(url, push_event(5), push_event(1, epoch="two"))
    assert numbers(consumer) == [5, 1]
    consumer.close()
    publish_events(url, push_event(2, epoch="two"), push_event(1, epoch="three"))
    assert numbers(durable(url, on_reset=reported.append)) == [2, 1]
    assert [reset.epoch for reset in reported] == ["two", "three"]


def test_a_replayed_event_is_handled_only_if_it_was_lost_before(url: BrokerUrl) -> None:
    consumer = durable(url, hold_seconds=0.1)
    publish_events(url, push_event(1), push_event(3))
    assert numbers(consumer, 2) == [1, 3]
    publish_events(url, *(push_event(number)._replace(replayed=True) for number in (1, 2, 3)))
    assert numbers(consumer) == [2]
    assert (consumer.stats.gaps, consumer.stats.late) == (1, 0)


def test_topics_narrower_than_a_type_see_no_gaps_and_say_so(url: BrokerUrl, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sourcepulse.consumer")
    consumer = durable(url, "hg.push.repo.#")
    assert consumer.unchecked == ("hg.push.v1",)
    assert "hg.push.v1" in caplog.text
    publish_events(url, push_event(1), push_event(9), push_event(4))
    assert numbers(consumer) == [1, 9, 4]
    assert consumer.stats.gaps == 0


def test_a_shared_queue_has_no_order_and_says_so(url: BrokerUrl, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sourcepulse.consumer")
    first, second = (durable(url, "hg.push.#", shared=True, prefetch=1) for _ in range(2))
    assert first.unchecked == ("hg.push.v1",)
    assert "order and gaps are not checked" in caplog.text
    publish_events(url, *(push_event(number) for number in range(1, 5)))
    got = []
    for consumer in (first, second, first, second):
        event = consumer.receive(5)
        assert event is not None
        got.append(event.data["number"])
        consumer.acknowledge()
    assert sorted(got) == [1, 2, 3, 4]


def test_a_message_that_is_not_an_event_is_reported_set_aside_and_stops_nothing(url: BrokerUrl) -> None:
    bad: list[DecodeError] = []
    consumer = durable(url, on_bad=bad.append)
    publish(url, [message(0, body=b"\xffnonsense"), as_message(push_event(1))], "sourcepulse")
    assert numbers(consumer) == [1]
    assert [error.raw for error in bad] == [b"\xffnonsense"]
    assert consumer.stats.bad == 1
    (letter,) = dead_letters(url, "me")
    assert letter.body == b"\xffnonsense"


def test_after_changed_topics_the_former_ones_give_nothing(url: BrokerUrl) -> None:
    durable(url, "hg.tag.#").close()
    publish_events(url, push_event(1, type_="hg.tag.moved.v1"))
    consumer = durable(url, "hg.push.#")
    publish_events(url, push_event(2), push_event(3, type_="hg.tag.moved.v1"))
    assert numbers(consumer) == [2]
    assert consumer.stats.filtered == 1, "what waited for the former topics is acknowledged"


def test_from_start_gives_what_the_log_holds(url: BrokerUrl) -> None:
    publish_events(url, push_event(1), push_event(2))
    assert numbers(durable(url, from_start=True)) == [1, 2]


def test_a_temporary_subscription_remembers_nothing_on_disk(url: BrokerUrl, tmp_path: Path) -> None:
    with Consumer(url, "hg.#") as consumer:
        publish_events(url, push_event(1), push_event(1))
        assert numbers(consumer) == [1]
    assert not (tmp_path / "state").exists()
    assert queue_statistics(url) == ()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"durable": True}, "needs a name"),
        ({"queue": "me"}, "would not outlive"),
        ({"shared": True}, "only a durable queue"),
        ({"topics": ["hg.pu*"]}, "the word 'pu\\*'"),
        ({"topics": []}, "at least one topic"),
        ({"prefetch": 0}, "prefetch"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_at_once(
    url: BrokerUrl, options: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Consumer(url, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_a_bad_url_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="unknown"):
        Consumer("gopher://host")


def test_the_callback_form_acknowledges_what_the_callback_returned_from(url: BrokerUrl) -> None:
    got: list[int] = []
    with durable(url, timeout=0.3) as consumer:
        publish_events(url, push_event(1), push_event(2))
        consumer.run(lambda event: got.append(event.data["number"]))
    assert got == [1, 2]
    assert numbers(durable(url)) == []


def test_a_callback_that_fails_is_tried_again_in_place_and_then_the_event_is_set_aside(url: BrokerUrl) -> None:
    got: list[int] = []

    def callback(event: Event) -> None:
        got.append(event.data["number"])
        if event.data["number"] == 2 or (event.data["number"] == 1 and got.count(1) == 1):
            raise ValueError("a secret detail")

    with durable(url, timeout=0.3) as consumer:
        publish_events(url, *(push_event(number) for number in (1, 2, 3)))
        consumer.run(callback, attempts=3, retry_seconds=0.01)
        assert consumer.stats.rejected == 1
    assert got == [1, 1, 2, 2, 2, 3]
    (letter,) = dead_letters(url, "me")
    assert letter.reason == "the callback failed 3 times, the last time with ValueError"
    assert numbers(durable(url)) == []


def test_a_rejected_event_leaves_no_gap_and_comes_again_when_it_is_replayed(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1), push_event(2))
    assert consumer.receive(5) is not None
    consumer.reject("not today")
    assert numbers(consumer, 1) == [2]
    publish_events(url, push_event(1)._replace(replayed=True))
    assert numbers(consumer, 1) == [1]
    assert consumer.stats.gaps == 0


def test_stop_from_another_thread_ends_the_loop(url: BrokerUrl) -> None:
    with durable(url) as consumer:
        timer = threading.Timer(0.2, consumer.stop)
        timer.start()
        assert list(consumer) == []
        timer.join()


def test_a_broker_that_refuses_us_is_reported_at_once(tmp_path: Path) -> None:
    consumer = Consumer(log_url(tmp_path / "nowhere"), ["hg.#"])
    with pytest.raises(BrokerRefusedUsError, match="does not exist"):
        consumer.open()


def test_the_subscription_comes_back_when_the_log_was_replaced(url: BrokerUrl, tmp_path: Path) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1))
    assert numbers(consumer, 1) == [1]
    for path in tmp_path.glob("log.db*"):
        path.unlink()
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.extend(numbers(consumer, 1)))
    thread.start()
    wait_until(lambda: Path(url.path).exists() and queue_statistics(url))
    publish_events(url, push_event(2))
    thread.join(20)
    assert got == [2]
    assert consumer.stats.reconnects == 1


def test_the_state_file_is_for_its_owner_only_and_named_after_the_queue(url: BrokerUrl, tmp_path: Path) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1))
    numbers(consumer, 1)
    directory = tmp_path / "state" / "sourcepulse"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert all(path.name.startswith("me-") for path in files)


def test_two_brokers_with_a_queue_of_one_name_have_a_state_each(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        consumer = durable(log_url(tmp_path / name))
        publish_events(log_url(tmp_path / name), push_event(1))
        assert numbers(consumer, 1) == [1]
        consumer.close()


def test_a_state_that_cannot_be_used_is_a_clear_error_that_names_the_way_out(url: BrokerUrl, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("no directory")
    with pytest.raises(StateError, match="state=':memory:'"):
        durable(url, state=blocked / "me.db")
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StateError, match=r"move it aside .* -wal, -shm and .lock; without it"):
        durable(url, state=foreign)
    consumer = durable(url, state=":memory:")
    publish_events(url, push_event(1))
    assert numbers(consumer, 1) == [1]


def test_the_topics_of_an_opening_that_failed_are_not_forgotten(tmp_path: Path) -> None:
    from sourcepulse.consumer.memory.state import ConsumerState

    state = ConsumerState(tmp_path / "state.db")
    assert (state.patterns(), state.was_bound()) == ((), False)
    state.intend_patterns(["hg.#"])
    assert (state.patterns(), state.was_bound()) == (("hg.#",), False)
    state.settle_patterns(["hg.#"], forget_former=True)
    state.intend_patterns(["build.#"])
    state.close()
    again = ConsumerState(tmp_path / "state.db")
    assert (again.patterns(), again.was_bound()) == (("build.#", "hg.#"), True)
    again.settle_patterns(["build.#"], forget_former=False)
    assert again.patterns() == ("build.#", "hg.#")
    again.settle_patterns(["build.#"], forget_former=True)
    assert again.patterns() == ("build.#",)


def test_the_window_of_ids_is_bounded(url: BrokerUrl, tmp_path: Path) -> None:
    from sourcepulse.consumer.memory.handled import SEEN_SLACK
    from sourcepulse.consumer.memory.state import ConsumerState

    path = tmp_path / "state.db"
    state = ConsumerState(path, window=100)
    for number in range(SEEN_SLACK + 50):
        state.record([(str(number), None, 0)])
    assert not state.is_handled("0")
    assert state.is_handled(str(SEEN_SLACK))
    assert state.is_handled(str(SEEN_SLACK - 99))
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM seen").fetchone()[0] <= 100 + SEEN_SLACK
    db.close()
