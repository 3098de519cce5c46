# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which event of a hook is next, compared with a model that looks at all events each time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse_web.webhooks.send.lanes import Lanes


class Event(NamedTuple):
    position: int
    source: str


def lanes(*events: Event) -> Lanes[Event]:
    made: Lanes[Event] = Lanes()
    made.add(events)
    return made


A1, A2, B3, A4, C5 = Event(1, "a"), Event(2, "a"), Event(3, "b"), Event(4, "a"), Event(5, "c")


def test_all_events_come_in_the_order_of_the_log_one_at_a_time() -> None:
    made = lanes(B3, A1, C5, A2, A4)
    came = []
    while (event := made.take(0.0)) is not None:
        assert made.take(0.0) is None, "a second one is in flight"
        came.append(event)
        made.done(event.position)
    assert came == [A1, A2, B3, A4, C5]
    assert len(made) == 0


def test_a_source_that_waits_stops_no_other_and_goes_on_where_it_was() -> None:
    made = lanes(A1, A2, B3, A4)
    assert made.take(0.0) == A1
    made.hold_source("a", 10.0)
    made.put_back()
    assert made.take(0.0) == B3
    made.done(3)
    assert made.take(9.9) is None
    assert made.due_at(9.9) == 10.0
    assert made.take(10.0) == A1


def test_a_hook_that_waits_sends_nothing_and_then_the_same_event_again() -> None:
    made = lanes(A1, B3)
    assert made.take(0.0) == A1
    made.put_back()
    made.hold_all(5.0)
    assert made.take(4.9) is None
    assert made.due_at(1.0) == 5.0
    assert made.take(5.0) == A1


def test_a_position_that_another_source_has_now_keeps_no_source_from_its_next_event() -> None:
    made = lanes(A1, A2, A4)
    made.done(2)
    made.add([Event(2, "b")])
    for expected in (A1, Event(2, "b"), A4):
        assert made.take(0.0) == expected
        made.done(expected.position)
    assert made.due_at(0.0) is None


def test_after_a_release_everything_is_due_at_once() -> None:
    made = lanes(A1, B3)
    made.hold_source("a", 100.0)
    made.hold_all(50.0)
    made.release_all()
    assert made.due_at(0.0) == 0.0
    assert made.take(0.0) == A1


def test_an_event_that_is_asked_for_again_comes_before_the_newer_ones_of_its_source() -> None:
    made = lanes(A2, A4)
    assert made.take(0.0) == A2
    made.add([A1])
    made.done(2)
    assert made.take(0.0) == A1
    made.done(1)
    assert made.take(0.0) == A4


def test_an_event_that_disappears_behind_the_head_is_passed_over() -> None:
    made = lanes(A1, A2, A4)
    made.done(2)
    assert made.take(0.0) == A1
    made.done(1)
    assert made.take(0.0) == A4


@dataclass
class Model:
    """Looks at all events each time."""

    events: dict[int, str] = field(default_factory=dict)
    #: Of all positions that ever had an event.
    sources: dict[int, str] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    all_until: float = float("-inf")
    taken: int | None = None

    def is_waiting(self, source: str, now: float) -> bool:
        return self.waits.get(source, float("-inf")) > now

    def next(self, now: float) -> int | None:
        if self.taken is not None or now < self.all_until:
            return None
        return min((at for at, source in self.events.items() if not self.is_waiting(source, now)), default=None)

    def due_at(self, now: float) -> float | None:
        if self.taken is not None or not self.events:
            return None
        return max(self.all_until, min(max(now, self.waits.get(each, now)) for each in self.events.values()))


SOURCES = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(st.integers(1, 40), SOURCES), max_size=6)),
        st.tuples(st.just("take"), st.none()),
        st.tuples(st.sampled_from(["done", "refused", "failed", "put back"]), st.integers(0, 9)),
        st.tuples(st.just("gone"), st.integers(1, 40)),
        st.tuples(st.just("hold"), st.tuples(SOURCES, st.integers(0, 9))),
        st.tuples(st.sampled_from(["release", "release source"]), SOURCES),
        st.tuples(st.just("later"), st.integers(0, 6)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=600, deadline=None)
def test_lanes_do_what_the_model_does(steps: list[tuple[str, object]]) -> None:
    made: Lanes[Event] = Lanes()
    model = Model()
    now = 0.0
    for step, what in steps:
        if step == "later":
            assert isinstance(what, int)
            now += what
        else:
            play(step, what, made, model, now)
        due = made.due_at(now)
        expected = model.due_at(now)
        assert (due is None) == (expected is None)
        assert due is None or expected is None or due <= expected, "it is never late"
        assert len(made) == len(model.events)
        assert made.free == sum(not model.is_waiting(source, now) for source in model.events.values())
        if due is not None and made.free and now >= model.all_until:
            assert due == now
    drain(made, model, now)


def play(step: str, what: object, made: Lanes[Event], model: Model, now: float) -> None:
    """Do one step to both."""
    if step == "add":
        assert isinstance(what, list)
        # What is at a position of the log stays the same event.
        fresh = {at: model.sources.setdefault(at, source) for at, source in what if at not in model.events}
        made.add([Event(at, source) for at, source in fresh.items()])
        model.events.update(fresh)
    elif step == "take":
        event = made.take(now)
        assert (event and event.position) == model.next(now)
        if event is not None:
            model.taken = event.position
    elif step == "gone":
        assert isinstance(what, int)
        made.done(what)
        model.events.pop(what, None)
        model.taken = None if model.taken == what else model.taken
    elif step == "hold":
        assert isinstance(what, tuple)
        made.hold_source(what[0], now + what[1])
        model.waits[what[0]] = now + what[1]
    elif step == "release":
        made.release_all()
        model.waits.clear()
        model.all_until = float("-inf")
    elif step == "release source":
        assert isinstance(what, str)
        made.release_source(what)
        model.waits.pop(what, None)
    elif model.taken is not None:
        assert isinstance(what, int)
        end(step, what, made, model, now)


def end(step: str, pause: int, made: Lanes[Event], model: Model, now: float) -> None:
    """End the attempt that is in flight."""
    assert model.taken is not None
    if step == "done":
        made.done(model.taken)
        del model.events[model.taken]
    elif step == "refused":
        made.hold_source(model.events[model.taken], now + pause)
        model.waits[model.events[model.taken]] = now + pause
        made.put_back()
    elif step == "failed":
        made.hold_all(now + pause)
        model.all_until = now + pause
        made.put_back()
    else:
        made.put_back()
    model.taken = None


def drain(made: Lanes[Event], model: Model, now: float) -> None:
    """Drain the rest: nothing is lost, and each source is in order."""
    made.put_back()
    came: list[Event] = []
    while (due := made.due_at(now)) is not None:
        now = due
        if (event := made.take(now)) is not None:
            came.append(event)
            made.done(event.position)
    assert {each.position: each.source for each in came} == model.events
    for source in "abc":
        positions = [each.position for each in came if each.source == source]
        assert positions == sorted(positions)
