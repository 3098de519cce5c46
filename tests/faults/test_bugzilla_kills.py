# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Bugzilla, drain.pl and the sidecar killed at random instants: no change lost, none invented, none published twice.

The extension and drain.pl are the real ones; Bugzilla is the fake one, or with BUGZILLA_HOME the real one there.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.repair import problems
from support.bugzilla.oracle import (
    assert_complete,
    assert_events_stand_for_something,
    assert_nothing_invented,
    assert_nothing_leaked,
    events_by_stream,
)
from support.bugzilla.steps import KEEPING, random_steps
from support.bugzilla.tree import ENDS_WITHIN_SECONDS, BugzillaTree, Worker, open_tree

DAILY_ROUNDS = 8
SOAK_ROUNDS = 100
STEPS_OF_A_ROUND = 60
#: A round is killed within so many seconds of its first answer; most of its steps are behind it then, or none.
KILL_WINDOW_SECONDS = 0.5
#: The other side of a dependency has no hook, and waits for the next comparison with the history.
KINDS = tuple(kind for kind in KEEPING if kind != "link")
VICTIMS = ("writer", "writer", "drainer", "sidecar")


class Sidecar:
    """The command at work, with the drain.pl that it has started."""

    def __init__(self, tree: BugzillaTree, outbox: Path) -> None:
        self._command = [
            *(sys.executable, "-m", "sourcepulse.cli", "bugzilla-sidecar", "--no-relay"),
            *("--bugzilla", str(tree.home), "--outbox", str(outbox)),
        ]
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self.start()

    def kill_drainer(self) -> bool:
        """Kill what it has started; False if that is nothing yet."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(OSError, ProcessLookupError):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
                return True
        return False

    def end(self) -> None:
        """End it, and fetch what is left."""
        self.process.terminate()
        # One that was started a moment ago has not heard yet that it shall end well.
        assert self.process.wait(ENDS_WITHIN_SECONDS) in (0, -signal.SIGTERM)
        done = subprocess.run(
            [*self._command, "--once"], capture_output=True, text=True, check=False, timeout=ENDS_WITHIN_SECONDS
        )
        assert done.returncode == 0, done.stderr


def play_round(chance: random.Random, tree: BugzillaTree, sidecar: Sidecar, seed: int) -> str:
    """Start steps, kill one of the processes meanwhile, and return which."""
    victim = chance.choice(VICTIMS)
    worker: Worker
    with tree.worker() as worker:
        worker.send(itertools.islice(random_steps(seed, KINDS), STEPS_OF_A_ROUND))
        worker.answer()
        time.sleep(chance.uniform(0.0, KILL_WINDOW_SECONDS))
        if victim == "writer":
            worker.process.kill()
        elif victim == "drainer":
            victim = victim if sidecar.kill_drainer() else "none"
        else:
            sidecar.kill()
    return victim


@pytest.mark.parametrize(
    ("rounds", "seed"),
    [
        (DAILY_ROUNDS, 20261123),
        pytest.param(SOAK_ROUNDS, 20261124, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_every_change_is_published_exactly_once_whichever_process_is_killed(
    tmp_path: Path, rounds: int, seed: int
) -> None:
    tree = open_tree(tmp_path)
    outbox = tmp_path / "outbox.db"
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    sidecar = Sidecar(tree, outbox)
    try:
        for number in range(rounds):
            killed[play_round(chance, tree, sidecar, seed + number)] += 1
        sidecar.end()
    finally:
        sidecar.process.kill()
        sidecar.process.wait()
    assert killed["writer"] > 0
    assert killed["sidecar"] + killed["drainer"] > 0

    public, restricted = events_by_stream(outbox)
    facts = tree.facts()
    assert len(facts["bugs"]) > rounds, "hardly anything happened"
    assert_complete(facts, public, restricted, tree.secret())
    assert_events_stand_for_something(facts, restricted)
    assert_nothing_invented(tree, [*public, *restricted])
    assert_nothing_leaked(tree, public)
    with Outbox.open(outbox) as opened:
        assert problems(opened) == []
    for events in (public, restricted):
        numbers = [int(event.numbers.sequence) for event in events if event.numbers is not None]
        assert numbers == list(range(1, len(events) + 1))
