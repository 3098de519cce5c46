# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Wakes: a datagram reaches the one reader, and costs nothing where there is none."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.outgoing.replays import request_replay
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.relay import Relay
from sourcepulse.relay.sender import Delivery
from sourcepulse.relay.wakes import Wakes
from sourcepulse.testing import MemoryBroker, system_event
from sourcepulse.wake.listener import Listener
from sourcepulse.wake.pace import Pace
from sourcepulse.wake.send import PAYLOAD_MAX_BYTES, send_wake, wake_path

WAIT_SECONDS = 30.0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@contextmanager
def listening(place: Path) -> Iterator[Listener]:
    listener = Listener(Path(wake_path(place)), without="it is polled")
    listener.open()
    try:
        yield listener
    finally:
        listener.close()


def test_a_wake_brings_its_payload_and_many_are_read_at_once(place: Path) -> None:
    with listening(place) as listener:
        assert all(send_wake(wake_path(place), payload) for payload in (b"", b"hg\0/srv/hg/.hg", b""))
        assert listener.wait(WAIT_SECONDS) == [b"", b"hg\0/srv/hg/.hg", b""]
        assert listener.wait(0) == []


def test_a_path_that_is_too_long_for_an_address_works_as_well(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a-long-name-of-a-folder"] * 8)
    folder.mkdir(parents=True)
    with listening(folder / "o.db") as listener:
        assert send_wake(wake_path(folder / "o.db"), b"x")
        assert listener.wait(WAIT_SECONDS) == [b"x"]
    assert list(folder.iterdir()) == []
    name = folder / ("n" * 120)
    assert not send_wake(wake_path(name))


def test_a_link_to_the_file_leads_to_the_socket_of_the_file(place: Path) -> None:
    place.touch()
    link = place.with_name("link")
    link.symlink_to(place)
    with listening(link) as listener:
        assert send_wake(wake_path(place))
        assert listener.wait(WAIT_SECONDS) == [b""]


def test_without_a_reader_a_wake_is_not_sent_and_not_waited_for(place: Path) -> None:
    path = Path(wake_path(place))
    assert not send_wake(str(path))
    path.write_text("a file", encoding="utf-8")
    assert not send_wake(str(path))
    assert path.read_text(encoding="utf-8") == "a file"
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    assert not send_wake(str(path))
    path.unlink()
    path.mkdir()
    assert not send_wake(str(path))
    assert not send_wake(str(path / "below"))
    assert not send_wake(f"{path}\0")


def test_a_full_socket_is_not_waited_for(place: Path) -> None:
    with listening(place) as listener:
        sent = 0
        while send_wake(wake_path(place)):
            sent += 1
        assert not send_wake(wake_path(place))
        assert listener.wait(WAIT_SECONDS) == [b""] * sent
        assert send_wake(wake_path(place))


def test_a_process_with_thousands_of_open_files_is_woken(place: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard) if hard > 0 else 4_096, hard))
    opened: list[int] = []
    try:
        while not opened or opened[-1] < 1_100:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        with listening(place) as listener:
            assert send_wake(wake_path(place))
            assert listener.wait(WAIT_SECONDS) == [b""]
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_payload_over_the_limit_is_not_sent(place: Path) -> None:
    with listening(place) as listener:
        assert not send_wake(wake_path(place), b"x" * (PAYLOAD_MAX_BYTES + 1))
        assert send_wake(wake_path(place), b"x" * PAYLOAD_MAX_BYTES)
        assert listener.wait(WAIT_SECONDS) == [b"x" * PAYLOAD_MAX_BYTES]


def test_a_link_at_the_place_of_the_socket_is_not_followed(place: Path) -> None:
    with listening(place.with_name("other")) as other:
        Path(wake_path(place)).symlink_to(wake_path(place.with_name("other")))
        assert not send_wake(wake_path(place))
        assert other.wait(0) == []


def test_only_owner_and_group_may_wake(place: Path) -> None:
    with listening(place):
        assert stat.S_IMODE(Path(wake_path(place)).stat().st_mode) == 0o660


def test_the_pace_is_fast_where_polls_find_what_no_wake_announced() -> None:
    pace = Pace()
    pace.found_work()
    assert pace.is_announced
    pace.waited(woken=False)
    assert pace.is_announced
    pace.found_work()
    assert not pace.is_announced
    pace.waited(woken=True)
    pace.found_work()
    assert pace.is_announced


def test_the_hook_can_send_a_wake_with_little_loaded() -> None:
    code = "import sys; old = set(sys.modules); import sourcepulse.wake.send; print(*set(sys.modules) - old)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"sourcepulse.wake.send"} <= set(loaded)
    assert not {"socket", "selectors", "sqlite3", "logging"} & set(loaded)


@contextmanager
def relaying(place: Path, broker: MemoryBroker, collected: list[tuple[str, str]] | None = None) -> Iterator[Relay]:
    stop = threading.Event()

    def collect(kind: str, location: str) -> bool:
        if collected is not None:
            collected.append((kind, location))
        # Once in a while another collector holds the lock.
        return collected is None or location == "" or collected.count((kind, location)) == 2

    with Outbox.open(place) as house, Outbox.open(place) as own:
        relay = Relay(
            house,
            [Delivery(own, "public", broker.publisher, exchange="x", clock=time.time)],
            sweep=lambda: 0,
            keep=Keep(days=1, bytes=10**9),
            stop=stop,
            collect=collect,
        )
        running = threading.Thread(target=relay.run)
        running.start()
        try:
            yield relay
        finally:
            stop.set()
            running.join(WAIT_SECONDS)
    assert not running.is_alive()


def _until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.fixture
def _polls_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a wake ends a wait."""
    for name in ("POLL_SECONDS", "POLL_UNANNOUNCED_SECONDS"):
        monkeypatch.setattr(f"sourcepulse.relay.wakes.{name}", 2 * WAIT_SECONDS)


@pytest.mark.usefixtures("_polls_never")
def test_an_append_a_retry_and_a_replay_wake_the_relay(place: Path) -> None:
    broker = MemoryBroker()
    with Outbox.open(place) as outbox, relaying(place, broker):
        _until(Path(wake_path(place)).exists, "no socket")
        outbox.append([system_event(1)])
        _until(lambda: len(broker.messages) == 1, "the append did not wake the relay")
        _until(lambda: not outbox.claim("public"), "not acknowledged")
        request_replay(outbox, 1)
        _until(lambda: len(broker.messages) == 2, "the replay did not wake the relay")
        with outbox.writing() as db:
            db.execute("UPDATE events SET state = 'buried' WHERE position = 1")
        outbox.retry(1)
        _until(lambda: len(broker.messages) == 3, "the retry did not wake the relay")
    assert not Path(wake_path(place)).exists()


def test_a_relay_without_its_socket_polls_and_creates_it_again(place: Path) -> None:
    broker = MemoryBroker()
    path = Path(wake_path(place))
    with Outbox.open(place) as outbox, relaying(place, broker):
        for number, spoil in enumerate([path.unlink, lambda: (path.unlink(), path.write_text("x", encoding="utf-8"))]):
            _until(path.is_socket, "no socket")
            spoil()
            outbox.append([system_event(number)])
            _until(lambda n=number: len(broker.messages) == n + 1, "not polled")
            if path.exists():
                path.unlink()
        _until(path.is_socket, "not created again")


def test_a_file_at_the_place_of_the_socket_is_left_alone_and_logged(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker()
    path = Path(wake_path(place))
    path.write_text("precious", encoding="utf-8")
    with Outbox.open(place) as outbox, relaying(place, broker):
        outbox.append([system_event(1)])
        _until(lambda: len(broker.messages) == 1, "not polled")
    assert path.read_text(encoding="utf-8") == "precious"
    assert f"wakes cannot be received at {path}: there is a file that is not a socket" in caplog.text


@pytest.mark.usefixtures("_polls_never")
def test_an_announced_place_is_collected_at_once_and_nonsense_is_ignored(place: Path) -> None:
    collected: list[tuple[str, str]] = []
    with relaying(place, MemoryBroker(), collected):
        _until(Path(wake_path(place)).exists, "no socket")
        for payload in (b"\xff\xfe\0x", b"\0", b"no separator", b"hg\0/srv/hg/.hg"):
            assert send_wake(wake_path(place), payload)
        _until(lambda: collected.count(("hg", "/srv/hg/.hg")) == 2, "not collected again")
    assert collected == [("", ""), ("no separator", ""), *[("hg", "/srv/hg/.hg")] * 2]


def test_a_flood_of_wakes_keeps_only_a_bounded_number_of_places(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sourcepulse.relay.wakes.PLACES_MAX", 3)
    wakes = Wakes(place)
    ear = threading.Thread(target=wakes.listen)
    ear.start()
    try:
        _until(Path(wake_path(place)).exists, "no socket")
        for number in range(20):
            _until(lambda n=number: send_wake(wake_path(place), b"hg\0/%d" % n), "full")
        _until(lambda: wakes.places.wait(0.01) or True, "")
        time.sleep(0.1)
        assert wakes.announced() == [("hg", "/0"), ("hg", "/1"), ("hg", "/2")]
    finally:
        wakes.close()
        ear.join(WAIT_SECONDS)
        wakes.release()


@pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")
def test_the_group_of_the_folder_may_wake_the_relay_without_a_right_to_the_outbox(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir(mode=0o750)
    os.chown(folder, 0, 12345)
    for above in folder.parents:
        if above != Path("/") and above.stat().st_uid == os.geteuid() and str(above).startswith("/tmp/"):
            above.chmod(above.stat().st_mode | 0o011)
    place = folder / "o.db"
    with Outbox.open(place), relaying(place, MemoryBroker()):
        place.chmod(0o600)
        path = wake_path(place)
        _until(lambda: Path(path).exists() and Path(path).stat().st_gid == 12345, "no socket of the group")
        assert _send_as(12345, path)
        assert not _send_as(54321, path)


def _send_as(group: int, path: str) -> bool:
    """Return whether a user of that group alone can send the wake."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgroups([group])
            os.setgid(12346)
            os.setuid(12346)
            code = 0 if send_wake(path) else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1)
    return code == 0
