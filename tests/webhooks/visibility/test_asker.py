# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Before a POST its Bugzilla is asked; without an answer nothing is sent, and the sidecar's outbox stays as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.errors import VisibilityUnknownError
from sourcepulse.outbox.outbox import Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import Gate, check_openers
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from sourcepulse_bugzilla.visibility.folder_of_site import open_site
from sourcepulse_web.webhooks.visibility import UNKNOWN_SECONDS, Asker, Verdict
from support.bugzilla.rows import BUG, BUG_ID, CHANGES, ID_SECRET, SITE, SOURCE, bug_create, bug_update, changed, row
from support.bugzilla.standin import StandIn

#: Far from any position of the outbox: the log counts for itself.
LOG_POSITION = 70_001


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


@pytest.fixture
def path(tmp_path: Path, bugzilla: StandIn) -> Path:
    """The outbox of a sidecar, with a bug that was made, changed and hidden, as the relay had sent it."""
    path = tmp_path / "outbox.db"
    rows = [
        row("bug.create", bug_create(bug=changed(BUG, blocks=[1200]))),
        row("bug.update", bug_update(changes=CHANGES)),
        row("bug.update", {"place": ["a", "b"], "old_place": ["a", "b"], "transition": "hidden", "id": BUG_ID}),
    ]
    with Outbox.open(path) as outbox:
        open_site(outbox, SITE, bugzilla.folder, "perl")
        events = [event for raw in rows for event in events_of(read_row(raw), Emitter(SOURCE, ID_SECRET))]
        outbox.append([event for event in events if event.stream == "public"])
        with closing(Gate(outbox, check_openers())) as gate:
            claimed = [(event.position, event) for event in outbox.claim("public")]
            sent = [position for position, _, _ in gate.passing(claimed, ready=lambda: None)]
        outbox.acknowledge("public", sent)
    (bugzilla.folder / "asked").unlink()
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asker(path: Path, clock: Clock) -> Iterator[Asker]:
    with closing(Asker(path, clock=clock)) as opened:
        yield opened


def published(path: Path) -> list[Claimed]:
    """Return the events as a log has them."""
    columns = "position, id, source, type, time, routing_key, body, subject"
    with Outbox.open(path) as outbox, outbox.reading() as db:
        return [Claimed(*each) for each in db.execute(f"SELECT {columns} FROM events JOIN bodies USING (position)")]


def asks(asker: Asker, event: Claimed) -> Verdict:
    return asker.ask(LOG_POSITION, event.source, event.routing_key, event.type, event.body)


def dump(path: Path) -> list[str]:
    with Outbox.open(path) as outbox, outbox.reading() as db:
        return list(db.iterdump())


def test_what_is_public_is_sent_as_it_is_and_what_is_not_has_no_bytes(
    bugzilla: StandIn, path: Path, asker: Asker
) -> None:
    created, changed_, hidden = published(path)
    assert [event.type for event in (created, changed_, hidden)] == [
        "bugzilla.bug.created.v1", "bugzilla.bug.changed.v1", "bugzilla.bug.hidden.v1"
    ]  # fmt: skip
    assert [asks(asker, event).body for event in (created, changed_, hidden)] == [
        created.body, changed_.body, hidden.body
    ]  # fmt: skip
    bugzilla.say("verdicts.json", {created.type: {"send": False, "bug": BUG_ID}, changed_.type: {"send": False}})
    refused = [asks(asker, event) for event in (created, changed_)]
    assert [(verdict.send, verdict.body) for verdict in refused] == [(False, b"")] * 2
    assert asks(asker, hidden).send
    # One process answers all, and each time it is asked how it is now.
    assert bugzilla.asked() == ["hello", "check"] * 6


def test_what_is_public_of_an_event_is_sent_as_an_event(bugzilla: StandIn, path: Path, asker: Asker) -> None:
    created = published(path)[0]
    data = json.loads(created.body)["data"]
    assert data["bug"]["blocks"] == [1200]
    reduced = data | {"bug": data["bug"] | {"blocks": []}}
    bugzilla.say("verdicts.json", {created.type: {"send": True, "data": reduced}})
    verdict = asks(asker, created)
    assert verdict.send
    assert json.loads(verdict.body) == json.loads(created.body) | {"data": reduced}


def test_nothing_is_changed_in_the_outbox_of_the_sidecar(bugzilla: StandIn, path: Path, asker: Asker) -> None:
    before = dump(path)
    created, changed_, hidden = published(path)
    asks(asker, created)
    data = json.loads(created.body)["data"]
    bugzilla.say("verdicts.json", {
        created.type: {"send": False, "bug": None},
        changed_.type: {"send": True, "data": json.loads(changed_.body)["data"]},
    })  # fmt: skip
    for event in (created, changed_, hidden):
        asks(asker, event)
    bugzilla.say("verdicts.json", {created.type: {"send": True, "data": data | {"bug": data["bug"] | {"blocks": []}}}})
    assert asks(asker, created).body != created.body
    assert dump(path) == before


def test_other_sources_and_stand_ins_pass_without_a_question(bugzilla: StandIn, path: Path, asker: Asker) -> None:
    bugzilla.say("verdicts.json", {"*": {"send": False}})
    assert asker.ask(1, "hg://h/r", "hg.push.r", "hg.push.v1", b"{}") == Verdict(send=True, body=b"{}")
    stand_in = asker.ask(2, SOURCE, "bugzilla.bug.created._", "system.event.withheld.v1", b"{}")
    assert stand_in == Verdict(send=True, body=b"{}")
    assert bugzilla.asked() == ()
    with closing(Asker(None)) as unconfigured:
        event = published(path)[0]
        assert asks(unconfigured, event) == Verdict(send=True, body=event.body)


@pytest.mark.parametrize("fault", ["hello die", "check die", "check kill", "check paused", "check sense"])
def test_without_an_answer_nothing_is_sent_and_after_a_while_it_is_asked_again(
    bugzilla: StandIn, path: Path, asker: Asker, clock: Clock, fault: str
) -> None:
    event = published(path)[0]
    bugzilla.say("fault", fault)
    for _ in range(3):
        with pytest.raises(VisibilityUnknownError, match="not known now whether the public may see events of bugzilla"):
            asks(asker, event)
    assert bugzilla.asked().count("hello") == 1
    clock.at += UNKNOWN_SECONDS
    assert asks(asker, event).body == event.body


def test_an_outbox_that_is_missing_or_moved_lets_nothing_pass_until_it_is_back(
    path: Path, asker: Asker, clock: Clock
) -> None:
    event = published(path)[0]
    away = path.with_name("away.db")
    path.rename(away)
    with pytest.raises(VisibilityUnknownError, match=r"there is no .* at .*outbox\.db"):
        asks(asker, event)
    away.rename(path)
    clock.at += UNKNOWN_SECONDS
    assert asks(asker, event).send
    path.unlink()
    for match in ("events of bugzilla", "there is no"):
        clock.at += UNKNOWN_SECONDS
        with pytest.raises(VisibilityUnknownError, match=match):
            asks(asker, event)
    assert not path.exists()


def test_an_outbox_that_others_can_write_names_no_program_to_start(bugzilla: StandIn, path: Path, asker: Asker) -> None:
    event = published(path)[0]
    path.chmod(0o660)
    with pytest.raises(VisibilityUnknownError, match="can be written by others"):
        asks(asker, event)
    assert bugzilla.asked() == ()


def test_bytes_that_are_not_an_event_are_not_sent(path: Path, asker: Asker) -> None:
    event = published(path)[0]
    assert not asks(asker, event._replace(body=event.body[:-5])).send


def test_a_verdict_is_used_for_two_seconds(path: Path, asker: Asker, clock: Clock) -> None:
    verdict = asks(asker, published(path)[0])
    assert verdict.is_fresh(clock.at + 2)
    assert not verdict.is_fresh(clock.at + 2.1)
    assert asker.ask(1, "hg://h/r", "hg.push.r", "hg.push.v1", b"{}").is_fresh(clock.at + 9999)


def test_what_was_started_ends(bugzilla: StandIn, path: Path, asker: Asker) -> None:
    def running() -> list[Path]:
        found = Path("/proc").glob("[0-9]*/cmdline")
        return [process for process in found if str(bugzilla.folder).encode() in process.read_bytes()]

    asks(asker, published(path)[0])
    assert len(running()) == 1
    asker.close()
    asker.close()
    assert running() == []
    # It can be asked again.
    assert asks(asker, published(path)[0]).send
