# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Of what the public stream never showed it does not say that it was hidden; what it may have shown it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.brokers import Message, Outcome
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.outgoing.replays import request_replay
from sourcepulse.outbox.outgoing.visibility import Gate, Verdict
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse.outbox.repair import repair
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker
from sourcepulse_bugzilla.visibility.check import open_check
from sourcepulse_bugzilla.visibility.folder_of_site import open_site
from sourcepulse_bugzilla.visibility.never_shown import step_of
from support.bugzilla.rows import SITE, SOURCE
from support.bugzilla.standin import StandIn

#: The words of a thing and what they are about; comments and attachments name their bug.
PARTS = ("bug", "comment", "attachment")
BUG_ID = 7


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


@pytest.fixture
def outbox(tmp_path: Path, bugzilla: StandIn) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db") as opened:
        open_site(opened, SITE, bugzilla.folder, "perl")
        yield opened


class Story:
    """Events of one thing, stored one after the other, and what the public got of them."""

    def __init__(self, bugzilla: StandIn, outbox: Outbox, part: str = "bug") -> None:
        self.bugzilla = bugzilla
        self.outbox = outbox
        self.part = part
        self.broker = MemoryBroker()
        self._count = 0

    def happens(self, *facts: str, recovered: bool = False) -> None:
        """Store events of these facts."""
        for fact in facts:
            self._count += 1
            self.outbox.append([self._event(fact, recovered=recovered)])

    def sees(self, verdicts: dict[str, Any], judge: Callable[[Message], Outcome] | None = None) -> list[str]:
        """Deliver while Bugzilla says this of facts, and return the facts that arrived; `-` was withheld."""
        said = {f"bugzilla.{self.part}.{fact}.v1": verdict for fact, verdict in verdicts.items()}
        self.bugzilla.say("verdicts.json", said)
        broker = MemoryBroker(judge=judge) if judge else MemoryBroker()
        gate = Gate(self.outbox, {"bugzilla": open_check})
        with closing(
            Delivery(
                self.outbox, "public", broker.publisher, exchange="x", clock=lambda: 0.0, gate=gate, jitter=lambda: 0.0
            )
        ) as delivery:
            delivery.attempt(lambda: False)
        self.last = [decode(message.body, routing_key=message.routing_key) for message in broker.messages]
        return ["-" if event.type.startswith("system.") else event.type.split(".")[2] for event in self.last]

    def _event(self, fact: str, *, recovered: bool = False) -> Event:
        shown = {"bug": {"id": BUG_ID}} if self.part == "bug" else {self.part: {"id": 55, "bug_id": BUG_ID}}
        bare = {"id": BUG_ID} if self.part == "bug" else {"id": 55, "bug_id": BUG_ID}
        return Event.of(
            f"bugzilla.{self.part}.{fact}.v1",
            source=SOURCE,
            key=[str(self._count)],
            subject=f"bug/{BUG_ID}",
            time=1_795_345_780,
            data=bare if fact in ("hidden", "deleted") else shown | {"recovered": recovered},
            words=["Core", "DOM"],
        )


NO = {"send": False, "bug": None}
PUBLIC_BUG = {"send": False, "bug": BUG_ID}


@pytest.fixture(params=PARTS)
def story(bugzilla: StandIn, outbox: Outbox, request: pytest.FixtureRequest) -> Story:
    return Story(bugzilla, outbox, request.param)


@pytest.fixture
def bug(bugzilla: StandIn, outbox: Outbox) -> Story:
    return Story(bugzilla, outbox)


@pytest.mark.parametrize("shows", ["created", "published"])
def test_what_was_never_shown_is_not_hidden_in_one_batch_or_in_two(story: Story, shows: str) -> None:
    story.happens(shows, "hidden")
    assert story.sees({shows: NO}) == ["-", "-"]
    # Of a comment or an attachment the bug is public: that is why Bugzilla would have had it sent.
    assert story.last[1].subject == (None if story.part == "bug" else f"bug/{BUG_ID}")
    story.happens(shows)
    assert story.sees({shows: NO}) == ["-"]
    story.happens("hidden")
    assert story.sees({}) == ["-"]


def test_what_was_shown_is_hidden(story: Story) -> None:
    story.happens("created", "hidden", "published", "hidden")
    assert story.sees({}) == ["created", "hidden", "published", "hidden"]


def test_what_was_there_before_the_stream_is_hidden(story: Story) -> None:
    story.happens("hidden")
    assert story.sees({}) == ["hidden"]


def test_what_was_shown_before_its_creation_was_found_is_hidden(bug: Story) -> None:
    bug.happens("changed")
    assert bug.sees({}) == ["changed"]
    bug.happens("created", recovered=True)
    bug.happens("hidden")
    assert bug.sees({"created": NO}) == ["-", "hidden"]


def test_what_is_published_later_is_hidden_after_that(story: Story) -> None:
    story.happens("created", "hidden")
    assert story.sees({"created": NO}) == ["-", "-"]
    story.happens("published")
    assert story.sees({}) == ["published"]
    story.happens("hidden")
    assert story.sees({}) == ["hidden"]


def test_what_was_hidden_in_vain_and_not_published_again_is_still_to_be_hidden(story: Story) -> None:
    story.happens("created")
    assert story.sees({}) == ["created"]
    # As when requirelogin is turned on and off: the readers still have it.
    story.happens("hidden", "published")
    assert story.sees({"hidden": NO, "published": NO}) == ["-", "-"]
    story.happens("hidden")
    assert story.sees({}) == ["hidden"]
    # A mirror reads again what it knows, which does no harm.
    story.happens("published", "hidden")
    assert story.sees({"published": NO}) == ["-", "hidden"]


def test_what_is_shown_is_hidden_though_that_it_was_published_again_was_withheld(story: Story) -> None:
    story.happens("created")
    assert story.sees({}) == ["created"]
    # It was hidden and published past every hook, and hidden again before that was sent.
    story.happens("published", "hidden")
    assert story.sees({"published": NO}) == ["-", "hidden"]


def test_what_is_published_and_hidden_before_it_is_sent_was_never_shown(story: Story) -> None:
    story.happens("published", "hidden")
    assert story.sees({"published": NO}) == ["-", "-"]


def test_a_bug_that_was_never_shown_is_not_deleted_either(bug: Story) -> None:
    bug.happens("created", "deleted")
    assert bug.sees({"created": NO}) == ["-", "-"]
    assert [event.subject for event in bug.last] == [None, None]


def test_the_deletion_of_a_bug_that_was_shown_is_sent(bug: Story) -> None:
    bug.happens("created", "deleted")
    assert bug.sees({}) == ["created", "deleted"]


def test_a_stand_in_of_what_hides_names_the_bug_as_bugzilla_says(story: Story) -> None:
    story.happens("created", "hidden")
    assert story.sees({"created": PUBLIC_BUG, "hidden": PUBLIC_BUG}) == ["-", "-"]
    assert [event.subject for event in story.last] == [f"bug/{BUG_ID}"] * 2


def gone(_: Message) -> Outcome:
    raise BrokerUnavailableError("gone")


def test_what_was_offered_and_not_confirmed_may_have_been_shown(story: Story) -> None:
    story.happens("created")
    assert story.sees({}, judge=gone) == []
    story.happens("hidden")
    assert story.sees({"created": NO}) == ["-", "hidden"]


def test_a_crash_after_the_mark_and_before_the_event_is_withheld_changes_nothing(story: Story) -> None:
    story.happens("created")
    story.bugzilla.say("verdicts.json", {"*": NO})
    with closing(open_check(story.outbox)) as check:
        assert check.ask(story.outbox.claim("public")) == [Verdict(send=False)]
    story.happens("hidden")
    assert story.sees({"created": NO}) == ["-", "-"]


def test_what_is_public_again_after_such_a_crash_is_shown_and_then_hidden(story: Story) -> None:
    story.happens("created")
    story.bugzilla.say("verdicts.json", {"*": NO})
    with closing(open_check(story.outbox)) as check:
        check.ask(story.outbox.claim("public"))
    assert story.sees({}) == ["created"]
    story.happens("hidden")
    assert story.sees({}) == ["hidden"]


@pytest.mark.parametrize("by_an_earlier_version", [False, True])
def test_a_replay_that_is_withheld_makes_no_mark(story: Story, by_an_earlier_version: bool) -> None:
    story.happens("created")
    assert story.sees({}) == ["created"]
    if by_an_earlier_version:
        with story.outbox.writing() as db:
            db.execute("DELETE FROM meta WHERE name LIKE 'bugzilla offered %'")
    request_replay(story.outbox, 1)
    assert story.sees({"created": NO}) == ["-"]
    story.happens("hidden")
    assert story.sees({}) == ["hidden"]


def test_a_replay_of_what_hid_it_is_sent_though_it_was_not_shown_again(story: Story) -> None:
    story.happens("created", "hidden")
    assert story.sees({}) == ["created", "hidden"]
    story.happens("published")
    assert story.sees({"published": NO}) == ["-"]
    request_replay(story.outbox, 2)
    assert story.sees({}) == ["hidden"]


def test_things_of_one_number_and_of_two_kinds_are_two(bugzilla: StandIn, outbox: Outbox) -> None:
    said, file = Story(bugzilla, outbox, "comment"), Story(bugzilla, outbox, "attachment")
    said.happens("created")
    said.sees({"created": NO})
    file.happens("hidden")
    assert file.sees({}) == ["hidden"]


def test_marks_are_kept_when_the_outbox_is_repaired(bugzilla: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as opened:
        open_site(opened, SITE, bugzilla.folder, "perl")
        story = Story(bugzilla, opened)
        story.happens("created")
        assert story.sees({"created": NO}) == ["-"]
    repair(path)
    with Outbox.open(path) as opened:
        story.outbox = opened
        story.happens("hidden")
        assert story.sees({}) == ["-"]
        assert [found["state"] for found in rows(opened, Selection())] == ["delivered"] * 2


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("bugzilla.bug.changed.v1", {"bug": {"id": 1}}),
        ("bugzilla.flag.requested.v1", {"bug_id": 1}),
        ("bugzilla.product.created.v1", {"product": {"id": 1}}),
        ("bugzilla.product.deleted.v1", {"product": {"id": 1}}),
        ("bugzilla.attachment.deleted.v1", {"attachment": {"id": 1}}),
        ("bugzilla.bug.created.v1", {}),
        ("bugzilla.bug.created.v1", {"bug": None}),
        ("bugzilla.comment.hidden.v1", {}),
        ("hg.bug.hidden.v1", {"id": 1}),
        ("bugzilla.bug", {}),
        ("", {}),
    ],
)
def test_other_events_neither_show_nor_hide(type_: str, data: Any) -> None:
    assert step_of(type_, data) is None
