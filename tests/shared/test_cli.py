# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The program: data on stdout, talk on stderr, and an exit code for every end."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sourcepulse.catalogue import schema_for
from sourcepulse.cli.main import build_parser, main
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import clear_problem, set_problem
from sourcepulse.testing import system_event
from support.events.outbox_contents import outbox_events


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in os.environ:
        if variable.startswith("SOURCEPULSE_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def outbox(tmp_path: Path) -> str:
    path = tmp_path / "o.db"
    with Outbox.open(path) as opened:
        opened.append([system_event(n) for n in range(3)])
    return str(path)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def listed(capsys: pytest.CaptureFixture[str], outbox: str, *arguments: str) -> list[dict[str, Any]]:
    assert main(["outbox", "list", "--outbox", outbox, "--json", *arguments]) == 0
    return [json.loads(line) for line in said(capsys).splitlines()]


def test_emit_prints_the_id_and_relay_once_delivers_to_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box, log = str(tmp_path / "o.db"), f"file://{tmp_path}/log.db"
    assert main(["emit", "system.hg.down", "--outbox", box, "--data", '{"message": "disk"}']) == 0
    id_ = said(capsys).strip()
    assert main(["relay", "--once", "--outbox", box, "--broker", log]) == 0
    (row,) = listed(capsys, box)
    assert (row["id"], row["state"], row["type"]) == (id_, "delivered", "system.hg.down.v1")
    assert (row["routing_key"], row["subject"]) == ("system.hg.down", "hg")


def test_emit_with_a_key_makes_one_event_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = str(tmp_path / "o.db")
    ids = []
    for _ in range(2):
        assert main(["emit", "system.hg.down", "--outbox", box, "--key", "incident 7"]) == 0
        ids.append(said(capsys))
    assert ids[0] == ids[1]
    assert len(listed(capsys, box)) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nonsense"], "unknown"),
        (["hg.pusch"], "hg.push"),
        (["hg.push", "--source", "my-tool://host"], "wrong"),
        (["hg.push"], "name a source of your own"),
        (["system.hg.down", "--data", "[]"], "must be a JSON object"),
        (["system.hg.down", "--data", "{"], "not valid JSON"),
        (["system.hg.down", "--data", '{"message": NaN}'], "not JSON"),
        (["system.hg.down", "--data", '{"message": 7}'], "/message"),
        (["system.hg.down", "--data", '{"more": 7}'], "more"),
        (["system.hg.down", "--source", "nowhere"], "is not a source"),
        (["system.hg.down", "--source", "hg://host/repo"], "only its own events"),
    ],
)
def test_an_event_that_cannot_be_is_refused_and_nothing_is_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    box = tmp_path / "o.db"
    assert main(["emit", *arguments, "--outbox", str(box)]) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.out == ""
    assert not box.exists()


def test_an_emitted_event_that_is_too_large_is_buried_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = str(tmp_path / "o.db")
    data = json.dumps({"message": "x" * 20_000})
    assert main(["emit", "system.hg.down", "--outbox", box, "--max-event-bytes", "16384", "--data", data]) == 5
    capsys.readouterr()
    assert listed(capsys, box)[0]["state"] == "buried"


@pytest.mark.parametrize("command", [["status"], ["outbox", "list"], ["emit", "system.a.up"], ["collect"]])
def test_without_an_outbox_the_error_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert main(command) == 2
    assert "--outbox, SOURCEPULSE_OUTBOX or" in capsys.readouterr().err


def test_inside_a_repository_its_own_outbox_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".hg" / "sourcepulse").mkdir(parents=True)
    (tmp_path / "deep" / "down").mkdir(parents=True)
    with Outbox.open(tmp_path / ".hg" / "sourcepulse" / "outbox.db") as outbox:
        outbox.append([system_event(1)])
    monkeypatch.chdir(tmp_path / "deep" / "down")
    assert main(["outbox", "list"]) == 0
    assert "system.test.degraded" in said(capsys)


def test_an_outbox_that_is_not_there_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--outbox", str(tmp_path / "none.db")]) == 3
    assert "there is no outbox" in capsys.readouterr().err


def test_a_damaged_outbox_is_exit_code_6_and_names_the_repair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o.db").write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    assert main(["status", "--outbox", str(tmp_path / "o.db")]) == 6
    assert "outbox repair" in capsys.readouterr().err
    # Nothing could be read of it, and that is not success.
    assert main(["outbox", "repair", "--apply", "--outbox", str(tmp_path / "o.db")]) == 5
    assert main(["outbox", "check", "--outbox", str(tmp_path / "o.db")]) == 0


def test_status_and_list_say_what_their_schemas_say(outbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["outbox", "bury", "--outbox", outbox, "2"])
    main(["relay", "--once", "--outbox", outbox, "--broker", f"file://{outbox}.log"])
    capsys.readouterr()
    assert main(["status", "--json", "--outbox", outbox]) == 0
    state = json.loads(said(capsys))
    jsonschema.validate(state, schema_for("status.v1"))
    assert (state["streams"]["public"]["delivered"], state["streams"]["public"]["buried"]) == (2, 1)
    rows = listed(capsys, outbox)
    for row in rows:
        jsonschema.validate(row, schema_for("outbox-list.v1"))
    assert [row["state"] for row in rows] == ["delivered", "buried", "delivered"]
    assert main(["status", "--outbox", outbox]) == 0
    assert "2 delivered" in said(capsys)


def test_status_shows_what_an_administrator_must_correct_until_it_is_corrected(
    outbox: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Outbox.open(outbox) as opened:
        set_problem(opened, "bugzilla-silent", "no row since \x1b[2J then", place="b")
    main(["status", "--outbox", outbox])
    lines = said(capsys).splitlines()
    assert lines[0] == "degraded: bugzilla-silent: no row since \\x1b[2J then"
    main(["status", "--json", "--outbox", outbox])
    state = json.loads(said(capsys))
    jsonschema.validate(state, schema_for("status.v1"))
    assert [(found["name"], found["message"]) for found in state["problems"]] == [
        ("bugzilla-silent", "no row since \x1b[2J then")
    ]
    with Outbox.open(outbox) as opened:
        clear_problem(opened, "bugzilla-silent", place="b")
    main(["status", "--outbox", outbox])
    assert "bugzilla-silent" not in said(capsys)
    main(["status", "--json", "--outbox", outbox])
    assert json.loads(said(capsys))["problems"] == []


def test_bury_retry_and_replay_work_by_id_by_its_beginning_and_by_position(
    outbox: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [row["id"] for row in listed(capsys, outbox)]
    assert main(["outbox", "bury", "--outbox", outbox, ids[0], ids[1][:13], "3", "--reason", "why not"]) == 0
    assert said(capsys).splitlines() == [f"{id_}  system.test.degraded  buried" for id_ in ids]
    assert {row["reason"] for row in listed(capsys, outbox, "--state", "buried")} == {"why not"}
    assert main(["outbox", "retry", "--outbox", outbox, "--all", "--apply"]) == 0
    assert main(["outbox", "retry", "--outbox", outbox, "--all"]) == 3
    assert main(["relay", "--once", "--outbox", outbox, "--broker", f"file://{outbox}.log"]) == 0
    assert (
        main(["outbox", "replay", "--outbox", outbox, "--apply", "--topic", "system.#", "--since", "2020-01-01T00:00Z"])
        == 0
    )
    assert main(["relay", "--once", "--outbox", outbox, "--broker", f"file://{outbox}.log"]) == 0
    capsys.readouterr()
    main(["status", "--json", "--outbox", outbox])
    assert json.loads(said(capsys))["streams"]["public"]["replayed"] == 3
    with sqlite3.connect(f"{outbox}.log") as log:
        bodies = [json.loads(body) for (body,) in log.execute("SELECT body FROM messages ORDER BY 1")]
    assert len(bodies) == 6


def test_show_prints_the_event_as_it_is_sent(outbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["outbox", "show", "--outbox", outbox, "1"]) == 0
    shown = json.loads(said(capsys))
    jsonschema.validate(shown["event"], schema_for("envelope.v1"))
    assert shown["event"]["data"]["message"] == "event 0"
    assert main(["outbox", "show", "--outbox", outbox, "77"]) == 3


@pytest.mark.parametrize(
    ("url", "code", "complaint"),
    [
        ("amqp://u:s3cret@127.0.0.1:1/", 4, "127.0.0.1"),
        ("ftp://x", 2, "scheme is unknown"),
        ("file:relative.db", 2, "write file:// and the absolute path"),
        ("file:///nowhere/at/all/log.db", 4, "/nowhere/at/all"),
    ],
)
def test_a_broker_that_cannot_be_reached_or_read_is_reported_and_nothing_is_lost(
    outbox: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    url: str,
    code: int,
    complaint: str,
) -> None:
    assert main(["relay", "--once", "--outbox", outbox, "--broker", url]) == code
    talk = capsys.readouterr().err + caplog.text
    assert complaint in talk
    assert "s3cret" not in talk
    assert {row["state"] for row in listed(capsys, outbox)} == {"pending"}


def test_another_broker_needs_rebind(outbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    relay = ["relay", "--once", "--outbox", outbox, "--broker"]
    assert main([*relay, f"file://{outbox}.log"]) == 0
    assert main([*relay, f"file://{outbox}.other"]) == 2
    assert "--rebind" in capsys.readouterr().err
    assert main([*relay, f"file://{outbox}.other", "--rebind"]) == 0


def test_restricted_events_never_go_to_the_public_exchange(outbox: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = f"file://{outbox}.log"
    code = main(
        [
            "relay",
            "--once",
            "--outbox",
            outbox,
            "--broker",
            log,
            "--restricted-broker",
            log,
            "--restricted-exchange",
            "sourcepulse",
        ]
    )
    assert code == 2
    assert "public exchange" in capsys.readouterr().err


def test_without_a_restricted_broker_restricted_events_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = str(tmp_path / "o.db")
    with Outbox.open(box) as opened:
        opened.append([system_event(1, source="system://t?restricted"), system_event(2)])
    assert main(["relay", "--once", "--outbox", box, "--broker", f"file://{box}.log"]) == 0
    assert [row["state"] for row in listed(capsys, box)] == ["pending", "delivered"]


def test_a_daemon_delivers_what_comes_and_sigterm_ends_it_well(outbox: str, tmp_path: Path) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", outbox, "--broker", f"file://{tmp_path}/log.db"],
        stderr=subprocess.PIPE,
    )
    try:
        with Outbox.open(outbox) as opened:
            opened.append([system_event(77)])
            deadline = time.monotonic() + 30
            while opened.claim("public") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not opened.claim("public")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()


def wait_until_delivered(outbox: str) -> None:
    with Outbox.open(outbox) as opened:
        deadline = time.monotonic() + 30
        while opened.claim("public") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not opened.claim("public")


def test_a_daemon_goes_on_with_the_outbox_that_replaced_its_own(outbox: str, tmp_path: Path) -> None:
    log = f"file://{tmp_path}/log.db"
    relay = subprocess.Popen([sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", outbox, "--broker", log])
    try:
        wait_until_delivered(outbox)
        Path(outbox).rename(tmp_path / "aside.db")
        assert main(["emit", "system.hg.down", "--outbox", outbox]) == 0
        wait_until_delivered(outbox)
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(20) == 0
    finally:
        relay.kill()
        relay.wait()


def test_a_relay_that_is_interrupted_by_hand_says_so(outbox: str, tmp_path: Path) -> None:
    log = f"file://{tmp_path}/log.db"
    relay = subprocess.Popen([sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", outbox, "--broker", log])
    try:
        wait_until_delivered(outbox)
        relay.send_signal(signal.SIGINT)
        assert relay.wait(20) == 130
    finally:
        relay.kill()
        relay.wait()


def test_an_idle_relay_ends_by_itself_and_a_second_one_leaves_the_field(outbox: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", outbox]
    command += ["--broker", f"file://{tmp_path}/log.db", "--idle-exit"]
    first = subprocess.Popen([*command, "3"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not Path(outbox + ".relay.lock").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = subprocess.run([*command, "1"], check=False, capture_output=True, timeout=30)
    assert second.returncode == 0
    assert first.wait(30) == 0
    with Outbox.open(outbox) as opened:
        assert not opened.claim("public")


def test_the_idle_relay_that_ends_just_when_an_event_comes_does_not_miss_it(tmp_path: Path) -> None:
    outbox = str(tmp_path / "o.db")
    command = [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", outbox]
    command += ["--broker", f"file://{tmp_path}/log.db", "--idle-exit", "0.2"]
    with Outbox.open(outbox) as opened:
        for number in range(6):
            relay = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            time.sleep(0.1 * number)
            opened.append([system_event(number)])
            relay.wait(30)
            # As the hook does: only if no process holds the lock is a new one started.
            if opened.claim("public"):
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=30)
            assert not opened.claim("public")


def test_a_password_on_the_command_line_is_warned_of(
    outbox: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    main(["relay", "--once", "--outbox", outbox, "--broker", "amqp://u:s3cret@127.0.0.1:1/"])
    talk = capsys.readouterr().err + caplog.text
    assert "use --broker-file" in talk
    assert "s3cret" not in talk


def test_schema_lists_types_and_prints_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert {"hg.push.v1", "system.<service>.<state>.v1"} <= set(said(capsys).split())
    assert main(["schema", "hg.push"]) == 0
    assert json.loads(said(capsys))["$id"] == "urn:sourcepulse:hg.push.v1"
    assert main(["schema", "hg.nonsense"]) == 2


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands = ["relay", "collect", "tail", "status", "outbox", "emit", "schema", "demo", "hg-path"]
    for command in (*commands, "bugzilla-path", "bugzilla-sidecar"):
        with pytest.raises(SystemExit) as caught:
            build_parser([command]).parse_args([command, "--help"])
        assert caught.value.code == 0
        assert command in said(capsys)


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nonsense"])
    assert caught.value.code == 2
    assert "relay" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["outbox", "list", "--outbox", "o.db", "--since", "0001-01-01"],
        ["outbox", "list", "--outbox", "o.db", "--limit", "-1"],
        ["tail", "--broker", "file:///nowhere/log.db", "--timeout", "nan"],
        ["relay", "--broker", "file:///nowhere/log.db", "--outbox", "o.db", "--idle-exit", "nan"],
        ["relay", "--broker", "file:///nowhere/log.db", "--outbox", "o.db", "--idle-exit", "1e300"],
    ],
)
def test_an_invalid_number_or_time_is_exit_code_2(outbox: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sourcepulse.cli", *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def run_in_ascii(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sourcepulse.cli", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=30,
    )


def test_output_that_cannot_show_a_character_gets_an_escape(tmp_path: Path) -> None:
    outbox = os.fsdecode(bytes(tmp_path) + b"/d\xe9j\xc3\xa0 ?#%.db")
    log = f"file://{tmp_path}/log.db"
    assert run_in_ascii("emit", "system.hg.down", "--outbox", outbox, "--data", '{"message": "déjà"}').returncode == 0
    status = run_in_ascii("status", "--json", "--outbox", outbox)
    assert json.loads(status.stdout)["outbox"] == outbox
    assert run_in_ascii("status", "--outbox", outbox).returncode == 0
    assert run_in_ascii("relay", "--once", "--outbox", outbox, "--broker", log).returncode == 0
    shown = run_in_ascii("tail", "--broker", log, "--from-start", "--count", "1")
    assert (shown.returncode, b"d\\xe9j\\xe0" in shown.stdout) == (0, True)


def test_an_output_that_cannot_be_written_is_reported_and_a_closed_pipe_is_not(
    outbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is written late fails late, so the output must not be unbuffered here.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = [sys.executable, "-m", "sourcepulse.cli", "status", "--outbox", outbox]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=30)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=30)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_beginning_of_an_id_may_consist_of_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Outbox.open(tmp_path / "o.db") as opened:
        events = [system_event(n) for n in range(200)]
        opened.append(events)
    wanted = next(event.id for event in events if event.id[:6].isdecimal() and int(event.id[:6]) > 200)
    assert main(["outbox", "show", wanted[:6], "--outbox", str(tmp_path / "o.db")]) == 0
    assert json.loads(said(capsys))["id"] == wanted
    assert main(["outbox", "show", "", "--outbox", str(tmp_path / "o.db")]) == 3


@pytest.mark.parametrize("arguments", [["help", "status"], ["-v", "help", "status"], ["status", "--help"]])
def test_help_of_a_command_is_there_in_both_orders(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert said(capsys).startswith("usage: sourcepulse status")


def test_without_a_command_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "dead-letters" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-v", "status"], ["status", "-v"], ["--verbose", "status"]])
def test_verbose_is_understood_before_and_behind_the_command(outbox: str, arguments: list[str]) -> None:
    assert main([*arguments, "--outbox", outbox]) == 0


@pytest.mark.parametrize("arguments", [["outbox", "-v", "list"], ["outbox", "list", "-v"], ["-v", "outbox", "list"]])
def test_verbose_is_understood_before_and_behind_an_action(outbox: str, arguments: list[str]) -> None:
    assert build_parser(arguments).parse_args(["outbox", "list", "-v"]).verbose
    assert main([*arguments, "--outbox", outbox]) == 0


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["stauts"])
    assert ended.value.code == 2
    assert "unknown command 'stauts'; did you mean 'status'?" in capsys.readouterr().err


def test_emit_reads_the_data_from_standard_input_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    box, file = str(tmp_path / "o.db"), tmp_path / "data.json"
    file.write_text('{"message": "from a file"}', encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"message": "from a pipe"}'))
    assert main(["emit", "system.hg.down", "--outbox", box, "--data", "-"]) == 0
    assert main(["emit", "system.hg.down", "--outbox", box, "--data", f"@{file}"]) == 0
    messages = [event.data["message"] for event in outbox_events(tmp_path / "o.db")]
    assert messages == ["from a pipe", "from a file"]
    assert main(["emit", "system.hg.down", "--outbox", box, "--data", "@/nowhere"]) != 0
    assert "the file of --data @/nowhere cannot be read: No such file or directory" in capsys.readouterr().err


def test_help_names_the_choices_and_defaults_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["relay", "--help"])
    text = " ".join(said(capsys).split())
    assert "--format cloudevents|pulse the format of published events (default: cloudevents)" in text
