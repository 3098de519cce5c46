# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which event a free worker takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.brokers import Delivery
from sourcepulse.consumer.received_event import Item
from sourcepulse.consumer.threads.schedule import Schedule
from support.brokers.embedded_log import push_event


def item(source: str, number: int, *, ready: bool = True) -> Item:
    return Item(
        event=push_event(number, source=f"hg://{source}/repo"),
        delivery=Delivery(routing_key="", body=b"", content_type="", redelivered=not ready, handle=None),
        generation=1,
        lane=None,
        number=number,
        ready=ready,
    )


def lanes(slots: int, *items: Item) -> Schedule:
    made = Schedule(slots)
    for each in items:
        made.add(each)
    return made


def test_the_oldest_event_of_the_sources_with_nothing_in_progress_is_next() -> None:
    a1, a2, b1, c1 = item("a", 1), item("a", 2), item("b", 1), item("c", 1)
    made = lanes(9, a1, a2, b1, c1)
    assert [made.take(0), made.take(0), made.take(0), made.take(0)] == [a1, b1, c1, None]
    made.finish(a1)
    assert made.take(0) is a2


def test_one_worker_takes_everything_in_the_order_of_arrival() -> None:
    items = [item("a", 1), item("b", 1), item("a", 2), item("a", 3), item("b", 2)]
    made = lanes(1, *items)
    got = []
    while (taken := made.take(0)) is not None:
        assert made.take(0) is None
        got.append(taken)
        made.finish(taken)
    assert got == items
    assert made.empty


def test_a_postponed_event_holds_its_own_source_back_and_no_other() -> None:
    a1, a2, b1 = item("a", 1), item("a", 2), item("b", 1)
    made = lanes(1, a1, a2, b1)
    assert made.take(0) is a1
    made.postpone(a1, 10.0)
    assert made.due_in(4.0) == 6.0
    assert made.take(0) is b1
    made.finish(b1)
    assert made.take(9.9) is None
    assert made.take(10.0) is a1
    made.finish(a1)
    assert made.take(10.0) is a2


def test_an_event_that_is_not_ready_is_not_taken_and_found_only_when_a_worker_is_free() -> None:
    a1, b1, b2 = item("a", 1), item("b", 1, ready=False), item("b", 2)
    made = lanes(1, a1, b1, b2)
    assert made.take_unready(0) is None
    assert made.take(0) is a1
    assert made.take_unready(0) is None
    made.finish(a1)
    assert made.take(0) is None
    assert made.take_unready(0) is b1
    assert made.take(0) is None
    b1.ready = True
    made.postpone(b1, 0)
    assert made.take_unready(0) is None
    assert made.take(0) is b1
    made.finish(b1)
    assert made.take(0) is b2


def test_everything_is_withdrawn_but_what_is_in_progress() -> None:
    a1, a2, b1, b2, c1 = item("a", 1), item("a", 2), item("b", 1), item("b", 2), item("c", 1)
    made = lanes(2, a1, a2, b1, b2, c1)
    assert made.take(0) is a1
    assert made.take(0) is b1
    b1.failures = 1
    made.postpone(b1, 5.0)
    assert made.withdraw(keep_tried=True) == [a2, b2, c1]
    assert made.take(1.0) is None
    assert made.take(5.0) is b1
    made.postpone(b1, 9.0)
    assert made.withdraw(keep_tried=False) == [b1]
    assert not made.empty
    made.finish(a1)
    assert made.empty


def test_an_event_that_failed_keeps_its_failures_though_the_connection_is_lost_before_its_next_attempt() -> None:
    a1, a2, b1 = item("a", 1), item("a", 2), item("b", 1)
    made = lanes(1, a1, a2, b1)
    assert made.take(0) is a1
    a1.failures = 1
    made.postpone(a1, 1.0)
    assert made.take(0) is b1
    # Its time has come, and the only worker is busy.
    assert made.take(2.0) is None
    assert made.withdraw(keep_tried=True) == [a2]
    made.finish(b1)
    assert made.take(2.0) is a1


def test_what_is_abandoned_may_still_be_finished_without_harm() -> None:
    a1, a2 = item("a", 1), item("a", 2)
    made = lanes(2, a1, a2)
    assert made.take(0) is a1
    assert made.abandon() == [a1, a2]
    assert made.empty
    made.finish(a1)
    made.postpone(a1, 1.0)
    assert made.take(2.0) is None


@given(
    st.lists(st.sampled_from("abcd"), max_size=40),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["take", "finish", "postpone", "withdraw"]), st.integers(0, 9)), max_size=80),
)
def test_whatever_happens_sources_stay_in_order_and_one_at_a_time(
    sources: list[str], slots: int, steps: list[tuple[str, int]]
) -> None:
    made = Schedule(slots)
    for number, source in enumerate(sources):
        made.add(item(source, number + 1))
    at_work: list[Item] = []
    done: list[Item] = []
    gone: list[Item] = []
    for clock, (step, which) in enumerate([*steps, *[("take", 0), ("finish", 0)] * 80]):
        if step == "take" and (taken := made.take(float(clock))) is not None:
            assert all(other.event.source != taken.event.source for other in at_work)
            at_work.append(taken)
            assert len(at_work) <= slots
        elif step == "finish" and at_work:
            done.append(at_work.pop(which % len(at_work)))
            made.finish(done[-1])
        elif step == "postpone" and at_work:
            at_work[which % len(at_work)].failures += 1
            made.postpone(at_work.pop(which % len(at_work)), float(clock + which))
        elif step == "withdraw":
            gone += made.withdraw(keep_tried=bool(which % 2))
    assert made.empty
    assert len(done) + len(gone) == len(sources)
    for source in set(sources):
        mine = [each.number for each in done if each.event.source == f"hg://{source}/repo"]
        assert mine == sorted(mine)
