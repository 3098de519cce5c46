# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A relay under systemd is ready without a broker, and the loops that deliver notify its watchdog."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from sourcepulse import Consumer, config
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import clear_problem, set_problem
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.second_relay import FRESH_SECONDS, SECOND_RELAY, lock_holder, sentence
from sourcepulse.relay.on_demand import is_on_demand
from sourcepulse.relay.relay import relay_lock
from sourcepulse.relay.thread import RelayThread
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until

LIMIT_SECONDS = 30.0
#: systemd's limit in the tests; it is notified three times as often.
WATCHDOG_SECONDS = 0.6
#: Without a notification for so long, systemd would have killed the relay.
SILENCE_SECONDS = 2.0
CLOSED_PORT = "amqp://127.0.0.1:1"


class Systemd:
    """The notification socket of a service, as systemd makes it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self.heard: list[str] = []

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "NOTIFY_SOCKET": str(self.path),
            "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6)),
        }

    def next(self, seconds: float = LIMIT_SECONDS) -> str | None:
        """Return the next notification, None if none comes in time."""
        self._socket.settimeout(seconds)
        try:
            self.heard.append(self._socket.recv(4_096).decode())
        except TimeoutError:
            return None
        return self.heard[-1]

    def wait_for(self, beginning: str) -> str:
        """Return the next notification that begins so."""
        until = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < until:
            found = self.next()
            if found is not None and found.startswith(beginning):
                return found
        raise AssertionError(f"{beginning} did not come: {self.heard}")

    def wait_for_silence(self) -> None:
        """Wait until the watchdog is notified no more, though states may still be reported."""
        until = time.monotonic() + LIMIT_SECONDS
        pinged_at = time.monotonic()
        while time.monotonic() - pinged_at < SILENCE_SECONDS:
            assert time.monotonic() < until, "the watchdog is still notified"
            if self.next(0.2) == "WATCHDOG=1":
                pinged_at = time.monotonic()

    def close(self) -> None:
        self._socket.close()


def command(outbox: Path, broker_file: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "sourcepulse.cli", "relay"]
    return [*program, "--outbox", str(outbox), "--broker-file", str(broker_file), *options]


@contextmanager
def relay(folder: Path, broker: str, outbox: Path | None = None) -> Iterator[tuple[subprocess.Popen[bytes], Systemd]]:
    (folder / "broker").write_text(broker, encoding="utf-8")
    (folder / "broker").chmod(0o600)
    systemd = Systemd(folder)
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command(outbox or folder / "o.db", folder / "broker"), env=systemd.environment(), stderr=log
        ) as process,
    ):
        try:
            yield process, systemd
        finally:
            process.kill()
            systemd.close()


@contextmanager
def dead_mount(folder: Path) -> Iterator[Path]:
    """A file that is never read to its end, until the test ends."""
    path = folder / "ca.pem"
    os.mkfifo(path)
    try:
        yield path
    finally:
        free(path)


def free(path: Path) -> None:
    """End the reading of the file, and make every further one fail at once."""
    with suppress(OSError):
        writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        path.unlink()
        os.close(writer)


def test_a_relay_is_ready_while_its_broker_is_away_and_announces_its_end(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
    with relay(tmp_path, CLOSED_PORT) as (process, systemd):
        systemd.wait_for("READY=1")
        assert "the oldest pending event has waited for" in systemd.wait_for("STATUS=public: ")
        systemd.wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        systemd.wait_for("STOPPING=1")
        assert process.wait(LIMIT_SECONDS) == 0
        assert systemd.heard.count("READY=1") == 1


def test_a_relay_that_waits_for_its_outbox_is_ready_and_says_what_it_waits_for(tmp_path: Path) -> None:
    with relay(tmp_path, CLOSED_PORT) as (_, systemd):
        systemd.wait_for("READY=1")
        assert f"there is no outbox {tmp_path / 'o.db'} yet" in systemd.wait_for("STATUS=")
        systemd.wait_for("WATCHDOG=1")
        Outbox.open(tmp_path / "o.db").close()
        systemd.wait_for("STATUS=public: nothing is pending")


def test_a_delivery_that_hangs_is_noticed_by_the_watchdog(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
    with dead_mount(tmp_path) as ca, relay(tmp_path, CLOSED_PORT) as (process, systemd):
        for _ in range(3):
            systemd.wait_for("WATCHDOG=1")
        # A running relay reads a corrected URL again, and with it the file of the certificates.
        (tmp_path / "broker").write_text(f"amqps://127.0.0.1:1?ca={ca}", encoding="utf-8")
        systemd.wait_for_silence()
        assert process.poll() is None
        (tmp_path / "broker").write_text(CLOSED_PORT, encoding="utf-8")
        free(ca)
        systemd.wait_for("WATCHDOG=1")


def test_a_relay_in_a_thread_is_known_to_hang_until_its_loops_turn_again(tmp_path: Path) -> None:
    broker = tmp_path / "broker"
    with dead_mount(tmp_path) as ca, Outbox.open(tmp_path / "o.db") as outbox:
        broker.write_text(f"amqps://127.0.0.1:1?ca={ca}", encoding="utf-8")
        settings = config.load({"broker_file": str(broker)}, environ={})
        thread = RelayThread(outbox.path, settings, warn=lambda _: None, loop_max_s=0.5)
        assert not thread.hangs()
        thread.start()
        wait_until(thread.hangs, LIMIT_SECONDS)
        broker.write_text(CLOSED_PORT, encoding="utf-8")
        free(ca)
        wait_until(lambda: not thread.hangs(), LIMIT_SECONDS)
        thread.stop()
        wait_until(lambda: not thread.hangs(), LIMIT_SECONDS)


def logged(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8")


def test_a_service_waits_for_right_settings_and_a_terminal_does_not(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
        with relay(tmp_path, "nonsense") as (process, systemd):
            systemd.wait_for("READY=1")
            assert "its scheme is missing" in systemd.wait_for("STATUS=waiting: ")
            in_terminal = subprocess.run(
                command(outbox.path, tmp_path / "broker"), capture_output=True, text=True, check=False
            )
            assert (in_terminal.returncode, "its scheme is missing" in in_terminal.stderr) == (2, True)
            for _ in range(8):
                systemd.wait_for("WATCHDOG=1")
            (tmp_path / "broker").write_text(f"file://{tmp_path}/log.db", encoding="utf-8")
            wait_until(lambda: not outbox.has_pending("public"), LIMIT_SECONDS)
            assert process.poll() is None
            assert logged(tmp_path).count("waiting until that is over") == 1


def test_a_relay_finds_its_outbox_once_the_path_is_corrected(tmp_path: Path) -> None:
    def write(name: str) -> None:
        text = f'outbox = "{tmp_path / name}"\nbroker = "file://{tmp_path}/log.db"\n'
        (tmp_path / "config.toml").write_text(text, encoding="utf-8")

    write("mistyped.db")
    program = [sys.executable, "-m", "sourcepulse.cli", "relay", "--config", str(tmp_path / "config.toml")]
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
        with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                assert any("waiting for it" in line for line in process.stderr)
                write("o.db")
                wait_until(lambda: not outbox.has_pending("public"), LIMIT_SECONDS)
            finally:
                process.kill()


def test_a_service_replaces_a_relay_that_a_push_started_and_that_waits_for_its_broker(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
    (tmp_path / "absent").write_text(CLOSED_PORT, encoding="utf-8")
    (tmp_path / "absent").chmod(0o600)
    on_demand = command(tmp_path / "o.db", tmp_path / "absent", "--idle-exit", "5")
    with subprocess.Popen(on_demand, stderr=subprocess.DEVNULL) as first:
        try:
            wait_until(lambda: is_on_demand(str(tmp_path / "o.db")), LIMIT_SECONDS)
            with relay(tmp_path, CLOSED_PORT) as (process, systemd):
                systemd.wait_for("STATUS=public: ")
                assert first.wait(LIMIT_SECONDS) == 0
                assert lock_holder(tmp_path / "o.db") == process.pid
                assert not is_on_demand(str(tmp_path / "o.db"))
                assert "waiting" not in logged(tmp_path)
        finally:
            first.kill()


def test_a_service_waits_for_another_relay_to_end(tmp_path: Path) -> None:
    Outbox.open(tmp_path / "o.db").close()
    with relay_lock(tmp_path / "o.db"), relay(tmp_path, CLOSED_PORT) as (process, systemd):
        systemd.wait_for("READY=1")
        assert "another relay already serves" in systemd.wait_for("STATUS=waiting: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_SECONDS) == 0


def test_a_relay_forgets_a_vain_start_of_another_one_after_minutes(tmp_path: Path) -> None:
    def problems() -> list[str]:
        return [problem["name"] for problem in figures(outbox)["problems"]]

    long_ago = time.time() - 2 * FRESH_SECONDS
    settings = config.load({"broker": f"file://{tmp_path}/log.db"}, environ={})
    with Outbox.open(tmp_path / "o.db", clock=lambda: long_ago) as past, Outbox.open(tmp_path / "o.db") as outbox:
        with open_relay(outbox.path, settings, threading.Event()) as running:
            set_problem(outbox, SECOND_RELAY, sentence(1, os.getpid()))
            running.once()
            assert problems() == [SECOND_RELAY]
            clear_problem(outbox, SECOND_RELAY)
            set_problem(past, SECOND_RELAY, sentence(1, os.getpid()))
            running.once()
        assert problems() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_service_waits_for_room_on_a_full_disk_and_names_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=True)
    try:
        with Outbox.open(disk / "o.db") as outbox:
            outbox.append([system_event(1)])
        with suppress(OSError), (disk / "fill").open("wb", buffering=0) as fill:
            while True:
                fill.write(bytes(1_024))
        with relay(tmp_path, f"file://{tmp_path}/log.db", disk / "o.db") as (process, systemd):
            systemd.wait_for("READY=1")
            assert "full" in systemd.wait_for("STATUS=waiting: ")
            (disk / "fill").unlink()
            systemd.wait_for("STATUS=public: ")
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_SECONDS) == 0
        assert "rollback" not in logged(tmp_path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.soak
def test_with_the_limits_as_shipped_a_consumer_sees_the_whole_life_of_a_relay(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/log.db"
    with (
        Outbox.open(tmp_path / "o.db") as outbox,
        Consumer(url, ["system.relay.#"], state=":memory:", timeout=3 * 60.0) as consumer,
        relay(tmp_path, url) as (process, systemd),
    ):
        systemd.wait_for("READY=1")
        seen = []
        for event in consumer:
            state = event.type.split(".")[2]
            seen.append((state, time.monotonic()))
            if state == "started":
                outbox.append([system_event(1, message="x" * 40_000)], max_bytes=16_384)
            elif state == "degraded":
                outbox.retry(1)
            elif state == "recovered":
                process.send_signal(signal.SIGTERM)
            elif state == "stopped":
                break
    changes = [(state, at) for state, at in seen if state != "heartbeat"]
    assert [state for state, _ in changes] == ["started", "degraded", "recovered", "stopped"]
    assert all(later - earlier > 55 for (_, earlier), (_, later) in pairwise(changes[:3]))
    assert sum(state == "heartbeat" for state, _ in seen) >= 4
