# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an admin corrects in a file takes effect in a running relay; no `--rebind` before anything arrived."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse import config
from sourcepulse.cli.main import main
from sourcepulse.outbox.delivery_state import bound_broker, next_attempt_in
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.on_demand import are_others, failed_start, start_path, write_settings
from sourcepulse.relay.thread import RelayThread
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db") as opened:
        opened.append([system_event(number) for number in range(3)])
        yield opened


def public(outbox: Outbox) -> dict[str, object]:
    found: dict[str, object] = figures(outbox)["streams"]["public"]
    return found


def write_broker(folder: Path, url: str) -> Path:
    path = folder / "broker"
    path.write_text(url + "\n")
    path.chmod(0o600)
    return path


@contextmanager
def relay(outbox: Outbox, broker_file: Path) -> Iterator[list[str]]:
    warnings: list[str] = []
    thread = RelayThread(
        outbox.path, config.load({"broker_file": str(broker_file), "heartbeat_s": 0}, environ={}), warn=warnings.append
    )
    thread.start()
    try:
        yield warnings
    finally:
        thread.stop()


def in_log(path: Path) -> int:
    with sqlite3.connect(path) as db:
        count = db.execute("SELECT count(*) FROM messages").fetchone()[0]
    db.close()
    return int(count)


@pytest.mark.parametrize(
    "wrong", ["file:///nowhere/at/all/log.db", "amqp://127.0.0.1:1", "amqps://127.0.0.1:1?ca=/no", "?"]
)
def test_a_mistyped_broker_is_corrected_under_a_running_relay(outbox: Outbox, tmp_path: Path, wrong: str) -> None:
    broker_file = write_broker(tmp_path, "amqp://127.0.0.1:1" if wrong == "?" else wrong)
    with relay(outbox, broker_file) as warnings:
        wait_until(lambda: public(outbox)["failures"])
        if wrong == "?":
            # What cannot be read as a URL is a failure like any other, and ends nothing.
            write_broker(tmp_path, wrong)
            wait_until(
                lambda: "?" in str(public(outbox)["last_error"]) or "scheme" in str(public(outbox)["last_error"])
            )
        write_broker(tmp_path, f"file://{tmp_path}/log.db")
        wait_until(lambda: public(outbox)["delivered"] == 3)
    assert warnings == []
    assert in_log(tmp_path / "log.db") == 3
    assert bound_broker(outbox, "public") == f"file://{tmp_path}/log.db sourcepulse"


def test_a_stream_that_arrived_somewhere_goes_elsewhere_only_on_request(
    outbox: Outbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker_file = write_broker(tmp_path, f"file://{tmp_path}/one.db")
    with relay(outbox, broker_file) as warnings:
        wait_until(lambda: public(outbox)["delivered"] == 3)
    write_broker(tmp_path, f"file://{tmp_path}/two.db")
    with relay(outbox, broker_file) as warnings:
        outbox.append([system_event(7)])
        wait_until(lambda: warnings)
        command = f"sourcepulse outbox rebind --outbox {outbox.path}"
        assert f"`{command}`" in warnings[0]
        assert main(command.split()[1:]) == 0
        assert f"went to file://{tmp_path}/one.db" in capsys.readouterr().out
        wait_until(lambda: public(outbox)["delivered"] == 4)
    assert (in_log(tmp_path / "one.db"), in_log(tmp_path / "two.db")) == (3, 1)


def test_a_broker_that_is_changed_under_a_running_relay_is_asked_for_as_well(outbox: Outbox, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    broker_file = write_broker(tmp_path, f"file://{tmp_path}/gone/one.db")
    with relay(outbox, broker_file):
        wait_until(lambda: public(outbox)["delivered"] == 3)
        for path in (tmp_path / "gone").iterdir():
            path.unlink()
        (tmp_path / "gone").rmdir()
        outbox.append([system_event(7)])
        wait_until(lambda: public(outbox)["failures"])
        write_broker(tmp_path, f"file://{tmp_path}/two.db")
        wait_until(lambda: "outbox rebind" in str(public(outbox)["last_error"]))
        assert not (tmp_path / "two.db").exists()
        assert main(["outbox", "rebind", "--outbox", str(outbox.path)]) == 0
        wait_until(lambda: public(outbox)["delivered"] == 4)
    assert in_log(tmp_path / "two.db") == 1


def test_a_new_relay_by_other_settings_does_not_wait_out_the_pause_of_the_old_one(
    outbox: Outbox, tmp_path: Path
) -> None:
    broker_file = write_broker(tmp_path, f"file://{tmp_path}/no/log.db")
    settings = config.load({"broker_file": str(broker_file), "heartbeat_s": 0}, environ={})
    with open_relay(outbox.path, settings, threading.Event()) as once:
        assert once.once()[0].error is not None
    assert next_attempt_in(outbox, "public") > 10
    with open_relay(outbox.path, settings, threading.Event()) as same:
        assert same.next_attempt_in() > 10
    write_broker(tmp_path, f"file://{tmp_path}/log.db")
    with open_relay(outbox.path, settings, threading.Event()) as other:
        assert other.next_attempt_in() == 0


def test_restricted_events_do_not_follow_a_correction_to_where_public_ones_go(outbox: Outbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"file://{tmp_path}/restricted.db")
    values = {
        "broker": f"file://{tmp_path}/public.db",
        "restricted_broker_file": str(secret),
        "heartbeat_s": 0,
    }
    outbox.append([system_event(8, source="system://host?restricted")])
    (tmp_path / "restricted.db").mkdir()
    warnings: list[str] = []
    thread = RelayThread(outbox.path, config.load(values, environ={}), warn=warnings.append)
    thread.start()
    try:
        wait_until(lambda: figures(outbox)["streams"]["restricted"]["failures"])
        secret.write_text(f"file://{tmp_path}/public.db")
        wait_until(lambda: "public log" in str(figures(outbox)["streams"]["restricted"]["last_error"]))
        (tmp_path / "restricted.db").rmdir()
        secret.write_text(f"file://{tmp_path}/restricted.db")
        wait_until(lambda: figures(outbox)["streams"]["restricted"]["delivered"] == 1)
    finally:
        thread.stop()
    assert in_log(tmp_path / "public.db") == 3


def test_settings_beside_an_outbox_reveal_a_change_and_nothing_else(tmp_path: Path) -> None:
    outbox = str(tmp_path / "outbox.db")
    assert not are_others(outbox, "any"), "in doubt the relay goes on"
    write_settings(outbox, "url amqp://user:s3cret@host")
    assert not are_others(outbox, "url amqp://user:s3cret@host")
    assert are_others(outbox, "url amqp://user:changed@host")
    (kept,) = tmp_path.iterdir()
    assert "s3cret" not in kept.read_text()
    assert len(kept.read_text()) < 30


def test_what_a_relay_said_that_did_not_start_is_one_line(tmp_path: Path) -> None:
    outbox = str(tmp_path / "outbox.db")
    assert failed_start(outbox, older_than_s=0, now=0) is None
    Path(start_path(outbox)).write_bytes(b"Traceback\n  x\nImportError: \x1b[31mno module\n\n")
    now = Path(start_path(outbox)).stat().st_mtime
    assert failed_start(outbox, older_than_s=1, now=now + 0.5) is None
    assert failed_start(outbox, older_than_s=1, now=now + 2) == "ImportError: ?[31mno module"
    Path(start_path(outbox)).write_bytes(b"")
    assert failed_start(outbox, older_than_s=1, now=now + 99) == "it exited, or was killed, without a message"
