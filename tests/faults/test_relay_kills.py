# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A relay killed again and again in mid-stream: everything arrives, in order, repeats with the same bytes."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event


def _kill_in_mid_stream(tmp_path: Path, *, events: int, kills: int) -> None:
    chance = random.Random(7)
    box, log = tmp_path / "o.db", tmp_path / "log.db"
    with Outbox.open(box) as outbox:
        outbox.append([system_event(n) for n in range(events)])
    command = [sys.executable, "-m", "sourcepulse.cli", "relay", "--once", "--outbox", str(box)]
    command += ["--broker", f"file://{log}"]
    for _ in range(kills):
        before = _count(log)
        relay = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while _count(log) == before and relay.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.1))
        relay.kill()
        relay.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=60)
    first_seen: dict[str, bytes] = {}
    order = []
    repeats = 0
    with sqlite3.connect(log) as db:
        for (body,) in db.execute("SELECT body FROM messages ORDER BY position"):
            event = json.loads(body)
            if event["id"] in first_seen:
                repeats += 1
                assert first_seen[event["id"]] == body
            else:
                first_seen[event["id"]] = body
                order.append(int(event["sequence"]))
    assert order == list(range(1, events + 1))
    # A window of the log publisher for each kill, at most twice over: sent, and read ahead.
    assert repeats <= kills * 1_000


def test_a_relay_killed_in_mid_stream_loses_nothing_and_repeats_only_what_was_in_flight(tmp_path: Path) -> None:
    _kill_in_mid_stream(tmp_path, events=8_000, kills=3)


@pytest.mark.soak
def test_a_relay_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    _kill_in_mid_stream(tmp_path, events=20_000, kills=8)


def _count(log: Path) -> int:
    try:
        with sqlite3.connect(f"file:{log}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM messages").fetchone()[0])
    except sqlite3.Error:
        return 0
