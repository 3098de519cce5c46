# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A long walk through a Bugzilla: steps, rows, outbox, check and broker, and after each part of it what went wrong.

What a visitor could see is read from the tables after each step, and held against what was sent.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sourcepulse.brokers import Message
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.subscription import LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import VisibilityUnknownError
from sourcepulse.events.event import PUBLIC, Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import DELIVERED, WITHHELD_TYPE, Outbox
from sourcepulse.outbox.outgoing.replays import request_replay
from sourcepulse.outbox.outgoing.visibility import Gate, check_openers
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse.relay.sender import Delivery
from sourcepulse_bugzilla.errors import SiteConflictError
from sourcepulse_bugzilla.lifecycle.session import Work, claim, open_session
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.perl.requests import command_for
from support.brokers.embedded_log import spec
from support.bugzilla.judge import (
    Expected,
    Fault,
    can_be_recomputed,
    text,
)
from support.bugzilla.steps import Step, WalkSteps
from support.bugzilla.stream import PublishedStream, Sent, Sight
from support.bugzilla.tree import BugzillaTree
from support.bugzilla.visitor import Visitor
from support.events.schema_check import check_data

EXCHANGE = "walk"
BATCH = 30
#: So many bugs are read by a visitor after each batch.
BUGS_VISITED = 2
MAX_BYTES = 262_144
#: So many events of a walk are tried to be recomputed.
IDS_TRIED = 3
RECEIVE_SECONDS = 0.02
#: So many events are sent once more at the end.
REPLAYED = 60
#: One of this many events is checked by its schema, which takes longer than all else.
SCHEMA_EVERY = 10


class _Recorder(LocalPublisher):
    """A publisher that keeps the bytes of what it sent."""

    def __init__(self, url: BrokerUrl, exchange: str, sent: deque[bytes]) -> None:
        super().__init__(url, exchange=exchange)
        self._sent = sent

    def send(self, message: Message) -> None:
        self._sent.append(message.body)
        super().send(message)


class Walk:
    """One Bugzilla, one outbox and one embedded log; use it as a context manager.

    `faults` is what went wrong so far.
    """

    def __init__(
        self, tree: BugzillaTree, folder: Path, seed: int, *, restricted: bool = True, visitor: Visitor | None = None
    ) -> None:
        self._visitor = visitor
        self.tree = tree
        self.outbox = folder / "outbox.db"
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.log: list[str] = []
        self._url = BrokerUrl(scheme="file", path=str(folder / "log.db"))
        self._chance = random.Random(seed)
        # Words that no earlier walk wrote: a real tree has what it made.
        self._steps = WalkSteps(seed, f"TOKEN{seed}b{tree.first_bug}")
        self._restricted = restricted
        self._stack = ExitStack()
        self._expected: list[Expected] = []
        self._stored: dict[str, Event] = {}
        self._sent: deque[bytes] = deque()
        self._position = 0
        self._published = 0
        self._second = 0
        self._step = 0
        self._reconciled_at = -1
        self._bugs_met: set[int] = set()
        self._sight_changed: dict[int, int] = {}
        self._site_changed = -1
        #: Since when nothing of these was held back, by the number of a step.
        self._hid_field = self._kept_quiet = -1
        #: Thin rows up to here were filled; what was done to a bug that was private then.
        self._filled_until = -1
        self._private_when_filled: set[Expected] = set()
        self._seen: set[str] = set()
        self._seen_size = 0

    def __enter__(self) -> Self:
        self.tree.begin()
        self.stream = PublishedStream(self.tree.first_bug, self._seen, self._fault)
        self._worker = self._stack.enter_context(self.tree.worker())
        self._worker.do({"do": "params", "set": {"sourcepulse_restricted": int(self._restricted)}})
        stop = self._stack.enter_context(Stop())
        self._session = self._stack.enter_context(open_session(self._work, stop, ServiceManager({})))
        self._session.drainer.lock()
        self._session.drain()
        self._session.reconcile()
        own = self._stack.enter_context(Outbox.open(self.outbox))
        self._subscription = self._stack.enter_context(
            closing(LocalSubscription(self._url, spec("#", queue="walk", exchange=EXCHANGE)))
        )
        self._subscription.open()
        self._delivery = self._stack.enter_context(closing(Delivery(
            own, PUBLIC, self._open_publisher, exchange=EXCHANGE, clock=time.time, gate=Gate(own, check_openers())
        )))  # fmt: skip
        self._reader = self._stack.enter_context(Outbox.open(self.outbox))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open_publisher(self) -> LocalPublisher:
        opened = _Recorder(self._url, EXCHANGE, self._sent)
        opened.open()
        return opened

    @property
    def _work(self) -> Work:
        return Work(command=command_for(self.tree.home), folder=self.tree.home, outbox=self.outbox, max_bytes=MAX_BYTES)

    # -- the walk

    def go_on(self, transitions: int) -> None:
        """Do steps, in batches, until there were that many; judge what comes of them."""
        while self._step < transitions:
            self.batch(BATCH)

    def play(self, steps: Iterable[Step]) -> None:
        """Do these steps; one that does `publish` drains, compares with the history if it may, and publishes."""
        for step in steps:
            if step["do"] == "publish":
                self._fetch(reconcile=step.get("reconcile", True))
                self.publish()
            else:
                self._do([step])

    def _do(self, steps: Sequence[Step]) -> None:
        self._worker.send({name: value for name, value in step.items() if name != "params"} for step in steps)
        for step in steps:
            self._note(step, self._worker.answer())

    def batch(self, count: int, *, is_settled: bool = True) -> None:
        """Do some steps; then, as chance will have it, drain, compare with the history and publish."""
        self._do(self._steps.take(count))
        if self._visitor is not None:
            self._visit(self._visitor)
        if not is_settled or self._chance.randrange(4) == 0:
            return
        self._fetch(reconcile=self._chance.randrange(3) == 0)
        if self._chance.randrange(3):
            self.publish()

    def two_folders(self, folder: Path) -> None:
        """Copy the tree, have a sidecar try the copy, and choose the first folder again.

        The copy knows nothing of what becomes private from now on, so it must never be asked for a verdict.
        """
        copy, asked = folder / "copy", folder / "asked"
        shutil.copytree(
            self.tree.home, copy, symlinks=True, ignore=shutil.ignore_patterns("sourcepulse.sock", "*.lock")
        )
        perl = folder / "perl"
        perl.write_text(f'#!/bin/sh\ntee -a {asked} | perl "$@"\n')
        perl.chmod(0o755)
        work = Work(command=command_for(copy, str(perl)), folder=copy, outbox=self.outbox, max_bytes=MAX_BYTES)
        with Stop() as stop:
            try:
                with open_session(work, stop, ServiceManager({})):
                    self._fault("a second folder of one site was served", "")
            except SiteConflictError:
                pass
        self.batch(BATCH, is_settled=False)
        self._session.drain()
        report = self._delivery.attempt(lambda: False)
        if not isinstance(report.error, VisibilityUnknownError) or list(self._received()):
            self._fault("sent while two folders claim one site", str(report))
        with Stop() as stop:
            claim(self._work, stop, ServiceManager({}))
        self.batch(BATCH, is_settled=False)
        self._fetch(reconcile=True)
        self.publish()
        for line in asked.read_text().splitlines():
            if json.loads(line)["do"] != "hello":
                self._fault("the copy was asked", line[:200])
        self.counts["two folders"] += 1

    def end(self) -> None:
        """Open the site, and publish all that is left."""
        if self._steps.params.requirelogin:
            self._do([self._steps.open_site()])
        self._fetch(reconcile=True)
        self._fetch(reconcile=True)
        self.publish()
        self._replay()
        self._try_ids()
        if self._session.buried:
            self._fault("a row was buried", "")

    def _note(self, step: Step, answer: Mapping[str, Any]) -> None:
        self._step += 1
        self.counts["transitions"] += 1
        self.counts[f"do {step['do']}"] += 1
        self._second += step.get("tick") or 0
        if step["params"].sourcepulse_hidden_fields:
            self._hid_field = self._step
        if not step["params"].sourcepulse_tell_hidden:
            self._kept_quiet = self._step
        if "error" in answer:
            self.errors[f"{step['do']}: {str(answer['error']).strip().splitlines()[0][:90]}"] += 1
        if answer["was_open"] != answer["is_open"]:
            self._site_changed = self._second
        self.log.append(f"{self._step} s{self._second} {json.dumps(step | {'params': None})} -> {json.dumps(answer)}")
        if not (answer["was_open"] and answer["is_open"]):
            return
        route = "history" if step.get("how") in ("missed", "blind") else answer.get("route", step.get("how") or "live")
        for what, number, bug, *more in answer["seen"]:
            if what in ("bug.shown", "bug.hidden"):
                self._sight_changed[bug] = self._second
            # A rename changes the names in all bugs; no bug has an event of it.
            if route == "thing" and not what.startswith(("product.", "component.", "version.", "milestone.")):
                continue
            its_route = "history" if what == "bug.linked" else route
            self._expected.append(
                Expected(what, number, bug, tuple(more), its_route, self._step, self._published, self._second)
            )

    def _note_filled(self) -> None:
        """Note what no row can say: a visitor could not see the bug when the thin row of it was filled."""
        state = self._worker.do({"do": "state"})
        if not state["is_open"]:
            # Thin rows wait.
            return
        self._private_when_filled.update(
            expected
            for expected in self._expected
            if expected.route == "thin"
            and expected.what not in ("bug.hidden", "bug.deleted")
            and expected.step > self._filled_until
            and expected.bug not in state["visible"]["bugs"]
        )
        self._filled_until = self._step

    def _fetch(self, *, reconcile: bool) -> None:
        self._session.drain()
        self._note_filled()
        if reconcile:
            self._session.reconcile()
            self._reconciled_at = self._step
        self._seen_now()
        for event in self._new_events():
            self._stored[event.id] = event
            if event.source.endswith("?restricted"):
                self.counts["restricted events"] += 1
                continue
            self.counts["public events"] += 1
            self.stream.judge_words(event)

    def _seen_now(self) -> None:
        with self.tree.journal.open() as file:
            file.seek(self._seen_size)
            self._seen.update(file.read().split())
            self._seen_size = file.tell()

    def _new_events(self) -> Iterator[Event]:
        with self._reader.reading() as db:
            found = db.execute(
                "SELECT position, routing_key, body FROM events JOIN bodies USING (position) WHERE position > ? "
                "ORDER BY position", (self._position,),
            ).fetchall()  # fmt: skip
        for position, key, body in found:
            self._position = position
            event = decode(body, routing_key=key)
            if position % SCHEMA_EVERY == 0:
                check_data(event)
            yield event

    # -- publishing

    def publish(self, *, is_replay: bool = False) -> None:
        """Send everything that is pending, and judge it."""
        state = self._worker.do({"do": "state"})
        is_open = bool(state["is_open"])
        report = self._delivery.attempt(lambda: False)
        if not is_open and isinstance(report.error, VisibilityUnknownError):
            # It waits until the site is open; a withheld event would be lost.
            if list(self._received()):
                self._fault("sent while the site is closed", str(report.error))
            return
        assert report.error is None, report.error
        assert report.buried == 0
        self._published += 1
        visible = {part: set(numbers) for part, numbers in state["visible"].items()}
        sight = Sight(visible, self._steps.params, is_open)
        for event in self._received():
            self.counts["sent"] += 1
            is_withheld = event.type == WITHHELD_TYPE
            self.counts["withheld"] += is_withheld
            stored = self._stored.get(event.id)
            if stored is None:
                self._fault("an event was sent that the outbox has not", event.type)
                continue
            sent = Sent(self._published, event, stored if is_withheld else None)
            self.stream.add(sent, stored, sight, is_replay=is_replay)
        self._settle(visible)

    def _visit(self, visitor: Visitor) -> None:
        """Read some bugs as an anonymous visitor, to see that the tables were read rightly."""
        state = self._worker.do({"do": "state"})
        visible = set(state["visible"]["bugs"])
        last = max(visible | self._bugs_met, default=0)
        self._bugs_met |= visible
        candidates = range(self.tree.first_bug, last + 1)
        for bug in self._chance.sample(candidates, min(BUGS_VISITED, len(candidates))):
            pages = visitor.read(bug)
            self.counts["pages read"] += 5
            if bug not in visible:
                if pages.now | pages.history:
                    self._fault(
                        "the visitor sees a bug that the tables hide", f"{bug} {sorted(pages.now | pages.history)}"
                    )
                continue
            missing = set(state["words"].get(str(bug), ())) - pages.now
            if missing:
                self._fault("the tables show more than the visitor sees", f"bug {bug} {sorted(missing)}")
            self.counts["words read"] += len(pages.now)

    def _received(self) -> Iterator[Event]:
        """Yield what was sent: the log keeps a stand-in of what an event of the same batch hid."""
        while (delivery := self._subscription.receive(RECEIVE_SECONDS)) is not None:
            self._subscription.acknowledge(delivery)
            sent, kept = (
                decode(body, routing_key=delivery.routing_key) for body in (self._sent.popleft(), delivery.body)
            )
            if kept.id != sent.id:
                self._fault("the log has another order", f"{sent.type} {sent.id}, {kept.type} {kept.id}")
            yield sent

    # -- what is missing

    def _settle(self, visible: Mapping[str, set[int]]) -> None:
        kept = []
        for expected in self._expected:
            if self.stream.is_published(expected):
                self.counts["published"] += 1
            elif expected.route == "history" and expected.step > self._reconciled_at:
                kept.append(expected)
            elif (why := self._waived(expected, visible)) is not None:
                self.counts[f"waived: {why}"] += 1
            else:
                about = f"{expected} now s{self._second}\n{self._story(expected)}"
                self._fault(f"loss of {expected.what} {expected.route}", about)
        self._expected = kept

    def _story(self, expected: Expected) -> str:
        """Return the steps around that which made the difference, and what was sent of the bug since."""
        near = self.log[max(0, expected.step - 4) : expected.step + 3]
        of_bug = self.stream.of(f"bug/{expected.bug}", expected.published)
        shown = [f"{sent.published} {sent.stored.type if sent.stored else ''} {text(sent.event)}" for sent in of_bug]
        return "\n".join([*(line[:600] for line in near), *(line[:400] for line in shown)])

    def _waived(self, expected: Expected, visible: Mapping[str, set[int]]) -> str | None:
        """Return why something need not be said; None if it must be."""
        part, what = expected.what.split(".")
        if expected.bug is not None and expected.bug not in visible["bugs"] and expected.what != "bug.hidden":
            return "private by now"
        is_part = part in ("bug", "comment", "attachment")
        if is_part and what in ("hidden", "deleted") and not self.stream.shows(f"{part} {expected.id}"):
            return "never shown"
        if is_part and what == "hidden" and expected.route != "live" and expected.id in visible[f"{part}s"]:
            # The stream shows it, as it should by now.
            return "shown again"
        if what == "linked" and int(expected.more[1]) not in visible["bugs"]:
            return "private by now"
        if part in ("comment", "attachment") and what != "hidden" and expected.id not in visible[f"{part}s"]:
            return "private by now"
        if expected in self._private_when_filled:
            return "private when the row was filled"
        if expected.more[:1] == ("cf_text",) and expected.step <= self._hid_field:
            return "hidden field"
        if what == "hidden" and expected.step <= self._kept_quiet:
            return "hiding is not published"
        if expected.route == "history":
            if expected.second <= self._sight_changed.get(expected.bug or 0, -1) + 1:
                return "in doubt: sight changed"
            if expected.second <= self._site_changed + 1:
                return "in doubt: site changed"
        return None

    def _replay(self) -> None:
        """Send some events again, long after: they contain no more than is public by now."""
        with self._reader.reading() as db:
            found = db.execute("SELECT position FROM events WHERE stream = ? AND state = ?", (PUBLIC, DELIVERED))
            positions = [row[0] for row in found]
        for position in self._chance.sample(positions, min(REPLAYED, len(positions))):
            request_replay(self._reader, position)
            self.counts["replayed"] += 1
        self.publish(is_replay=True)

    def _try_ids(self) -> None:
        """Try to recompute ids and change sets as a reader without the secret could."""
        public = [event for event in self._stored.values() if not event.source.endswith("?restricted")]
        known = {event.id for event in public} | {event.data.get("change_set") for event in public}
        for event in self._chance.sample(public, min(IDS_TRIED, len(public))):
            if can_be_recomputed(event, known):
                self._fault("an id can be recomputed", text(event))

    def _fault(self, what: str, about: str) -> None:
        self.faults.append(Fault(what, f"step {self._step}: {about}"))
