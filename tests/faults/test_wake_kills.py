# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Writers and relays killed at random instants, with their wake's socket in every bad state: nothing lost, in order."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.wake.send import send_wake, wake_path
from support.streams.freeze import freeze

PATIENCE_SECONDS = 60.0
#: The states of the socket during a round.
STATES = ("sound", "removed", "file", "folder", "full")

#: Appends events one by one from a number on, and prints each number once it is stored.
_WRITER = """
import sys
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
with Outbox.open(sys.argv[1]) as outbox:
    number = int(sys.argv[2])
    while True:
        outbox.append([system_event(number)])
        print(number, flush=True)
        number += 1
"""


class _Site:
    def __init__(self, folder: Path) -> None:
        self.box, self.log = folder / "o.db", folder / "log.db"
        self.socket = Path(wake_path(self.box))
        Outbox.open(self.box).close()
        self.next_number = 0
        self.relay = self._start_relay()

    def _start_relay(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", str(self.box)]
        command += ["--broker", f"file://{self.log}", "--heartbeat-s", "0"]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def write_for(self, seconds: float) -> int:
        """Run a writer, kill it, and return how many events it had stored for certain."""
        command = [sys.executable, "-c", _WRITER, str(self.box), str(self.next_number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            assert first, "the writer stored nothing"
            time.sleep(seconds)
            writer.kill()
            stored = [first, *writer.stdout]
        # The last line may be cut off; the event that was stored after it is stored again with its id, so it is one.
        complete = [int(line) for line in stored if line.endswith("\n")]
        self.next_number = complete[-1] + 1
        return len(complete)

    def spoil(self, state: str) -> None:
        """Bring the socket into a state."""
        if state == "full":
            freeze(self.relay, self.box)
            while send_wake(str(self.socket)):
                pass
        elif state != "sound":
            with suppress(OSError):
                self.socket.unlink()
            if state == "file":
                with suppress(OSError):
                    self.socket.write_text("x", encoding="utf-8")
            elif state == "folder":
                with suppress(OSError):
                    self.socket.mkdir()

    def mend(self) -> None:
        """Undo that."""
        self.relay.send_signal(signal.SIGCONT)
        if self.socket.is_dir():
            self.socket.rmdir()
        elif self.socket.is_file():
            self.socket.unlink()

    def kill_relay(self) -> None:
        self.relay.kill()
        self.relay.wait()
        self.relay = self._start_relay()

    def wait_until_all_is_delivered(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with Outbox.open(self.box) as outbox:
            while outbox.pending("public"):
                assert time.monotonic() < deadline, "events still wait"
                time.sleep(0.02)

    def close(self) -> None:
        self.mend()
        self.relay.terminate()
        self.relay.wait(PATIENCE_SECONDS)


def _kill_at_random(folder: Path, *, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    site = _Site(folder)
    stored = 0
    try:
        for number in range(rounds):
            site.spoil(STATES[number % len(STATES)])
            stored += site.write_for(chance.uniform(0, 0.15))
            site.mend()
            if number % 2:
                site.kill_relay()
        site.wait_until_all_is_delivered()
    finally:
        site.close()
    assert site.relay.returncode == 0
    assert not site.socket.exists()
    with sqlite3.connect(site.log) as db:
        events = [json.loads(body) for (body,) in db.execute("SELECT body FROM messages ORDER BY position")]
    first: dict[str, int] = {}
    for event in events:
        assert first.setdefault(event["id"], int(event["sequence"])) == int(event["sequence"])
    assert list(first.values()) == list(range(1, len(first) + 1))
    # A writer that was killed between the commit and its line stored one more, which the next one stores again.
    assert len(first) in (stored, stored + 1)


def test_killed_writers_and_relays_lose_nothing_whatever_the_state_of_the_socket(tmp_path: Path) -> None:
    _kill_at_random(tmp_path, rounds=10, seed=16)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_two_hundred_kills_lose_nothing_whatever_the_state_of_the_socket(tmp_path: Path, seed: int) -> None:
    # In half of the rounds the relay is killed as well: 150 kills each.
    _kill_at_random(tmp_path, rounds=int(os.environ.get("WAKE_ROUNDS", "100")), seed=seed)
