# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Random appends, repeats, withdrawals, trims and reads: each event once and in order, and never a withdrawn text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.brokers.file.admin import dead_letters, queue_statistics
from sourcepulse.brokers.file.log import trim
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.brokers.file.subscription import LocalSubscription
from sourcepulse.brokers.file.tables import LogFile
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from support.brokers.embedded_log import EXCHANGE, as_message, log_url, spec, subscribe
from support.events.bugzilla_events import Site, withheld

BUGS = st.integers(1, 3)
PARTS = st.integers(1, 3)
SIZES = st.sampled_from([0, 300, 1_500, 5_000])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["changed", "comment", "attachment"]), BUGS, PARTS, SIZES),
    st.tuples(st.sampled_from(["again", "replayed", "withheld"]), st.integers(0, 30)),
    st.tuples(st.sampled_from(["bug hidden", "comment hidden", "attachment hidden"]), BUGS, PARTS),
    st.tuples(st.just("commit")),
    st.tuples(st.just("trim"), st.integers(1, 4)),
    st.tuples(st.just("receive"), st.integers(1, 4)),
    st.tuples(st.just("reject")),
    st.tuples(st.just("return")),
)


class Walk:
    """The log and, beside it, what must be in it."""

    def __init__(self, folder: Path) -> None:
        self.url = log_url(folder)
        self.site = Site()
        self.publisher = LocalPublisher(self.url, exchange=EXCHANGE)
        self.publisher.open()
        self.queue: LocalSubscription = self._subscribed()
        #: All that was stored, in order; the position is one more than the index.
        self.stored: list[Event] = []
        self.batch: list[Event] = []
        self.blank: set[int] = set()
        self.trimmed = 0
        self.taken = 0
        #: The dead letters that are no stand-ins.
        self.dead: dict[str, Event] = {}

    def _subscribed(self) -> LocalSubscription:
        return subscribe(self.url, spec("#", queue="q", prefetch=3))

    def step(self, what: str, *values: Any) -> None:
        getattr(self, f"_{what.replace(' ', '_')}")(*values)

    def _add(self, event: Event) -> None:
        self.publisher.send(as_message(event))
        self.batch.append(event)

    def _text(self, size: int) -> str:
        return f"text-{len(self.stored) + len(self.batch):05d}" + "x" * size

    def _changed(self, bug: int, _: int, size: int) -> None:
        self._add(self.site.changed(bug, self._text(size)))

    def _comment(self, bug: int, number: int, size: int) -> None:
        self._add(self.site.comment(bug, number, self._text(size)))

    def _attachment(self, bug: int, number: int, size: int) -> None:
        self._add(self.site.attachment(bug, number, self._text(size)))

    def _again(self, which: int) -> None:
        if self.stored:
            self._add(self.stored[which % len(self.stored)])

    def _replayed(self, which: int) -> None:
        if self.stored:
            self._add(self.stored[which % len(self.stored)]._replace(replayed=True))

    def _withheld(self, which: int) -> None:
        if self.stored and (event := self.stored[which % len(self.stored)]).subject is not None:
            self._add(withheld(event))

    def _bug_hidden(self, bug: int, _: int) -> None:
        self._add(self.site.bug_hidden(bug))

    def _comment_hidden(self, bug: int, number: int) -> None:
        self._add(self.site.part_hidden("comment", bug, number))

    def _attachment_hidden(self, bug: int, number: int) -> None:
        self._add(self.site.part_hidden("attachment", bug, number))

    def _commit(self) -> None:
        self.publisher.settle(5)
        for event in self.batch:
            kept = list(self.kept())
            self.stored.append(event)
            self.blank |= {
                position for position, each in kept if position not in self.blank and self._withdraws(event, each, kept)
            }
            self.dead = {id_: each for id_, each in self.dead.items() if not self._withdraws(event, each, kept)}
            again = any(each.id == event.id and self._is_stand_in(position) for position, each in kept)
            late = any(
                each.type.endswith(".hidden.v1")
                and position not in self.blank
                and each.numbers > event.numbers
                and self._hides(each, event)
                for position, each in kept
            )
            if event.data.keys() != {"type"} and (again or late):
                self.blank.add(len(self.stored))
        self.batch = []

    def kept(self) -> Iterator[tuple[int, Event]]:
        yield from enumerate(self.stored[self.trimmed :], self.trimmed + 1)

    def _is_stand_in(self, position: int) -> bool:
        return position in self.blank or self.stored[position - 1].data.keys() == {"type"}

    def _withdraws(self, cause: Event, event: Event, kept: list[tuple[int, Event]]) -> bool:
        """Return whether an event withdraws another, by the words of the contract."""
        if cause.data.keys() == {"type"}:
            copies = [
                each for position, each in kept if each.id == cause.id and each.subject and position not in self.blank
            ]
            copies += [each for each in self.dead.values() if each.id == cause.id]
            if event.id == cause.id:
                return event.data.keys() != {"type"}
            return event.subject in {each.subject for each in copies} and self._has_text(event)
        return self._hides(cause, event)

    @staticmethod
    def _has_text(event: Event) -> bool:
        return event.type.endswith(("changed.v1", "created.v1"))

    def _hides(self, notice: Event, event: Event) -> bool:
        if not notice.type.endswith(".hidden.v1") or event.subject != notice.subject or not self._has_text(event):
            return False
        part = notice.type.split(".")[1]
        return part == "bug" or event.data.get(part, {}).get("id") == notice.data["id"]

    def forbidden(self) -> set[str]:
        """Return the texts of events of which the last copy is withdrawn."""
        last = {event.id: (position, event) for position, event in enumerate(self.stored, 1) if self._has_text(event)}
        return {text for position, event in last.values() if position in self.blank and (text := self.secret(event))}

    def _trim(self, rows: int) -> None:
        self._commit()
        with closing(LogFile(Path(self.url.path))) as log, log.write() as db:
            self.trimmed += trim(db, rows, 0.0, keep_bytes=0, keep_seconds=0)

    def _receive(self, count: int) -> None:
        self._commit()
        for _ in range(count):
            if (delivery := self.queue.receive(0)) is None:
                return
            self._check(delivery.body)
            self.taken += 1
            self.queue.acknowledge(delivery)

    def _reject(self) -> None:
        self._commit()
        if (delivery := self.queue.receive(0)) is not None:
            self._check(delivery.body)
            self.queue.reject(delivery, "no")
            event = decode(delivery.body, routing_key=delivery.routing_key)
            if event.subject is not None:
                self.dead[event.id] = event

    def _return(self) -> None:
        self.queue.close()
        self.queue = self._subscribed()

    def _check(self, body: bytes) -> None:
        assert not [text for text in self.forbidden() if text.encode() in body]

    @staticmethod
    def secret(event: Event) -> str | None:
        for name, field in (("bug", "summary"), ("comment", "text"), ("attachment", "summary")):
            if name in event.data:
                return str(event.data[name][field])[: len("text-00000")]
        return None

    def check_readers(self) -> None:
        with closing(LogReader(Path(self.url.path), EXCHANGE)) as reader:
            assert reader.bounds() == (self.trimmed + 1, len(self.stored))
            for after in range(0, len(self.stored) + 1, 3):
                begin = max(after, self.trimmed)
                rows = reader.read(after, limit=10_000)
                kept: list[int] = []
                seen = {event.id for event in self.stored[self.trimmed : begin]}
                for position, event in enumerate(self.stored[begin:], begin + 1):
                    if event.id not in seen or event.replayed:
                        kept.append(position)
                    seen.add(event.id)
                assert [row.position for row in rows] == kept
                for row in rows:
                    self._check(row.body)
                    event = self.stored[row.position - 1]
                    want = withheld(event) if row.position in self.blank else event
                    assert decode(row.body, routing_key=row.routing_key) == want
                    assert row.withdrawn is (row.position in self.blank)

    def check_queue(self) -> None:
        (found,) = queue_statistics(self.url)
        letters = dead_letters(self.url, "q")
        for letter in letters:
            self._check(letter.body)
        assert found.dead == len(letters)
        come = found.pending + found.leased + self.taken + found.dead
        assert come <= len(self.stored) <= come + found.lost
        if not self.trimmed:
            # What a consumer held when it was trimmed counts as lost, and may be delivered all the same.
            assert (come, found.lost) == (len(self.stored), 0)

    def check_files(self) -> None:
        path = Path(self.url.path)
        raw = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*") if each.is_file())
        self._check(raw)
        still = {event.id for event in self.stored[self.trimmed :]} | set(self.dead)
        for event in self.stored[: self.trimmed]:
            if event.id not in still and (text := self.secret(event)):
                assert text.encode() not in raw, text


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_any_walk_reads_each_event_once_and_never_a_withdrawn_text(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder:
        walk = Walk(Path(folder))
        for step in steps:
            walk.step(*step)
        walk.step("commit")
        walk.check_readers()
        walk.queue.close()
        walk.check_queue()
        walk.publisher.close()
        walk.check_files()
