# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The gateway keeps a sender running: it starts one again that ended, kills one that hangs, and ends it with itself."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

from support.brokers.embedded_log import wait_until
from support.webhooks.child_driver import Driver

LIMIT_SECONDS = 40.0
#: Turns until the end of its stdin, or SIGTERM.
WORKS = """
import pathlib, select, sys
print("a line of the child", file=sys.stderr, flush=True)
while not select.select([0], [], [], 0.1)[0]:
    pathlib.Path(sys.argv[1]).touch()
"""
FAILS = """
import pathlib, sys
sys.exit("sourcepulse: the folder of the hook store does not exist; create it")
"""
#: Reads neither its stdin nor a signal.
DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(0.1)
"""
#: Counts how often it is asked to end, and needs a second for it.
SLOW_TO_END = """
import pathlib, signal, sys, time
seen = pathlib.Path(sys.argv[1])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(time.monotonic()))
while not asked or time.monotonic() - asked[0] < 1.0:
    seen.touch()
    time.sleep(0.01)
seen.with_name("asked").write_text("x" * len(asked))
"""
#: Waits for another sender, which hangs until there is a file of this name.
WAITS = """
import json, pathlib, select, sys, time
seen = pathlib.Path(sys.argv[1])
seen.touch()
print(json.dumps({"problem": "", "doubt": "", "holder": "process 4711"}), flush=True)
while not seen.with_name("gone").exists():
    time.sleep(0.05)
print(json.dumps({"problem": "", "doubt": "", "holder": ""}), flush=True)
while not select.select([0], [], [], 0.1)[0]:
    seen.touch()
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def up(driver: Driver, starts: int) -> int:
    """Wait until the child of this start is at work, and return its process."""
    wait_until(lambda: driver.now.get("up") and driver.now["starts"] == starts, LIMIT_SECONDS)
    assert driver.now["problem"] == ""
    return int(driver.now["pid"])


def test_one_that_was_killed_or_hangs_is_started_again_and_hooks_can_be_switched_off_and_on(tmp_path: Path) -> None:
    with closing(Driver(tmp_path, WORKS, hung_s=3.0)) as driver:
        pid = up(driver, 1)
        os.kill(pid, signal.SIGKILL)
        pid = up(driver, 2)
        assert "the sender of webhooks was ended by SIGKILL; it is started again in 1 s" in driver.stderr()
        os.kill(pid, signal.SIGSTOP)
        pid = up(driver, 3)
        assert {each["problem"] for each in driver.states()} == {
            "",
            "the sender of webhooks was ended by SIGKILL",
            "the sender of webhooks did not turn for 3 s and was killed",
        }
        (tmp_path / "off").touch()
        wait_until(lambda: driver.now["pid"] is None, LIMIT_SECONDS)
        assert (driver.now["problem"], driver.now["up"], is_alive(pid)) == ("", False, False)
        (tmp_path / "off").unlink()
        pid = up(driver, 4)
        assert driver.stderr().count("a line of the child\n") == 4
        assert driver.stop() == 0
        assert not is_alive(pid)


def test_the_pauses_grow_while_it_fails_its_reason_is_known_and_corrected_settings_end_a_pause(tmp_path: Path) -> None:
    with closing(Driver(tmp_path, FAILS)) as driver:
        wait_until(lambda: driver.now.get("starts") == 3 and driver.now["pid"] is None, LIMIT_SECONDS)
        assert driver.now["problem"] == (
            "the sender of webhooks ended with exit code 1: the folder of the hook store does not exist; create it"
        )
        assert [line.rpartition(" in ")[2] for line in driver.stderr().splitlines() if "again in" in line] == [
            "1 s",
            "2 s",
            "4 s",
        ]
        (tmp_path / "child.py").write_text(WORKS, encoding="utf-8")
        (tmp_path / "settings").write_text("corrected", encoding="utf-8")
        corrected_at = time.monotonic()
        up(driver, 4)
        assert time.monotonic() - corrected_at < 4.0
        # Killed, the gateway leaves no child behind.
        pid = driver.now["pid"]
        driver.close()
        wait_until(lambda: not is_alive(pid), LIMIT_SECONDS)


def test_one_that_ignores_its_end_is_ended_by_force(tmp_path: Path) -> None:
    with closing(Driver(tmp_path, DEAF)) as driver:
        pid = up(driver, 1)
        assert driver.stop() == 0
        assert not is_alive(pid)


def test_one_that_waits_for_another_sender_that_hangs_is_not_killed_and_that_one_is_named(tmp_path: Path) -> None:
    with closing(Driver(tmp_path, WAITS, hung_s=1.0)) as driver:
        wait_until(lambda: driver.now.get("problem"), LIMIT_SECONDS)
        assert driver.now["problem"] == (
            "another sender (process 4711) holds the hook store and did not turn for 1 s; end that process, and "
            "this one goes on"
        )
        # Several times the limit later, the same one still waits.
        wait_until(lambda: time.time() - (tmp_path / "seen").stat().st_mtime > 4.0, LIMIT_SECONDS)
        assert (driver.now["starts"], driver.now["up"]) == (1, False)
        assert "killed" not in driver.stderr()
        (tmp_path / "gone").touch()
        up(driver, 1)


def test_one_that_takes_its_time_to_end_is_asked_once_and_the_next_one_starts_as_if_it_had_not_failed(
    tmp_path: Path,
) -> None:
    with closing(Driver(tmp_path, SLOW_TO_END)) as driver:
        up(driver, 1)
        (tmp_path / "off").touch()
        # Longer than the driver's looks; the child still ends then.
        time.sleep(0.5)
        (tmp_path / "off").unlink()
        up(driver, 2)
        assert (tmp_path / "asked").read_text(encoding="utf-8") == "x"
        assert {each["problem"] for each in driver.states()} == {""}
        assert "started again" not in driver.stderr()
        assert driver.stop() == 0
