# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Servers and relays killed at random instants during pushes: no push lost, none invented, no gap, repeats alike."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, body, rows
from sourcepulse.outbox.repair import problems
from support.hg.sites import VENV_HG, Site, require
from support.streams.spine import kill_relay

SOURCEPULSE = str(Path(sys.executable).with_name("sourcepulse"))

#: Killed after such a share of what a push takes, a server is anywhere between its configuration and its last hook.
KILL_SHARES = (0.05, 1.1)
#: The load of the machine changes, so after so many pushes one goes through and is measured.
MEASURED_EACH = 10
RELAY_KILL_SHARE = 0.3
PUSH_LIMIT_SECONDS = 60
#: Of the kills; they come so long after a transaction began, which a slow hook keeps open for longer.
AIMED_SHARE, AIMED_SECONDS = 0.3, 0.15
#: The most changesets of one push.
CHANGESETS_MOST = 3

#: Slow hooks that are not ours widen the moments before and after the commit.
_HGRC = """
[extensions]
sourcepulse_hg =
[sourcepulse]
outbox = {site}/outbox.db
broker = file://{site}/log.db
source = hg://host
[hooks]
pretxnclose.slow = sleep 0.2
txnclose.slow = sleep 0.04
changegroup.slow = sleep 0.04
"""


class Kills:
    """A server repository, a clone with more history than it, and what kills their processes."""

    def __init__(self, folder: Path, pushes: int) -> None:
        self.folder = folder
        self._site = Site(folder / "site", require(VENV_HG))
        self.server = self._site.repository("server", _HGRC.format(site=folder))
        self._work = self._site.repository("work")
        self._work.build(f"+{3 * CHANGESETS_MOST * pushes}")
        self._pid_file = folder / "server.pid"

    def push(self, revision: int, *, kill_after_s: float = PUSH_LIMIT_SECONDS, aimed: bool = False) -> float | None:
        """Push, and kill the server so long after its start; return what the push took from there, None if killed.

        Aimed is a kill so long after its transaction began.
        """
        self._pid_file.unlink(missing_ok=True)
        with ThreadPoolExecutor(1) as pool:
            environ = {"SERVER_PID": str(self._pid_file)}
            push = pool.submit(self._work.push_ssh, self.server, "--rev", str(revision), check=False, env=environ)
            deadline = time.monotonic() + PUSH_LIMIT_SECONDS
            while not (self._pid_file.exists() and self._pid_file.read_text().strip()) and not push.done():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            while aimed and not self.is_in_transaction() and not push.done():
                assert time.monotonic() < deadline
                time.sleep(0.002)
            begin = time.monotonic()
            try:
                push.result(kill_after_s)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(int(self._pid_file.read_text()), signal.SIGKILL)
                push.result(PUSH_LIMIT_SECONDS)
                return None
            return time.monotonic() - begin

    def measured_push(self, revision: int) -> float:
        """Push undisturbed and return what that took."""
        took_s = self.push(revision)
        assert took_s is not None
        return took_s

    def kill_relay(self) -> None:
        kill_relay(self.folder / "outbox.db")

    def is_in_transaction(self) -> bool:
        return (self.server.path / ".hg" / "store" / "journal").exists()

    def recover(self) -> bool:
        """Do what the admin does who finds an abandoned transaction; True if there was one."""
        if not self.is_in_transaction():
            return False
        self.server.hg("recover")
        return True

    def announced(self, pushes: list[dict[str, Any]]) -> list[str]:
        """Return the changesets of these pushes; on a slow machine one may have more than an event lists."""
        nodes: list[str] = []
        for push in pushes:
            listed = [changeset["node"] for changeset in push["data"]["changesets"]]
            query = push["data"]["query"]
            nodes += listed if query is None else self.server.nodes(query)
        return nodes


def run_kills(folder: Path, pushes: int, seed: int) -> dict[str, int]:
    """Push so often, kill at random, and check what arrived; return counts for the reader.

    Whether an instant falls into a transaction or behind it is luck, so it goes on, at most three times as long, until
    each has happened.
    """
    chance = random.Random(seed)
    site = Kills(folder, pushes)
    revision = -1
    killed = recovered = went_through = 0
    push_s = 0.0
    for done in range(3 * pushes):
        if done >= pushes and recovered and went_through:
            break
        revision += chance.randint(1, CHANGESETS_MOST)
        if done % MEASURED_EACH == 0:
            push_s = site.measured_push(revision)
            continue
        aimed = chance.random() < AIMED_SHARE
        kill_after_s = chance.uniform(0, AIMED_SECONDS) if aimed else push_s * chance.uniform(*KILL_SHARES)
        was_killed = site.push(revision, kill_after_s=kill_after_s, aimed=aimed) is None
        killed += was_killed
        went_through += not was_killed
        if chance.random() < RELAY_KILL_SHARE:
            site.kill_relay()
        recovered += site.recover()
    # The rest goes through undisturbed, and one relay run takes what is left.
    site.measured_push(revision)
    site.kill_relay()
    relayed = subprocess.run(
        [SOURCEPULSE, "relay", "--once", "--outbox", str(folder / "outbox.db"), "--broker", f"file://{folder}/log.db"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert relayed.returncode == 0, relayed.stderr
    truth = site.server.nodes()
    with Outbox.open(folder / "outbox.db") as outbox:
        assert problems(outbox) == []
        stored = rows(outbox, Selection())
        events = [json.loads(body(outbox, row["position"])) for row in stored]
    assert [row["sequence"] for row in stored] == list(range(1, len(stored) + 1))
    assert {row["state"] for row in stored} == {"delivered"}
    push_events = [event for event in events if event["type"] == "hg.push.v1"]
    assert site.announced(push_events) == truth, "each committed changeset announced once, in the order of the commits"
    with sqlite3.connect(folder / "log.db") as log:
        arrived = defaultdict(set)
        count = 0
        for (message,) in log.execute("SELECT body FROM messages ORDER BY position"):
            arrived[json.loads(message)["id"]].add(bytes(message))
            count += 1
    assert set(arrived) == {event["id"] for event in events}
    assert all(len(bodies) == 1 for bodies in arrived.values()), "repeats are the same bytes"
    repeats = count - len(arrived)
    counts = {"pushes": len(push_events), "changesets": len(truth), "killed": killed, "recovered": recovered}
    counts |= {"repeats": repeats}
    # Seen with `pytest -s`, and when a test fails.
    print(f"seed {seed}: {counts}")
    return counts


def test_ten_pushes_killed_at_random_instants_are_announced_exactly(tmp_path: Path) -> None:
    counts = run_kills(tmp_path, 10, seed=1)
    assert counts["pushes"] > 2, "more than those that are measured"
    assert counts["recovered"] > 0


@pytest.mark.soak
def test_two_hundred_pushes_killed_at_random_instants_are_announced_exactly(tmp_path: Path) -> None:
    counts = run_kills(tmp_path, 200, seed=2)
    assert counts["pushes"] > 30
    assert counts["recovered"] > 5
