# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The lock of writers: who waits gets it in turn, or gives up at the deadline and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse.errors import OutboxLockedError
from sourcepulse.outbox.fair_lock import Waiter
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until

WRITER = """
import sys
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
with Outbox.open(sys.argv[1], lock_wait_s=60) as outbox:
    for number in range(60):
        outbox.append([system_event(number, source=f"system://{sys.argv[2]}")])
"""


@contextmanager
def held(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield fd
    finally:
        os.close(fd)


def lock_threads() -> int:
    return sum(thread.name == "sourcepulse-lock" for thread in threading.enumerate())


def test_processes_that_queue_up_get_the_lock_in_their_order(tmp_path: Path) -> None:
    got: list[int] = []
    fd = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)

    def wait(number: int, waiter: Waiter) -> None:
        own = waiter.take(time.monotonic() + 30)
        assert own is not None
        got.append(number)
        time.sleep(0.01)
        os.close(own)

    threads = []
    with held(tmp_path / "lock"):
        for number in range(5):
            threads.append(threading.Thread(target=wait, args=(number, Waiter(fd))))
            threads[-1].start()
            time.sleep(0.1)
    for thread in threads:
        thread.join(30)
    assert got == list(range(5))
    os.close(fd)


def test_a_wait_that_was_too_short_goes_on_in_its_place_and_leaves_no_more_than_one_thread(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox.open(path, lock_wait_s=0.1) as outbox:
        outbox.append([system_event(1)])
        with held(tmp_path / "outbox.db.lock"):
            for _ in range(5):
                with pytest.raises(OutboxLockedError):
                    outbox.append([system_event(2)])
            assert lock_threads() == 1
        wait_until(lambda: lock_threads() == 0)
        # What came too late was let go.
        outbox.append([system_event(2)])
        assert len(outbox.claim("public")) == 2


def test_a_lock_that_comes_in_time_is_given_back_after_the_write(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "outbox.db", lock_wait_s=10) as outbox:
        with held(tmp_path / "outbox.db.lock") as fd:
            threading.Timer(0.3, lambda: fcntl.flock(fd, fcntl.LOCK_UN)).start()
            outbox.append([system_event(1)])
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        outbox.append([system_event(2)])
    assert lock_threads() == 0


def test_many_writers_at_once_store_everything_without_holes(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    Outbox.open(path).close()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)]) for number in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    with Outbox.open(path) as outbox:
        assert len(outbox.claim("public", limit=1_000)) == 240
