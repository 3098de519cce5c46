# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""From a change in Bugzilla to a POST, all of it real: what became private meanwhile is in no POST, file or answer.

The extension, the sidecar, the gateway and the commands are processes. Bugzilla is the fake one, or with BUGZILLA_HOME
the real one there; BUGZILLA_DATABASE is then a program that does `stop` and `start` with its database.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.config import load
from sourcepulse_web.webhooks.desk.card import whole_json
from sourcepulse_web.webhooks.desk.opening import open_desk
from sourcepulse_web.webhooks.place import place_of
from support.brokers.embedded_log import wait_until
from support.bugzilla.steps import Step
from support.bugzilla.tree import Worker, open_tree
from support.bugzilla.world import HOME, Sidecar
from support.web.gateway import MakeGateway
from support.webhooks.hooks_of import sender_of
from support.webhooks.receiver import Receiver, Reply, Request

#: In every text that the steps below write, as one word with the number of the step.
WORD = "TOKENa"
DATABASE = os.environ.get("BUGZILLA_DATABASE", "")
LIMIT_SECONDS = 90.0
#: Longer than a retry, an answer of Bugzilla's that is still used, and the pause after none.
QUIET_SECONDS = 8.0
#: A hook is parked after 3 s, and an event set aside after two refusals.
TABLE = """
[webhooks]
allow = [{allow}]
bugzilla_outbox = "{outbox}"
retry_seconds = [0, 1]
poison_tries = 2
poison_minutes = 0.01
poison_again_minutes = 0.01
park_hours = {park_hours}
"""
SOON_HOURS, NEVER_HOURS = 0.0008, 24


class Room:
    """A receiver and the hook that leads to it; it echoes what it gets, with `status`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 204
        self.receiver = Receiver(rule=self._echo)

    def _echo(self, request: Request) -> Reply:
        if self.status == 204:
            return Reply()
        return Reply(status=self.status, body=request.body, headers=(("x-echo", request.body[:200].decode("latin-1")),))

    @property
    def words(self) -> list[str]:
        """What was POSTed with a word of the bug."""
        return [text for each in self.receiver.requests if WORD in (text := each.body.decode())]


class Site:
    """A Bugzilla, its sidecar at the log of a gateway, and the hooks `broken` and `picky` on all of its events."""

    def __init__(self, folder: Path, make_gateway: MakeGateway, stack: ExitStack, park_hours: float) -> None:
        self.rooms = tuple(Room(name) for name in ("broken", "picky"))
        self.broken, self.picky = self.rooms
        for room in self.rooms:
            stack.callback(room.receiver.stop)
        tree = open_tree(folder)
        self.home = tree.home
        allow = ", ".join(f'"{room.receiver.allowed}"' for room in self.rooms)
        table = TABLE.format(allow=allow, outbox=folder / "outbox.db", park_hours=park_hours)
        self.gateway = make_gateway(configuration=table)
        self.sidecar = Sidecar(folder, tree.home, f"file://{self.gateway.log}")
        stack.callback(self.sidecar.kill)
        self.sidecar.run("--once", "--no-relay", "--reconcile")
        self.worker: Worker = stack.enter_context(tree.worker())
        self.gateway.start()
        sender_of(self.gateway)
        for room in self.rooms:
            self.webhook("add", room.name, room.receiver.url, "--topic", "bugzilla.#")
        self.sidecar.start()

    def do(self, do: str, number: int, **more: object) -> None:
        """Do one step in Bugzilla; it is committed then."""
        usual = {"token": f"{WORD}{number}x", "secret": 0, "bug": 0, "other": 0, "tick": 5}
        step: Step = {"do": do, **usual, **more}
        answer = self.worker.do(step)
        assert "error" not in answer, answer

    def webhook(self, action: str, *arguments: str, fails: bool = False) -> str:
        """Run `sourcepulse webhook` as an admin does, and return what it prints."""
        place = ["--config", str(self.gateway.configuration), "--broker", f"file://{self.gateway.log}"]
        command = [sys.executable, "-m", "sourcepulse.cli", "webhook", action, *place, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
        assert fails or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def card(self, room: Room) -> dict[str, Any]:
        """Return what `show --json` prints of a hook."""
        config = load(file=self.gateway.configuration, environ={"SOURCEPULSE_BROKER": f"file://{self.gateway.log}"})
        with open_desk(place_of(config, {}, log=self.gateway.log)) as desk:
            return whole_json(desk.show(room.name))

    def wait(self, condition: Callable[[], object]) -> None:
        wait_until(condition, LIMIT_SECONDS)

    def wait_for_words(self, count: int = 1) -> None:
        """Wait until each hook got so many POSTs with a word of the bug."""
        self.wait(lambda: all(len(room.words) >= count for room in self.rooms))

    def ask_for_everything(self, id_: str) -> None:
        """Redeliver in every way there is, then resume, and wait until nothing waits."""
        for room in self.rooms:
            # What is gone is reported.
            for what in ([id_], ["--failed"], ["--since", "2h"]):
                self.webhook("redeliver", room.name, *what, fails=True)
            self.webhook("resume", room.name)
        self.wait(lambda: all(self.card(room)["waiting"] == 0 for room in self.rooms))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@contextmanager
def stopped_database(home: Path) -> Iterator[None]:
    """Stop the database of a Bugzilla; the fake one's does not answer because it is locked."""
    if DATABASE:
        subprocess.run([DATABASE, "stop"], check=True, timeout=LIMIT_SECONDS)
        try:
            yield
        finally:
            subprocess.run([DATABASE, "start"], check=True, timeout=LIMIT_SECONDS)
        return
    with closing(sqlite3.connect(home / "data" / "db", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def test_nothing_of_a_bug_that_became_private_while_its_hooks_rested_is_sent_or_kept(
    stack: ExitStack, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    site = Site(tmp_path, make_gateway, stack, SOON_HOURS)
    site.do("create", 1)
    site.do("comment", 2)
    site.wait_for_words(3)
    site.broken.status, site.picky.status = 503, 422
    site.do("edit", 3)
    site.do("comment", 4)
    site.do("attach", 5)
    site.wait(lambda: site.card(site.broken)["state"] == "parked")
    site.wait(lambda: site.card(site.picky)["set_aside"] or site.card(site.picky)["state"] == "parked")
    site.webhook("pause", "picky")
    id_ = str(site.card(site.broken)["attempts"][0]["id"])
    # The log does not hear of it, so only the question before each POST can keep it.
    site.sidecar.end()
    sent = [len(room.words) for room in site.rooms]
    site.do("hide", 6)
    site.broken.status = site.picky.status = 204
    site.ask_for_everything(id_)
    assert [len(room.words) for room in site.rooms] == sent
    assert all(site.card(room)["withheld"] for room in site.rooms)

    site.sidecar.start()
    site.wait(lambda: all("bug.hidden" in str([r.body for r in room.receiver.requests]) for room in site.rooms))
    site.ask_for_everything(id_)
    assert [len(room.words) for room in site.rooms] == sent
    shown = "".join(site.webhook("show", room.name, *more) for room in site.rooms for more in ((), ("--json",)))
    assert WORD not in shown
    site.sidecar.end()
    assert site.gateway.stop() == 0
    kept = [path for path in site.gateway.folder.rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"log.db", "webhooks.db", "gateway.log"}
    assert [path.name for path in kept if WORD.encode() in path.read_bytes()] == []


def test_a_bug_that_became_private_between_two_attempts_is_not_sent(
    stack: ExitStack, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    site = Site(tmp_path, make_gateway, stack, NEVER_HOURS)
    site.broken.status = site.picky.status = 503
    site.do("create", 1)
    # The next attempt is a second later.
    site.wait_for_words()
    site.sidecar.end()
    site.do("hide", 2)
    sent = [len(room.words) for room in site.rooms]
    site.broken.status = site.picky.status = 204
    site.wait(lambda: all(site.card(room)["waiting"] == 0 for room in site.rooms))
    assert [len(room.words) for room in site.rooms] == sent
    assert all(site.card(room)["withheld"] for room in site.rooms)


@pytest.mark.skipif(bool(HOME) and not DATABASE, reason="BUGZILLA_DATABASE stops the database of that Bugzilla")
def test_while_the_database_of_bugzilla_is_down_events_wait_and_are_sent_once_it_is_back(
    stack: ExitStack, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    site = Site(tmp_path, make_gateway, stack, NEVER_HOURS)
    site.do("create", 1)
    site.wait_for_words(2)
    site.webhook("pause", "broken")
    site.webhook("pause", "picky")
    site.do("edit", 2)
    site.wait(lambda: all(site.card(room)["waiting"] for room in site.rooms))
    sent = [len(room.words) for room in site.rooms]
    with stopped_database(site.home):
        for room in site.rooms:
            site.webhook("resume", room.name)
        site.wait(lambda: all(site.card(room)["attempts"][0]["outcome"] == "unknown" for room in site.rooms))
        time.sleep(QUIET_SECONDS)
        assert [len(room.words) for room in site.rooms] == sent
        assert all(site.card(room)["waiting"] for room in site.rooms)
    site.wait(lambda: all(len(room.words) > before for room, before in zip(site.rooms, sent, strict=True)))
    site.wait(lambda: all(site.card(room)["waiting"] == 0 for room in site.rooms))
    assert all(site.card(room)["withheld"] == 0 for room in site.rooms)
