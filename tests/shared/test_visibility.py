# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is no longer public right before it is sent is withheld, for good, and leaves no hole in the numbers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.brokers import Outcome, open_publisher
from sourcepulse.consumer.consumer import Consumer
from sourcepulse.errors import BrokerUnavailableError, VisibilityUnknownError
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import WITHHELD_TYPE, Claimed, Outbox
from sourcepulse.outbox.outgoing.replays import request_replay
from sourcepulse.outbox.outgoing.visibility import ANSWER_MAX_AGE_SECONDS, Gate, Verdict
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker
from support.brokers.embedded_log import log_url
from support.events.schema_check import check_data
from support.streams.spine import receive

SOURCE = "bugzilla://3f0b7a52-6c1e-4d0b-9a37-1d2f5e8c4b60"
HIDDEN = "bugzilla.bug.hidden.v1"


class Opinion:
    """A check that says what the test says, a verdict or whether to send; it remembers what it was asked."""

    def __init__(self, allows: Callable[[int], Any] = lambda _: True) -> None:
        self.allows = allows
        self.asked: list[list[int]] = []
        self.closed = 0

    def ask(self, events: Sequence[Claimed]) -> list[Verdict]:
        self.asked.append([event.position for event in events])
        said = [self.allows(event.position) for event in events]
        return [Verdict(one) if isinstance(one, bool) else one for one in said]

    def close(self) -> None:
        self.closed += 1


class Hands:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


def hidden(number: int, source: str = SOURCE) -> Event:
    return Event.of(
        HIDDEN, source=source, key=[str(number)], subject=f"bug/{number}", time=number, data={"id": number}, words=["P"]
    )


def delivery_to(
    broker: MemoryBroker, outbox: Outbox, opinion: Opinion, *, clock: Callable[[], float] = lambda: 0.0
) -> Delivery:
    gate = Gate(outbox, {"bugzilla": lambda _: opinion}, clock=clock)
    return Delivery(outbox, "public", broker.publisher, exchange="x", clock=lambda: 0.0, gate=gate, jitter=lambda: 0.0)


def never() -> bool:
    return False


def bodies(broker: MemoryBroker) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in broker.messages]


def test_what_is_public_is_sent_as_it_is(outbox: Outbox) -> None:
    broker, opinion = MemoryBroker(), Opinion()
    outbox.append([hidden(1), hidden(2)])
    delivery_to(broker, outbox, opinion).attempt(never)
    assert [(body["type"], body["data"]) for body in bodies(broker)] == [(HIDDEN, {"id": 1}), (HIDDEN, {"id": 2})]
    assert opinion.asked == [[1], [2]] or opinion.asked == [[1, 2]]


def test_a_stand_in_keeps_id_key_source_time_and_numbers_and_says_only_the_type(outbox: Outbox) -> None:
    broker = MemoryBroker()
    events = [hidden(1), hidden(2)]
    outbox.append(events)
    delivery_to(broker, outbox, Opinion(lambda position: position != 1)).attempt(never)
    first, second = broker.messages
    body = json.loads(first.body)
    assert (first.type, body["type"], body["data"]) == (WITHHELD_TYPE, WITHHELD_TYPE, {"type": HIDDEN})
    assert (first.id, first.routing_key, body["source"]) == (events[0].id, events[0].routing_key, SOURCE)
    assert "subject" not in body
    assert (int(body["sequence"]), int(body["typesequence"])) == (1, 1)
    assert json.loads(second.body)["data"] == {"id": 2}
    assert figures(outbox)["streams"]["public"]["pending"] == 0


def test_a_stand_in_has_no_word_of_the_key_if_the_check_says_so(outbox: Outbox) -> None:
    broker = MemoryBroker()
    (stored,) = outbox.append([hidden(1)])
    no_key = Opinion(lambda _: Verdict(send=False, keeps_key=False))
    delivery_to(broker, outbox, no_key).attempt(never)
    assert [message.routing_key for message in broker.messages] == ["bugzilla.bug.hidden._"]
    with outbox.reading() as db:
        # A replay has it too.
        assert db.execute("SELECT routing_key FROM events WHERE position = ?", (stored.position,)).fetchall() == [
            ("bugzilla.bug.hidden._",)
        ]


def test_a_consumer_of_the_type_sees_no_gap(outbox: Outbox, tmp_path: Path) -> None:
    url = log_url(tmp_path)
    gate = Gate(outbox, {"bugzilla": lambda _: Opinion(lambda position: position != 2)})
    delivery = Delivery(
        outbox,
        "public",
        lambda: open_publisher(url, exchange="sourcepulse"),
        exchange="sourcepulse",
        clock=lambda: 0.0,
        gate=gate,
    )
    with Consumer(str(url), ["bugzilla.bug.hidden.#"], state=tmp_path / "state") as consumer:
        consumer.open()
        outbox.append([hidden(number) for number in range(1, 4)])
        delivery.attempt(never)
        events = receive(consumer, 3, 20)
        delivery.close()
        assert [event.type for event in events] == [HIDDEN, WITHHELD_TYPE, HIDDEN]
        for event in events:
            check_data(event)
        assert consumer.stats.gaps == 0


def test_what_was_withheld_stays_so_whatever_is_public_later(outbox: Outbox) -> None:
    broker, opinion = MemoryBroker(), Opinion(lambda _: False)
    outbox.append([hidden(1)])
    delivery_to(broker, outbox, opinion).attempt(never)
    opinion.allows = lambda _: True
    request_replay(outbox, 1)
    delivery_to(broker, outbox, opinion).attempt(never)
    assert [body["type"] for body in bodies(broker)] == [WITHHELD_TYPE, WITHHELD_TYPE]
    assert len(opinion.asked) == 1


def test_a_replay_is_asked_about_again(outbox: Outbox) -> None:
    broker, opinion = MemoryBroker(), Opinion()
    outbox.append([hidden(1)])
    delivery_to(broker, outbox, opinion).attempt(never)
    opinion.allows = lambda _: False
    request_replay(outbox, 1)
    delivery_to(broker, outbox, opinion).attempt(never)
    first, again = bodies(broker)
    assert (first["type"], again["type"], again["replayed"]) == (HIDDEN, WITHHELD_TYPE, True)


def test_a_crash_between_withholding_and_sending_changes_nothing(outbox: Outbox) -> None:
    def gone(_: Any) -> Outcome:
        raise BrokerUnavailableError("gone")

    opinion = Opinion(lambda _: False)
    outbox.append([hidden(1)])
    delivery_to(MemoryBroker(judge=gone), outbox, opinion).attempt(never)
    opinion.allows = lambda _: True
    broker = MemoryBroker()
    delivery_to(broker, outbox, opinion).attempt(never)
    assert [body["type"] for body in bodies(broker)] == [WITHHELD_TYPE]


def test_what_was_withheld_is_gone_from_the_file(tmp_path: Path) -> None:
    secret = "a-secret-that-nobody-may-find"
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([hidden(1)._replace(data={"id": 1, "secret": secret * 100}), hidden(2)])
        delivery_to(MemoryBroker(), outbox, Opinion(lambda position: position != 1)).attempt(never)
    # The last to close it empties the write-ahead log.
    assert not [file for file in tmp_path.iterdir() if secret.encode() in file.read_bytes()]


def test_no_answer_means_wait_and_is_shown(outbox: Outbox) -> None:
    def silent(_: int) -> bool:
        raise VisibilityUnknownError("Bugzilla does not answer")

    broker, opinion = MemoryBroker(), Opinion(silent)
    outbox.append([hidden(1)])
    report = delivery_to(broker, outbox, opinion).attempt(never)
    assert (broker.messages, str(report.error)) == ([], "Bugzilla does not answer")
    assert "does not answer" in str(figures(outbox)["streams"]["public"])
    opinion.allows = lambda _: True
    assert delivery_to(broker, outbox, opinion).attempt(never).delivered == 1


def test_what_was_sent_before_the_check_failed_is_settled(outbox: Outbox) -> None:
    hands, broker, opinion = Hands(), MemoryBroker(), Opinion()
    outbox.append([hidden(number) for number in range(1, 4)])

    def slow(position: int) -> bool:
        if len(opinion.asked) > 1:
            raise VisibilityUnknownError("no more")
        return True

    opinion.allows = slow
    delivery = delivery_to(broker, outbox, opinion, clock=hands)
    outbox.append([hidden(4)])
    report = delivery.attempt(never)
    assert [body["data"]["id"] for body in bodies(broker)] == list(range(1, report.delivered + 1))
    assert 0 < report.delivered < 4
    assert figures(outbox)["streams"]["public"]["pending"] == 4 - report.delivered


def cast(*members: Any) -> Verdict:
    return Verdict(*members)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [Verdict(send=True)] * 2,
        [True],
        [1],
        [None],
        [(True, None, None)],
        [cast(1)],
        [cast("yes")],
        [cast(None)],
        [cast(True, [])],
        [cast(True, "data")],
        [cast(False, None, 7)],
        [cast(False, None, "")],
    ],
)
def test_an_answer_that_makes_no_sense_lets_nothing_pass_and_withholds_nothing(
    outbox: Outbox, answers: list[Any]
) -> None:
    opinion = Opinion()
    opinion.ask = lambda events: answers  # type: ignore[method-assign]
    broker = MemoryBroker()
    outbox.append([hidden(1)])
    report = delivery_to(broker, outbox, opinion).attempt(never)
    assert isinstance(report.error, VisibilityUnknownError)
    assert broker.messages == []
    opinion.ask = lambda events: [Verdict(send=True)]  # type: ignore[method-assign]
    delivery_to(broker, outbox, opinion).attempt(never)
    assert [body["type"] for body in bodies(broker)] == [HIDDEN]


# -- what is reduced


def linked(number: int) -> Event:
    return hidden(number)._replace(data={"id": number, "blocks": [5, 4711], "note": "x" * 100})


REDUCED = {"id": 1, "blocks": [5], "note": "x" * 100}


def test_a_reduced_event_is_sent_with_everything_else_as_it_was(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([linked(1), linked(2)])
    before = json.loads(outbox.claim("public")[0].body)
    opinion = Opinion(lambda position: Verdict(send=True, data=REDUCED) if position == 1 else True)
    delivery_to(broker, outbox, opinion).attempt(never)
    first, second = bodies(broker)
    assert first == before | {"data": REDUCED}
    assert list(first) == list(before)
    assert second["data"]["blocks"] == [5, 4711]


def test_a_retry_and_a_replay_of_a_reduced_event_send_the_same_bytes(outbox: Outbox) -> None:
    sent = []

    def gone(message: Any) -> Outcome:
        sent.append(message.body)
        raise BrokerUnavailableError("gone")

    opinion = Opinion(lambda _: Verdict(send=True, data=REDUCED))
    outbox.append([linked(1)])
    delivery_to(MemoryBroker(judge=gone), outbox, opinion).attempt(never)
    # What became public again does not come back.
    opinion.allows = lambda _: True
    broker = MemoryBroker()
    delivery_to(broker, outbox, opinion).attempt(never)
    request_replay(outbox, 1)
    delivery_to(broker, outbox, opinion).attempt(never)
    assert [broker.messages[0].body] == sent
    first, again = bodies(broker)
    assert again == first | {"replayed": True}
    assert first["data"] == REDUCED


def test_what_was_reduced_is_gone_from_the_file(tmp_path: Path) -> None:
    secret = "a-secret-that-nobody-may-find"
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([linked(1)._replace(data={"id": 1, "summary": secret * 100}), hidden(2)])
        opinion = Opinion(lambda position: Verdict(send=True, data={"id": 1, "summary": ""}) if position == 1 else True)
        report = delivery_to(MemoryBroker(), outbox, opinion).attempt(never)
    assert report.delivered == 2
    assert not [file for file in tmp_path.iterdir() if secret.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"id": 1, "blocks": []},
        REDUCED | {"more": 1},
        {"id": 1, "Blocks": [], "note": ""},
        REDUCED | {"note": "\ud800"},
        REDUCED | {"note": float("nan")},
        REDUCED | {"note": object()},
    ],
)
def test_data_of_another_form_are_not_sent(outbox: Outbox, data: dict[str, Any]) -> None:
    broker = MemoryBroker()
    outbox.append([linked(1)])
    before = outbox.claim("public")
    report = delivery_to(broker, outbox, Opinion(lambda _: Verdict(send=True, data=data))).attempt(never)
    assert "returned data that do not match the event at position 1" in str(report.error)
    assert (broker.messages, outbox.claim("public")) == ([], before)


def test_data_for_damaged_bytes_are_not_sent(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([linked(1)])
    with outbox.writing() as db:
        db.execute("UPDATE bodies SET body = ? WHERE position = 1", (b"{",))
    delivery_to(broker, outbox, Opinion(lambda _: Verdict(send=True, data=REDUCED))).attempt(never)
    assert broker.messages == []


def test_a_stand_in_has_the_subject_of_the_verdict_and_keeps_it(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([hidden(1)])
    delivery_to(broker, outbox, Opinion(lambda _: Verdict(send=False, subject="bug/1"))).attempt(never)
    request_replay(outbox, 1)
    delivery_to(broker, outbox, Opinion()).attempt(never)
    assert [(body["type"], body["subject"]) for body in bodies(broker)] == [(WITHHELD_TYPE, "bug/1")] * 2
    assert [row["subject"] for row in rows(outbox, Selection())] == ["bug/1"]


def test_without_the_plugin_nothing_of_bugzilla_is_published(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([hidden(1)])
    delivery = Delivery(outbox, "public", broker.publisher, exchange="x", clock=lambda: 0.0, gate=Gate(outbox, {}))
    report = delivery.attempt(never)
    assert broker.messages == []
    assert "no installed plugin" in str(report.error)


def test_other_families_are_not_asked_about(outbox: Outbox) -> None:
    broker, opinion = MemoryBroker(), Opinion(lambda _: False)
    outbox.append([hidden(1, source="hg://host/repository")])
    assert delivery_to(broker, outbox, opinion).attempt(never).delivered == 1
    assert opinion.asked == []
    assert bodies(broker)[0]["type"] == HIDDEN


def test_an_answer_that_has_become_old_is_asked_again(outbox: Outbox) -> None:
    hands, broker = Hands(), MemoryBroker()
    opinion = Opinion()
    gate = Gate(outbox, {"bugzilla": lambda _: opinion}, clock=hands)
    outbox.append([hidden(number) for number in range(1, 4)])
    claimed = [(event.position, event) for event in outbox.claim("public")]
    passing = gate.passing(claimed, ready=lambda: broker)
    next(passing)
    hands.now += ANSWER_MAX_AGE_SECONDS + 0.1
    opinion.allows = lambda position: position != 2
    assert next(passing)[1].type == WITHHELD_TYPE
    assert opinion.asked == [[1, 2, 3], [2, 3]]


def test_damaged_bytes_that_may_be_private_are_never_sent(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([hidden(1), hidden(2)])
    with outbox.writing() as db:
        db.execute("UPDATE bodies SET body = ? WHERE position = 1", (b"{",))
    report = delivery_to(broker, outbox, Opinion(lambda position: position != 1)).attempt(never)
    assert (report.buried, report.delivered) == (1, 1)
    assert [body["data"] for body in bodies(broker)] == [{"id": 2}]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_nothing_is_sent_that_was_not_public_when_last_asked(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    last: dict[int, bool] = {}
    ever: set[int] = set()

    def flips(position: int) -> bool:
        if data.draw(st.integers(0, 9)) == 0:
            raise VisibilityUnknownError("not now")
        last[position] = data.draw(st.booleans())
        if not last[position]:
            ever.add(position)
        return last[position]

    def judge(_: Any) -> Outcome:
        if data.draw(st.integers(0, 5)) == 0:
            raise BrokerUnavailableError("gone")
        return Outcome.DELIVERED

    with tempfile.TemporaryDirectory() as folder, Outbox.open(Path(folder) / "o.db") as outbox:
        outbox.append([hidden(number) for number in range(1, count + 1)])
        broker = MemoryBroker(judge=judge)
        delivery = delivery_to(broker, outbox, Opinion(flips))
        for _ in range(60):
            delivery.attempt(never)
        sent = bodies(broker)
        for body in sent:
            position = int(body["sequence"])
            # What was once withheld is never published again.
            assert (body["type"] == HIDDEN) or position in ever
        withheld = {int(body["sequence"]) for body in sent if body["type"] == WITHHELD_TYPE}
        for position in withheld:
            types = [body["type"] for body in sent if int(body["sequence"]) == position]
            assert types == sorted(types), "published again after it was withheld"
