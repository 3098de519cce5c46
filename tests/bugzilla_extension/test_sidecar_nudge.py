# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The socket for nudges: made safely, given to the web server, taken away again; without it polling goes on."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.nudge import Nudge

needs_root = pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")


@pytest.fixture
def stop() -> Iterator[Stop]:
    with Stop() as made:
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    # The folder of a test may have a longer name than a socket can.
    if len(os.fsencode(tmp_path)) < 80:
        yield tmp_path / "nudge.sock"
        return
    folder = Path(f"/tmp/nudge-{os.getpid()}")
    folder.mkdir(mode=0o700)
    try:
        yield folder / "nudge.sock"
    finally:
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()


def send(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(b"1", str(path))


def test_a_nudge_ends_the_wait_and_many_are_one(path: Path, stop: Stop) -> None:
    nudge = Nudge(path)
    nudge.open(None, wanted=False)
    for _ in range(5):
        send(path)
    begun = time.monotonic()
    nudge.wait(60, stop)
    assert time.monotonic() - begun < 30
    # All five were taken, so this waits for its time.
    begun = time.monotonic()
    nudge.wait(0.2, stop)
    assert time.monotonic() - begun >= 0.2
    nudge.close()


def test_a_request_to_end_ends_the_wait(path: Path, stop: Stop) -> None:
    nudge = Nudge(path)
    nudge.open(None, wanted=False)
    stopper = threading.Timer(0.1, stop.set)
    stopper.start()
    begun = time.monotonic()
    nudge.wait(60, stop)
    assert time.monotonic() - begun < 30
    nudge.wait(60, stop)
    stopper.join()
    nudge.close()


def test_only_owner_and_group_can_write_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        nudge = Nudge(path)
        nudge.open(None, wanted=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    nudge.close()
    assert not path.exists()


@needs_root
def test_the_socket_is_given_to_the_group(path: Path) -> None:
    nudge = Nudge(path)
    nudge.open(12345, wanted=True)
    assert path.stat().st_gid == 12345
    nudge.close()


def test_a_dead_socket_is_replaced(path: Path, stop: Stop) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    nudge = Nudge(path)
    nudge.open(None, wanted=False)
    send(path)
    nudge.wait(60, stop)
    nudge.close()


def test_what_is_not_a_socket_is_left_alone(path: Path, stop: Stop, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("precious")
    nudge = Nudge(path)
    nudge.open(None, wanted=False)
    nudge.open(None, wanted=False)
    assert caplog.text.count("there is a file that is not a socket; the table is read") == 1
    nudge.wait(0.01, stop)
    nudge.close()
    assert path.read_text() == "precious"


def test_a_link_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    target.chmod(0o600)
    path.symlink_to(target)
    Nudge(path).open(None, wanted=False)
    assert "not a socket" in caplog.text
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert path.is_symlink()


def test_a_path_that_is_too_long_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Nudge(path.with_name("x" * 110)).open(None, wanted=False)
    assert "more than 107 bytes; the table is read" in caplog.text


def test_a_missing_folder_is_logged_and_tried_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = path.with_name("later")
    nudge = Nudge(folder / "n.sock")
    nudge.open(None, wanted=False)
    assert "No such file or directory; the table is read" in caplog.text
    folder.mkdir()
    nudge.open(None, wanted=False)
    send(folder / "n.sock")
    nudge.close()
    folder.rmdir()


def test_a_socket_that_was_removed_is_created_again(path: Path) -> None:
    nudge = Nudge(path)
    nudge.open(None, wanted=False)
    path.unlink()
    nudge.open(None, wanted=False)
    send(path)
    nudge.close()


def test_the_socket_of_a_successor_stays(path: Path) -> None:
    first, second = Nudge(path), Nudge(path)
    first.open(None, wanted=False)
    second.open(None, wanted=False)
    first.close()
    send(path)
    second.close()
    assert not path.exists()
