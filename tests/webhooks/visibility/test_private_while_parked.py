# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A bug becomes private while its hooks are parked: nothing of it is delivered afterwards, whatever is asked for.

Real are the extension, the sidecar's outbox and check, the log, the sender and its files. Bugzilla is the fake one, or
with BUGZILLA_HOME the real one there.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import NothingThereError
from sourcepulse_web.webhooks.desk.card import whole_json
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.hook import State
from support.bugzilla import walk as walks
from support.bugzilla.steps import Params, Step
from support.bugzilla.tree import open_tree
from support.bugzilla.walk import Walk
from support.webhooks.receiver import Reply, Request
from support.webhooks.rig import EXCHANGE, FAST, Got, Rig, Room

PUBLISH: Step = {"do": "publish"}
#: In every text that the steps below write, as one word with the number of the step.
WORD = "TOKENa"
#: As long as the sender needs to park a hook that fails all the time.
PARKED = replace(FAST, park_s=1.5)


def step(do: str, number: int, **more: object) -> Step:
    given = {"do": do, "token": f"{WORD}{number}x", "secret": 0, "bug": 0, "other": 0, "tick": 5, "params": Params()}
    return {**given, **more}


class World:
    """A Bugzilla, and two hooks on all of its events: `broken` fails, and `picky` refuses; both echo what they get."""

    def __init__(self, folder: Path, stack: ExitStack, *, asks: bool) -> None:
        self.folder = folder
        self.walk = stack.enter_context(Walk(open_tree(folder), folder, 1, restricted=False))
        options = {"bugzilla_outbox": self.walk.outbox} if asks else {}
        self.rig = stack.enter_context(Rig(folder, schedule=PARKED, **options))
        self.broken, self.picky = (self.rig.hook(name, "bugzilla.#") for name in ("broken", "picky"))
        self.rooms: tuple[Room, Room] = (self.broken, self.picky)
        self.desk = Desk(self.rig.store, self.rig.queues, self.rig.settings)
        self._seen: Counter[str] = Counter()

    def answer(self, broken: int, picky: int) -> None:
        """Answer with these statuses from now on, and with the body that came."""
        for room, status in ((self.broken, broken), (self.picky, picky)):
            room.answers = echo(status)

    def new_words(self) -> list[str]:
        """Return what was POSTed with a word of the bug since the last call."""
        new: list[str] = []
        for room in self.rooms:
            requests = room.receiver.requests
            new += [request.body.decode() for request in requests[self._seen[room.name] :]]
            self._seen[room.name] = len(requests)
        return [each for each in new if WORD in each]

    def shown(self) -> str:
        """Return all that the owner can be shown of the hooks."""
        return json.dumps([whole_json(self.desk.show(room.name, attempts=1000)) for room in self.rooms])

    def park(self) -> list[str]:
        """Break both receivers while the bug changes; return the ids of what was refused."""
        self.answer(503, 422)
        self.walk.play([step("edit", 3), step("comment", 4), step("attach", 5), PUBLISH])
        for room in self.rooms:
            self.rig.wait_until(lambda name=room.name: self.rig.standing(name).state is State.PARKED)
        return [each.event.id for each in self.desk.show("picky").set_aside]

    def ask_for_everything(self, ids: Sequence[str]) -> None:
        """Redeliver in every way there is, while the hooks are parked and after they were resumed."""
        for _ in range(2):
            for room in self.rooms:
                for id_ in ids:
                    # One that is gone is reported, in whatever words.
                    try_to(lambda name=room.name, id_=id_: self.desk.redeliver(name, id_))
                try_to(lambda name=room.name: self.desk.redeliver(name, failed=True))
                try_to(lambda name=room.name: self.desk.redeliver(name, since=time.time() - 3600))
                self.desk.resume(room.name)
            self.rig.wait_idle()


def try_to(act: Any) -> None:
    with suppress(NothingThereError):
        act()


def echo(status: int) -> Any:
    def answer(request: Request, _: Got) -> Reply:
        return Reply(status=status, body=request.body, headers=(("x-echo", request.body[:200].decode("latin-1")),))

    return answer


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(walks, "EXCHANGE", EXCHANGE)
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("asks", [True, False])
def test_nothing_of_a_bug_that_was_hidden_meanwhile_is_delivered_or_kept(
    stack: ExitStack, tmp_path: Path, asks: bool
) -> None:
    world = World(tmp_path, stack, asks=asks)
    rig, walk = world.rig, world.walk
    rig.start()
    walk.play([step("create", 1), step("comment", 2), PUBLISH])
    rig.wait_idle()
    # What was public is sent.
    assert len(world.new_words()) >= 6
    ids = world.park()
    assert ids
    ids += [attempt.id for attempt in rig.attempts("broken")]
    assert world.new_words()
    assert WORD in world.shown()

    walk.play([step("hide", 6)])
    if not asks:
        # The log must hear of it, because the Bugzilla is not asked.
        walk.play([PUBLISH])
    world.answer(204, 204)
    world.ask_for_everything(ids)
    assert world.new_words() == []
    assert all(rig.standing(room.name).withheld for room in world.rooms)
    rig.wait_until(lambda: WORD not in world.shown())

    walk.play([PUBLISH])
    world.ask_for_everything(ids)
    assert world.new_words() == []
    # That it was hidden may be known, and is.
    assert "bugzilla.bug.hidden.v1" in str([asdict(each) for each in rig.attempts("broken")])
    assert walk.faults == []
    rig.stop()
    stack.close()
    kept = [path for path in tmp_path.glob("*.db*") if "outbox.db" not in path.name or "webhooks" in path.name]
    assert {path.name for path in kept} >= {"log.db", "webhooks.db"}
    assert [path.name for path in kept if WORD.encode() in path.read_bytes()] == []
