# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is no longer public is not sent: neither what waits, nor what was set aside, nor what is asked for again."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from pathlib import Path

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.outgoing.visibility import Gate, check_openers
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from sourcepulse_bugzilla.visibility.folder_of_site import open_site
from sourcepulse_web.webhooks.hook import Handshake, State
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.visibility import Asker, Verdict
from support.brokers.embedded_log import publish_events
from support.bugzilla.rows import BUG, CHANGES, ID_SECRET, SITE, SOURCE, bug_create, bug_update, changed, row
from support.bugzilla.standin import StandIn
from support.events.bugzilla_events import Site
from support.webhooks.receiver import Reply, Request
from support.webhooks.rig import EXCHANGE, FAST, Got, Rig

SECRET = "the-reactor-is-on-fire"
PARKS_SOON = Schedule(retry_s=(0.0, 0.05, 0.1), poison_s=0.5, poison_again_s=0.2, park_s=1.0)


def refuse_bugs(request: Request, _: Got) -> Reply | None:
    """Refuse events of Bugzilla, and return them."""
    return Reply(status=422, body=request.body) if b"bugzilla" in request.body else None


def test_nothing_of_a_bug_that_became_private_is_sent_from_a_parked_hook_also_not_again(tmp_path: Path) -> None:
    with Rig(tmp_path, schedule=PARKS_SOON) as rig:
        parked, refuses = rig.hook("parked"), rig.hook("refuses")
        parked.answers = lambda *_: Reply(status=500, body=SECRET.encode())
        refuses.answers = refuse_bugs
        rig.start()
        site = Site("bugzilla://bugs.example.org")
        events = [site.changed(1, SECRET), site.comment(1, 5, SECRET), site.changed(2, "public", depends_on=[1])]
        publish_events(rig.url, *events, exchange=EXCHANGE)
        rig.publish(count=2)
        rig.wait_until(lambda: rig.standing("parked").state is State.PARKED)
        rig.wait_until(lambda: rig.figures("refuses").set_aside >= 2)
        rig.pause("refuses")
        publish_events(rig.url, site.bug_hidden(1), exchange=EXCHANGE)
        rig.wait_until(
            lambda: not any(SECRET in attempt.excerpt for room in rig.rooms for attempt in rig.attempts(room))
        )
        before = {name: len(room.receiver.requests) for name, room in rig.rooms.items()}
        for name, room in rig.rooms.items():
            room.answers = lambda *_: None
            rig.resume(name)
            rig.queues.bring_back(name)
            rig.queues.since(name, 0.0)
        rig.wait_idle()
        for name, room in rig.rooms.items():
            later = room.receiver.requests[before[name] :]
            assert later
            assert not any(SECRET.encode() in request.body for request in later)
            assert b"hidden" in b"".join(request.body for request in later), "that it was hidden is sent"
        assert rig.standing("parked").withheld >= 2
        rig.stop()
        for path in tmp_path.glob("webhooks.db*"):
            assert SECRET.encode() not in path.read_bytes(), path.name


def test_an_event_that_is_withdrawn_while_consent_is_asked_for_is_not_sent(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        room = rig.hook("room", handshake=Handshake.TRY)
        is_asked, may_answer = threading.Event(), threading.Event()

        def rule(request: Request) -> Reply:
            if request.method == "OPTIONS":
                is_asked.set()
                assert may_answer.wait(60)
            return Reply(headers=(("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*")))

        room.receiver.rule = rule
        rig.start()
        site = Site("bugzilla://bugs.example.org")
        publish_events(rig.url, site.changed(1, SECRET), exchange=EXCHANGE)
        assert is_asked.wait(60)
        publish_events(rig.url, site.bug_hidden(1), exchange=EXCHANGE)
        may_answer.set()
        rig.wait_idle()
        bodies = [request.body for request in room.receiver.requests if request.method == "POST"]
        assert bodies
        assert not any(SECRET.encode() in body for body in bodies)
        assert [request.method for request in room.receiver.requests].count("OPTIONS") == 1


def sidecar(folder: Path, bugzilla: StandIn) -> Path:
    """Make the outbox of a sidecar with a bug that was made and changed, as the relay had sent it."""
    path = folder / "outbox.db"
    raws = [
        row("bug.create", bug_create(bug=changed(BUG, blocks=[1200]))), row("bug.update", bug_update(changes=CHANGES)),
    ]  # fmt: skip
    with Outbox.open(path) as outbox:
        open_site(outbox, SITE, bugzilla.folder, "perl")
        events = [event for raw in raws for event in events_of(read_row(raw), Emitter(SOURCE, ID_SECRET))]
        outbox.append([event for event in events if event.stream == "public"])
        with closing(Gate(outbox, check_openers())) as gate:
            claimed = [(event.position, event) for event in outbox.claim("public")]
            sent = [position for position, _, _ in gate.passing(claimed, ready=lambda: None)]
        outbox.acknowledge("public", sent)
    return path


def test_bugzilla_is_asked_before_each_post_and_what_it_hides_is_not_sent(tmp_path: Path) -> None:
    bugzilla = StandIn(tmp_path / "bugzilla")
    path = sidecar(tmp_path, bugzilla)
    away = path.rename(tmp_path / "away.db")
    with Rig(tmp_path, schedule=FAST, bugzilla_outbox=path) as rig:
        room = rig.hook("room")
        rig.start()
        publish_outbox(rig, away)
        # There is no sidecar to ask: only the source itself waits, and the attempts name the reason.
        sent = rig.publish(count=3)
        rig.wait_until(lambda: room.got == sent)
        rig.wait_until(lambda: any(attempt.outcome == "unknown" for attempt in rig.attempts("room")))
        (unknown, *_) = [attempt for attempt in rig.attempts("room") if attempt.outcome == "unknown"]
        assert "not known" in unknown.reason
        assert (unknown.status, rig.standing("room").failing_since) == (None, None)
        rig.wait_until(lambda: rig.figures("room").waiting == 2)
        bugzilla.say("verdicts.json", {"bugzilla.bug.created.v1": {"send": False, "bug": None}})
        away.rename(path)
        rig.wait_idle()
        types = [json.loads(request.body)["type"] for request in room.receiver.requests]
        assert types == ["hg.push.v1"] * 3 + ["bugzilla.bug.changed.v1"]
        assert rig.standing("room").withheld == 1
        asked = len(bugzilla.asked())
        assert rig.queues.since("room", 0.0) == 5
        rig.wait_idle()
        assert len(bugzilla.asked()) > asked
        types = [json.loads(request.body)["type"] for request in room.receiver.requests]
        assert "bugzilla.bug.created.v1" not in types


class SlowAsker(Asker):
    """Knows nothing of Bugzilla until `may_answer` is set, and then that all is public."""

    def __init__(self) -> None:
        super().__init__(None)
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def ask(self, position: int, source: str, routing_key: str, type_: str, body: bytes) -> Verdict:
        self.is_asked.set()
        assert self.may_answer.wait(60)
        return super().ask(position, source, routing_key, type_, body)


def test_while_a_bugzilla_does_not_answer_only_its_own_events_wait_and_they_come_in_order(tmp_path: Path) -> None:
    with Rig(tmp_path, bugzilla_outbox=tmp_path / "outbox.db") as rig:
        room = rig.hook("room")
        asker = SlowAsker()
        rig.start(asker=asker)
        site = Site("bugzilla://bugs.example.org")
        publish_events(rig.url, *[site.changed(number, "words") for number in range(1, 151)], exchange=EXCHANGE)
        assert asker.is_asked.wait(60)
        sent = rig.publish(count=50)
        rig.wait_until(lambda: room.got == sent)
        # What ends all waits asks nothing twice, and sends nothing that may be hidden.
        rig.pause("room")
        rig.resume("room")
        sent += rig.publish(count=5)
        rig.wait_until(lambda: room.got == sent)
        asker.may_answer.set()
        rig.wait_idle()
        bodies = [json.loads(request.body) for request in room.receiver.requests]
        subjects = [body["subject"] for body in bodies if body["source"].startswith("bugzilla")]
        assert subjects == [f"bug/{number}" for number in range(1, 151)]


def publish_outbox(rig: Rig, path: Path) -> None:
    """Append the events of an outbox to the log, as a relay sent them."""
    with Outbox.open(path) as outbox, outbox.reading() as db:
        found = db.execute("SELECT routing_key, body FROM events JOIN bodies USING (position) ORDER BY position")
        for key, body in found.fetchall():
            rig.publish_raw(key, body)
