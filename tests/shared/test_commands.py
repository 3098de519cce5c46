# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Commands and calls that do what they say, and say what they cannot do."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sqlite3
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.cli.main import main
from sourcepulse.errors import BrokerUnavailableError, StateError
from sourcepulse.outbox.delivery_state import bind_broker
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse.outbox.retention import Keep, prune
from sourcepulse.relay.on_demand import identity, start_path, write_settings
from sourcepulse.testing import system_event
from support.brokers.embedded_log import log_url, publish_events, push_event, wait_until


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    path = tmp_path / "outbox.db"
    with Outbox.open(path) as opened:
        opened.append([system_event(number, message="x" * 5_000) for number in range(200)])
        opened.acknowledge("public", range(1, 201))
    return path


@pytest.mark.parametrize("mode", ["--once", "--idle-exit=1"])
def test_a_mistyped_outbox_is_not_made_by_the_relay(
    tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["relay", mode, "--outbox", str(tmp_path / "typo.db"), "--broker", f"file://{tmp_path}/log.db"]
    assert main(command) == 3
    assert "there is no outbox" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_relay_that_is_a_service_waits_for_an_outbox_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    program = [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", str(path)]
    with subprocess.Popen(
        [*program, "--broker", f"file://{tmp_path}/log.db"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert "waiting for it" in process.stderr.readline()
            with Outbox.open(path) as made:
                made.append([system_event(1)])
                wait_until(lambda: rows(made, Selection(state="delivered")))
        finally:
            process.terminate()
            process.wait(30)


def test_a_sound_outbox_is_not_repaired_without_force(outbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = outbox.read_bytes()
    assert main(["outbox", "repair", "--outbox", str(outbox)]) == 6
    assert "is sound" in capsys.readouterr().err
    assert outbox.read_bytes() == before
    assert main(["outbox", "repair", "--force", "--apply", "--json", "--outbox", str(outbox)]) == 0
    assert json.loads(capsys.readouterr().out)["payloads_lost"] == 0


@pytest.mark.parametrize("kind", ["another program", "a newer version", "a log"])
def test_what_is_not_an_outbox_of_this_version_is_neither_repaired_nor_recommended_for_it(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "o.db"
    if kind == "a log":
        path = tmp_path / "log.db"
        publish_events(log_url(tmp_path), push_event(1))
    else:
        if kind == "a newer version":
            Outbox.open(path).close()
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99" if kind == "a newer version" else "CREATE TABLE theirs (x)")
        db.close()
    before = path.read_bytes()
    for command in (["status"], ["outbox", "repair"]):
        assert main([*command, "--outbox", str(path)]) == 6
        assert "repair" not in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [name.name for name in tmp_path.iterdir() if "damaged" in name.name] == []


def test_lost_payloads_are_reported_by_repair_and_show(outbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = bytearray(outbox.read_bytes())
    # The leaves of the table of payloads: what stands elsewhere has no such text in it.
    leaves = [at for at in range(0, len(raw), 4096) if raw[at] == 0x0D and b"xxxx" in raw[at : at + 4096]]
    for at in leaves[10:20]:
        raw[at : at + 4096] = bytes(4096)
    outbox.write_bytes(raw)
    assert main(["outbox", "repair", "--apply", "--json", "--outbox", str(outbox)]) == 5
    report = json.loads(capsys.readouterr().out)
    assert report["payloads_lost"] > 0
    with Outbox.open(outbox) as opened:
        lost = [row for row in rows(opened, Selection(stored=False)) if row["reason"]]
    assert len(lost) == report["payloads_lost"]
    assert main(["outbox", "show", "--outbox", str(outbox), str(lost[0]["position"])]) == 3
    assert "lost in the repair" in capsys.readouterr().err


def test_a_sound_outbox_is_said_to_be_sound(outbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "check", "--outbox", str(outbox)]) == 0
    assert capsys.readouterr().out == f"{outbox} is sound; no number is missing\n"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"sourcepulse {version('sourcepulse')}\n"


def test_a_relay_in_the_foreground_says_what_it_does(outbox: Path, tmp_path: Path) -> None:
    with Outbox.open(outbox) as opened:
        opened.append([system_event(900)])
    program = [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", str(outbox)]
    with subprocess.Popen(
        [*program, "--broker", f"file://{tmp_path}/log.db"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
        finally:
            process.terminate()
            process.wait(30)
    assert f"relaying {outbox} as process {process.pid}" in said
    assert f"public events to file://{tmp_path}/log.db sourcepulse; events are pending" in said


def test_a_relay_names_all_that_is_missing_and_where_events_went_so_far(
    outbox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["relay"]) == 2
    said = capsys.readouterr().err
    assert "no outbox is set" in said
    assert "no broker is set" in said
    with Outbox.open(outbox) as opened:
        bind_broker(opened, "public", "amqp://relay@host:5672/%2F sourcepulse")
    assert main(["relay", "--once", "--outbox", str(outbox)]) == 2
    said = capsys.readouterr().err
    assert "use --broker or --broker-file" in said
    assert "; the events went to amqp://relay@host:5672/%2F sourcepulse before" in said


def test_replays_that_no_relay_sends_are_reported(
    outbox: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert main(["outbox", "replay", "--outbox", str(outbox), "1", "2"]) == 0
    assert "replays requested: 2, and no relay runs" in caplog.text
    assert main(["status", "--outbox", str(outbox)]) == 0
    assert "replays    2 are pending, and no relay runs" in capsys.readouterr().out


@pytest.mark.parametrize("type_", ["system.test.degraded", "system.test.degraded.v1"])
def test_a_type_means_the_same_with_and_without_its_version(
    outbox: Path, type_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "list", "--outbox", str(outbox), "--type", type_]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 200
    assert main(["outbox", "replay", "--apply", "--outbox", str(outbox), "--type", type_]) == 0
    assert main(["outbox", "list", "--outbox", str(outbox), "--type", "system.test"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 200


def test_vacuum_gives_the_disk_back(outbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Outbox.open(outbox) as opened:
        assert prune(opened, Keep(days=30, bytes=50_000)) > 150
    before = outbox.stat().st_size
    assert main(["outbox", "vacuum", "--apply", "--outbox", str(outbox)]) == 0
    freed = int(capsys.readouterr().out.split()[0])
    assert freed > before // 2
    assert outbox.stat().st_size == before - freed
    assert main(["outbox", "check", "--outbox", str(outbox)]) == 0


@pytest.mark.parametrize("way", ["loop", "run"])
def test_a_broker_that_was_never_reached_is_no_quiet_night(tmp_path: Path, way: str) -> None:
    consumer = Consumer("amqp://127.0.0.1:1", timeout=0.5)
    with pytest.raises(BrokerUnavailableError, match="was never reached"):
        list(consumer) if way == "loop" else consumer.run(print)
    quiet = Consumer(log_url(tmp_path), timeout=0.1)
    assert list(quiet) == []


def test_a_stopped_consumer_gets_no_error_that_the_broker_was_never_reached() -> None:
    consumer = Consumer("amqp://127.0.0.1:1", timeout=30)
    threading.Timer(0.5, consumer.stop).start()
    assert list(consumer) == []


def test_a_memory_that_is_removed_under_a_running_consumer_is_an_error(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    consumer = Consumer(log_url(tmp_path), ["#"], queue="q", durable=True, state=state)
    consumer.open()
    publish_events(log_url(tmp_path), push_event(1), push_event(2))
    assert consumer.receive(10) is not None
    state.unlink()
    with pytest.raises(StateError, match="removed or replaced"):
        consumer.acknowledge()


def test_no_folder_above_a_memory_is_open_to_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Consumer(
            log_url(tmp_path), ["#"], queue="q", durable=True, state=tmp_path / "a" / "b" / "c" / "state.db"
        ).close()
    finally:
        os.umask(before)
    assert [(tmp_path / place).stat().st_mode & 0o777 for place in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_check_names_a_relay_that_is_missing_and_one_that_the_next_push_starts(
    outbox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["check", "--outbox", str(outbox), "--broker", f"file://{tmp_path}/log.db"]
    assert main(check) == 1
    assert "!! relay             not running: `sourcepulse relay` publishes what is pending" in capsys.readouterr().out
    write_settings(str(outbox), identity(broker=f"file://{tmp_path}/log.db", broker_file=None))
    assert main(check) == 0
    assert "ok relay             not running; a push starts it" in capsys.readouterr().out


def test_an_emitted_event_and_a_rebound_outbox_that_no_relay_sends_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = tmp_path / "o.db"
    assert main(["emit", "system.hg.down", "--outbox", str(outbox)]) == 0
    assert "the event is stored, and no relay runs" in caplog.text
    with Outbox.open(outbox) as opened:
        bind_broker(opened, "public", "amqp://elsewhere:5672/%2F sourcepulse")
    failed = Path(start_path(str(outbox)))
    failed.write_text("sourcepulse: the public events go elsewhere\n", encoding="utf-8")
    assert main(["outbox", "rebind", "--outbox", str(outbox)]) == 0
    assert f"sourcepulse relay --once --outbox {outbox} --broker-file FILE" in caplog.text
    assert not failed.exists()


@pytest.mark.parametrize("passes_file", [True, False])
def test_the_command_for_what_waits_runs_as_it_is_printed_where_the_settings_name_a_broker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, passes_file: bool
) -> None:
    config = tmp_path / "my config.toml"
    config.write_text(f'outbox = "{tmp_path}/o.db"\nbroker = "file://{tmp_path}/log.db"\n', encoding="utf-8")
    given = ["--config", str(config)] if passes_file else []
    if not passes_file:
        monkeypatch.setenv("SOURCEPULSE_CONFIG", str(config))
    assert main(["emit", "system.hg.down", *given]) == 0
    printed = next(each.getMessage() for each in caplog.records if "no relay runs" in each.getMessage())
    program, *words = shlex.split(printed.partition("else: ")[2])
    assert program == "sourcepulse"
    assert main(words) == 0
    with Outbox.open(tmp_path / "o.db") as opened:
        assert not opened.has_pending("public")
