# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Before an event is published its own Bugzilla is asked; without an answer that makes sense the event waits."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import BrokerUnavailableError, VisibilityUnknownError
from sourcepulse.outbox.outbox import WITHHELD_TYPE, Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import Gate, Verdict
from sourcepulse.outbox.queries import Selection, figures
from sourcepulse.outbox.queries import rows as listed
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from sourcepulse_bugzilla.perl.requests import SCRIPT
from sourcepulse_bugzilla.visibility import check as visibility
from sourcepulse_bugzilla.visibility.check import Check, open_check
from sourcepulse_bugzilla.visibility.folder_of_site import open_site
from sourcepulse_bugzilla.visibility.folders import remember_folder
from support.bugzilla.rows import (
    BUG,
    BUG_ID,
    CHANGES,
    ID_SECRET,
    SITE,
    SOURCE,
    bug_create,
    bug_update,
    changed,
    comment,
    row,
)
from support.bugzilla.standin import StandIn

OTHER_SITE = "11111111-2222-4333-8444-555555555555"
SEND = Verdict(send=True)
WITHHOLD = Verdict(send=False)
#: The events `bug.created` and `comment.created` of the comments 5 and 6, and `bug.hidden`.
ROWS = [
    row("bug.create", bug_create(bug=changed(BUG, blocks=[1200]), comments=[comment(5), comment(6)])),
    row("bug.update", {"place": ["a", "b"], "old_place": ["a", "b"], "transition": "hidden", "id": BUG_ID}),
]
CHANGED = row("bug.update", bug_update(changes=CHANGES))


def store(outbox: Outbox, *raws: Any, source: str = SOURCE) -> list[Claimed]:
    """Store the public events of rows, and return them as the relay gets them."""
    events = [event for raw in raws for event in events_of(read_row(raw), Emitter(source, ID_SECRET))]
    after = max((event.position for event in outbox.claim("public")), default=0)
    outbox.append([event for event in events if event.stream == "public"])
    return outbox.claim("public", after=after)


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


@pytest.fixture
def outbox(tmp_path: Path, bugzilla: StandIn) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db") as opened:
        open_site(opened, SITE, bugzilla.folder, "perl")
        yield opened


@pytest.fixture
def check(outbox: Outbox) -> Iterator[Check]:
    with closing(open_check(outbox)) as opened:
        yield opened


def test_all_events_of_a_batch_are_one_question_each_time(bugzilla: StandIn, outbox: Outbox, check: Check) -> None:
    events = store(outbox, *ROWS)
    bugzilla.say("verdicts.json", {"bugzilla.comment.created.v1 6": {"send": False, "bug": BUG_ID}})
    assert check.ask(events) == [SEND, SEND, Verdict(send=False, subject=f"bug/{BUG_ID}"), SEND]
    assert bugzilla.asked() == ["hello", "check"]
    assert bugzilla.checked() == [{"type": event.type, "data": json.loads(event.body)["data"]} for event in events]
    # Of the same process, which is asked again how it is now.
    bugzilla.say("verdicts.json", {"bugzilla.bug.created.v1": {"send": False, "bug": None}})
    assert check.ask(events) == [WITHHOLD, SEND, SEND, SEND]
    assert bugzilla.asked() == ["hello", "check"] * 2
    assert check.ask([]) == []


def test_what_may_still_be_sent_comes_back_with_the_verdict(bugzilla: StandIn, outbox: Outbox, check: Check) -> None:
    (event,) = store(outbox, CHANGED)
    data = json.loads(event.body)["data"]
    reduced = data | {"bug": data["bug"] | {"blocks": []}}
    bugzilla.say("verdicts.json", {event.type: {"send": True, "data": reduced}})
    assert check.ask([event]) == [Verdict(send=True, data=reduced)]


def test_a_long_batch_becomes_several_requests_none_of_which_is_too_long(
    bugzilla: StandIn, outbox: Outbox, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visibility, "REQUEST_MAX_BYTES", 200_000)
    # In ASCII each is three times as long as in the outbox.
    raws = [row("bug.update", bug_update(comments=[comment(number, text="\u00e9" * 10_000)])) for number in range(20)]
    events = store(outbox, *raws)
    broken = events[3]._replace(body=events[3].body[:-1])
    bugzilla.say("verdicts.json", {"bugzilla.comment.created.v1 17": {"send": False}})
    assert check.ask([*events[:3], broken, *events[4:]]) == [
        WITHHOLD if number in (3, 17) else SEND for number in range(20)
    ]
    requests = (bugzilla.folder / "checked").read_text().splitlines()
    assert len(requests) > 3
    assert max(map(len, requests)) < 200_000
    assert [event["data"]["comment"]["id"] for event in bugzilla.checked()] == [*range(3), *range(4, 20)]


def test_an_event_larger_than_a_request_is_asked_about_alone(
    bugzilla: StandIn, outbox: Outbox, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visibility, "REQUEST_MAX_BYTES", 10)
    assert check.ask(store(outbox, *ROWS)) == [SEND] * 4
    assert bugzilla.asked().count("check") == 4


def test_bytes_that_are_not_an_event_are_never_published(outbox: Outbox, check: Check) -> None:
    (event,) = store(outbox, ROWS[1])
    assert check.ask([event._replace(body=event.body[:-5]), event]) == [WITHHOLD, SEND]


UNKNOWN = "it is not known now whether the public may see events of bugzilla"


@pytest.mark.parametrize("fault", ["hello die", "check die", "check kill", "check paused", "check database"])
def test_without_an_answer_nothing_is_permitted_and_the_next_question_is_answered(
    bugzilla: StandIn, outbox: Outbox, check: Check, fault: str
) -> None:
    bugzilla.say("fault", fault)
    events = store(outbox, CHANGED)
    with pytest.raises(VisibilityUnknownError, match=UNKNOWN):
        check.ask(events)
    assert check.ask(events) == [SEND]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"verdicts": {}},
        {"verdicts": []},
        {"verdicts": [{"send": True}, {"send": True}]},
        {"verdicts": [True]},
        {"verdicts": [{}]},
        {"verdicts": [{"send": 1}]},
        {"verdicts": [{"send": "true"}]},
        {"verdicts": [{"send": True, "data": []}]},
        {"verdicts": [{"send": False, "data": {}}]},
        {"verdicts": [{"send": False, "bug": "7"}]},
        {"verdicts": [{"send": False, "bug": True}]},
    ],
)
def test_an_invalid_answer_permits_nothing(bugzilla: StandIn, outbox: Outbox, check: Check, answer: Any) -> None:
    bugzilla.say("check.json", answer)
    with pytest.raises(VisibilityUnknownError, match="invalid answer"):
        check.ask(store(outbox, CHANGED))


def test_maintenance_permits_nothing(bugzilla: StandIn, outbox: Outbox, check: Check) -> None:
    bugzilla.say("shutdown", "<html>later</html>")
    with pytest.raises(VisibilityUnknownError, match="paused"):
        check.ask(store(outbox, CHANGED))


def test_a_bugzilla_that_is_not_known_or_not_there_permits_nothing(
    bugzilla: StandIn, outbox: Outbox, check: Check
) -> None:
    with pytest.raises(VisibilityUnknownError, match="no Bugzilla of this outbox has this id; start the sidecar"):
        check.ask(store(outbox, CHANGED, source=f"bugzilla://{OTHER_SITE}"))
    (bugzilla.folder / SCRIPT).unlink()
    with pytest.raises(VisibilityUnknownError, match=r"the extension is not in this Bugzilla.*in its new folder\)"):
        check.ask(store(outbox, CHANGED))


@pytest.mark.parametrize("mode", [0o660, 0o602])
def test_an_outbox_that_others_can_write_cannot_have_programs_started(
    bugzilla: StandIn, check: Check, outbox: Outbox, mode: int
) -> None:
    events = store(outbox, ROWS[1])
    outbox.path.chmod(mode)
    with pytest.raises(VisibilityUnknownError, match="can be written by others; chmod 600"):
        check.ask(events)
    assert bugzilla.asked() == ()
    outbox.path.chmod(0o644)
    assert check.ask(events) == [SEND]


@pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")
def test_an_outbox_of_another_user_cannot_have_programs_started(
    bugzilla: StandIn, check: Check, outbox: Outbox
) -> None:
    events = store(outbox, ROWS[1])
    os.chown(outbox.path, 12345, -1)
    with pytest.raises(VisibilityUnknownError, match="run the relay as its owner"):
        check.ask(events)
    assert bugzilla.asked() == ()


@pytest.mark.parametrize("recorded", [True, False])
def test_each_bugzilla_of_an_outbox_is_asked_for_its_own(
    bugzilla: StandIn, check: Check, outbox: Outbox, tmp_path: Path, recorded: bool
) -> None:
    other = StandIn(tmp_path / "other", site=OTHER_SITE)
    if recorded:
        open_site(outbox, OTHER_SITE, other.folder, "perl")
    else:
        remember_folder(outbox, other.folder, "perl")
    other.say("verdicts.json", {"*": {"send": False}})
    ours, theirs = store(outbox, CHANGED), store(outbox, CHANGED, source=f"bugzilla://{OTHER_SITE}")
    assert check.ask([*ours, *theirs, *ours]) == [SEND, WITHHOLD, SEND]


def test_whatever_was_started_ends(bugzilla: StandIn, outbox: Outbox) -> None:
    check = open_check(outbox)
    check.ask(store(outbox, CHANGED))
    check.close()
    check.close()
    running = [
        process
        for process in Path("/proc").glob("[0-9]*/cmdline")
        if str(bugzilla.folder).encode() in process.read_bytes()
    ]
    assert running == []


# -- what is sent then


def delivery_to(broker: MemoryBroker, outbox: Outbox) -> Delivery:
    gate = Gate(outbox, {"bugzilla": open_check})
    return Delivery(outbox, "public", broker.publisher, exchange="x", clock=lambda: 0.0, gate=gate, jitter=lambda: 0.0)


def deliver(broker: MemoryBroker, outbox: Outbox) -> None:
    with closing(delivery_to(broker, outbox)) as delivery:
        delivery.attempt(lambda: False)


def test_an_event_of_a_public_bug_loses_the_number_that_became_private_and_nothing_else(
    bugzilla: StandIn, outbox: Outbox
) -> None:
    # 1200 depends on the bug, and became private after the bug was closed.
    events = store(outbox, row("bug.update", bug_update(changes=CHANGES, was_open=True)))
    before = [json.loads(event.body) for event in events]
    reduced = before[0]["data"] | {"bug": BUG | {"blocks": []}}
    bugzilla.say("verdicts.json", {"*": {"send": True, "data": reduced}})
    broker = MemoryBroker()
    deliver(broker, outbox)
    assert [json.loads(message.body) for message in broker.messages] == [event | {"data": reduced} for event in before]
    assert [message.type for message in broker.messages] == ["bugzilla.bug.changed.v1", "bugzilla.bug.closed.v1"]


def test_a_stand_in_names_the_bug_only_if_it_is_public(bugzilla: StandIn, outbox: Outbox) -> None:
    store(outbox, *ROWS)
    bugzilla.say("verdicts.json", {
        "bugzilla.comment.created.v1 5": {"send": False, "bug": BUG_ID},
        "bugzilla.comment.created.v1 6": {"send": False, "bug": None},
    })  # fmt: skip
    broker = MemoryBroker()
    deliver(broker, outbox)
    sent = [json.loads(message.body) for message in broker.messages]
    assert [(body["type"], body.get("subject")) for body in sent[1:3]] == [
        (WITHHELD_TYPE, f"bug/{BUG_ID}"),
        (WITHHELD_TYPE, None),
    ]
    assert [found["subject"] for found in listed(outbox, Selection(type=WITHHELD_TYPE))] == [f"bug/{BUG_ID}", None]


def test_the_secret_of_the_ids_is_in_no_log_no_status_no_event_and_no_file(
    bugzilla: StandIn, outbox: Outbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def gone(_: Any) -> Any:
        raise BrokerUnavailableError("gone")

    store(outbox, *ROWS)
    with caplog.at_level(logging.DEBUG):
        for fault in ("hello sense", "check sense", "check die", "hello twice"):
            bugzilla.say("fault", fault)
            deliver(MemoryBroker(), outbox)
        deliver(MemoryBroker(judge=gone), outbox)
        broker = MemoryBroker()
        deliver(broker, outbox)
    shown = [caplog.text, json.dumps(figures(outbox)), *[repr(message) for message in broker.messages]]
    assert len(broker.messages) == 4
    assert not [text for text in shown if ID_SECRET in text]
    kept = [file for file in tmp_path.glob("outbox.db*") if ID_SECRET.encode() in file.read_bytes()]
    assert kept == []
