# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor names what is wrong with settings, outbox and relay, and its commands repair it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sourcepulse.brokers.url import hide_passwords
from sourcepulse.outbox.files import lock_file
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import set_problem
from sourcepulse.relay.health.liveness import lock_path
from sourcepulse.relay.health.second_relay import FRESH_SECONDS, SECOND_RELAY, lock_holder, sentence
from sourcepulse.relay.on_demand import start_path
from sourcepulse.relay.relay import is_relayed
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until
from support.doctor import Examined, examine, is_well, paste
from support.in_process import run_command
from support.streams.freeze import freeze

LIMIT_SECONDS = 30.0
#: The user `nobody` of Debian.
OTHER_ID = 65_534


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """An outbox with one event, in a folder that a group shares."""
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o2770)
    with Outbox.open(folder / "outbox.db") as opened:
        opened.append([system_event(1)])
    return folder / "outbox.db"


@pytest.fixture
def settings(tmp_path: Path, outbox: Path) -> Path:
    """The configuration file of a relay with an embedded log."""
    path = tmp_path / "config.toml"
    path.write_text(f'outbox = "{outbox}"\nbroker = "file://{tmp_path}/log.db"\n')
    return path


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a printed command in a shell until the end of the block."""
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["bash", "-c", "exec " + command[0]], env=environ, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(LIMIT_SECONDS)


def is_full(filler: BinaryIO) -> bool:
    """Write a page, and return whether there was no room for it."""
    try:
        return filler.write(bytes(4096)) == 0
    except OSError:
        return True


def relays(settings: Path) -> str:
    return f"sourcepulse relay --config {settings}"


def pending(outbox: Path) -> int:
    with Outbox.open(outbox, create=False) as opened:
        return opened.pending("public")


@contextmanager
def relayed(settings: Path, outbox: Path) -> Iterator[subprocess.Popen[bytes]]:
    with started(relays(settings)) as process:
        wait_until(lambda: is_relayed(outbox) and pending(outbox) == 0)
        yield process


def test_a_dead_relay_with_events_waiting_is_named_and_the_command_starts_one(settings: Path, outbox: Path) -> None:
    found = examine("--config", settings)
    assert found.returncode == 1
    assert found.bad == ["SP401"]
    (command,) = found.repair("SP401")
    with started(command):
        wait_until(lambda: pending(outbox) == 0)
        found = examine("--config", settings)
        assert is_well(found), found.findings
        assert (pending(outbox), found.returncode) in [(0, 0), (0, 2)]


def test_the_only_relay_is_never_ended_because_a_second_one_could_not_start(settings: Path, outbox: Path) -> None:
    with relayed(settings, outbox) as first:
        command = [sys.executable, "-m", "sourcepulse.cli", "relay", "--config", str(settings)]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 6
        found = examine("--config", settings)
        assert found.bad == ["SP403"]
        assert "sourcepulse relay --config" in found.one("SP403")["found"]
        assert "which has ended" in found.one("SP403")["found"]
        assert found.repair("SP403") == [f"ps -fp {first.pid}"]
        paste(*found.repair("SP403"))
    with relayed(settings, outbox):
        assert is_well(examine("--config", settings))


def test_a_relay_that_a_waiting_service_can_replace_is_ended(settings: Path, outbox: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    waiting = [sys.executable, "-m", "sourcepulse.cli", "relay", "--config", str(settings)]
    with (
        relayed(settings, outbox) as first,
        subprocess.Popen(waiting, env=environ, stderr=subprocess.DEVNULL) as second,
    ):
        try:
            wait_until(lambda: "SP403" in examine("--config", settings).bad, LIMIT_SECONDS)
            found = examine("--config", settings)
            assert f"process {second.pid} (" in found.one("SP403")["found"]
            assert found.repair("SP403") == [f"kill {first.pid}"]
            paste(*found.repair("SP403"))
            first.wait(LIMIT_SECONDS)
            wait_until(lambda: lock_holder(outbox) == second.pid, LIMIT_SECONDS)
            wait_until(lambda: is_well(examine("--config", settings)), LIMIT_SECONDS)
        finally:
            second.terminate()


def test_a_second_start_of_long_ago_is_no_finding(settings: Path, outbox: Path) -> None:
    long_ago = time.time() - 2 * FRESH_SECONDS
    with relayed(settings, outbox) as first:
        with Outbox.open(outbox, clock=lambda: long_ago) as opened:
            set_problem(opened, SECOND_RELAY, sentence(os.getpid(), first.pid))
        assert is_well(examine("--config", settings))


def test_a_password_never_occurs_in_the_report_wherever_it_stands(tmp_path: Path, outbox: Path) -> None:
    # A test of the hgrc is with those of Mercurial.
    secret = "s3cr@t wo:rd"
    url = f"amqp://relay:{secret}@127.0.0.1:1/x"
    command = shlex.join(["sourcepulse", "relay", "--outbox", str(outbox), "--broker", url.replace(secret, "s3cr%40t")])
    with started(command) as relay:
        wait_until(lambda: is_relayed(outbox))
        with Outbox.open(outbox) as opened:
            set_problem(opened, SECOND_RELAY, sentence(os.getpid(), relay.pid))
            set_problem(opened, "test", f"{'x' * 560} {url} or --broker={url} and {url}?token=s3cr%40t")
            opened.remember_origin("hg", f"/nowhere/{url}/.hg")
        for options in ((), ("--json",)):
            given = ("--outbox", str(outbox), "--broker", url.replace(secret, "s3cr%40t"))
            ran = run_command("doctor", *options, *given)
            assert "SP403" in ran.stdout
            assert "relay:***@127.0.0.1" in ran.stdout
            assert "s3cr" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to amqp://u:p@w@h:1/v and amqps://u2@h2", "to amqp://u:***@h:1/v and amqps://u2@h2"),
        ("--broker=amqp://u:a b/c@h", "--broker=amqp://u:***@h"),
        ("amqp://u:p/w?x#y@h:1,h2:2/v", "amqp://u:***@h:1,h2:2/v"),
        ("amqp://:pw@h", "amqp://:***@h"),
        ("at amqp://u:a ://b@h/v", "at amqp://u:***@h/v"),
        ("amqp://h:5672 refuses a@b, file:///a@b/log.db too", "amqp://h:5672 refuses a@b, file:///a@b/log.db too"),
    ],
)
def test_passwords_in_a_text_are_hidden_and_the_rest_is_kept(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown


def test_a_hung_relay_is_named_and_ended(settings: Path, outbox: Path) -> None:
    with relayed(settings, outbox) as relay:
        freeze(relay, outbox, lock_file(outbox.parents[1] / "log.db"))
        long_ago = time.time() - 600
        os.utime(lock_path(outbox), (long_ago, long_ago))
        found = examine("--config", settings)
        assert found.bad == ["SP404"]
        paste(*found.repair("SP404"))
        relay.wait(LIMIT_SECONDS)
        assert examine("--config", settings).bad == ["SP402"]


def test_an_outbox_that_a_umask_closed_to_the_group_is_opened_again(settings: Path, outbox: Path) -> None:
    with relayed(settings, outbox):
        # As after a restored backup.
        lock = outbox.with_name("outbox.db.lock")
        paste(f"umask 077; cp {lock} {lock}.new; mv {lock}.new {lock}; chmod 600 {outbox}")
        found = examine("--config", settings)
        assert found.bad == ["SP114"]
        paste(*found.repair("SP114"))
        assert is_well(examine("--config", settings))
        assert outbox.stat().st_mode & 0o060 == 0o060


@contextmanager
def mounted(place: Path) -> Iterator[Path]:
    """Mount a small file system until the end of the block."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "sourcepulse-test", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_and_nothing_else_is_blamed(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as place:
        with Outbox.open(place / "outbox.db") as opened:
            opened.append([system_event(1)])
        with open(place / "filler", "wb", buffering=0) as filler:
            while not is_full(filler):
                pass
        found = examine("--outbox", place / "outbox.db", "--broker", f"file://{tmp_path}/log.db")
        assert found.bad[0] == "SP115"
        assert str(place / "filler") in paste(*found.repair("SP115"))
        (place / "filler").unlink()
        assert examine("--outbox", place / "outbox.db", "--broker", f"file://{tmp_path}/log.db").bad == ["SP401"]


@pytest.mark.parametrize("text", ["outbox = \n", 'outbx = "/tmp/o.db"\n', "broker_file = '/nowhere/at/all'\n"])
def test_a_malformed_configuration_is_a_finding_and_the_outbox_is_checked_all_the_same(
    tmp_path: Path, outbox: Path, text: str
) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(text)
    found = examine("--config", config, "--outbox", outbox)
    assert {"SP101", "SP401"} <= set(found.bad)
    assert str(config) in found.one("SP101")["found"] or "/nowhere/at/all" in found.one("SP101")["found"]


def test_the_url_that_the_unit_passes_to_the_relay_is_used(
    tmp_path: Path, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse.cli.commands.doctor.CREDENTIALS", tmp_path)
    (tmp_path / "broker").touch(0o600)
    (tmp_path / "broker").write_text(f"file://{tmp_path}/log.db\n")
    config = tmp_path / "service.toml"
    config.write_text(f'outbox = "{outbox}"\n')
    found = examine("--config", config)
    assert found.bad == ["SP401"]
    assert f"--broker-file {tmp_path}/broker" in found.repair("SP401")[0]


def test_an_outbox_that_is_missing_damaged_or_locked_is_named_and_repaired(tmp_path: Path, outbox: Path) -> None:
    def looked_at(path: Path) -> Examined:
        return examine("--outbox", path, "--broker", f"file://{tmp_path}/log.db")

    for path in (tmp_path / "missing.db", tmp_path / "no folder" / "missing.db"):
        missing = looked_at(path)
        assert missing.bad == ["SP110"]
        paste(*missing.repair("SP110"))
        # Nothing waits, and who has no pushes is asked for a relay.
        assert looked_at(path).bad == ["SP402"]
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(outbox.read_bytes()[:100] + b"x" * 5000)
    found = looked_at(damaged)
    assert found.bad == ["SP111"]
    # It also reports that not everything could be read.
    paste(*found.repair("SP111"), check=False)
    assert "SP111" not in looked_at(damaged).bad
    other = tmp_path / "outbox.db.lock"
    with outbox.with_name("outbox.db.lock").open("rb") as lock, started(f"flock '{other}' sleep 600") as stranger:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = looked_at(outbox)
        assert found.bad == ["SP113", "SP401"]
        shown = paste(*found.repair("SP113"))
        assert str(os.getpid()) in shown
        assert str(stranger.pid) not in shown
    assert looked_at(outbox).bad == ["SP401"]


def test_no_command_of_a_repair_ends_in_a_space_where_the_settings_need_no_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'outbox = "{tmp_path}/o.db"\nbroker = "file://{tmp_path}/log.db"\n')
    monkeypatch.setenv("SOURCEPULSE_CONFIG", str(config))
    missing = examine().repair("SP110")
    assert missing[-1].endswith("relay --once")
    paste(*missing)
    found = examine()
    assert found.bad == ["SP402"]
    (start,) = found.repair("SP402")
    assert start.endswith("relay")


def test_what_the_outbox_records_of_troubles_is_reported(tmp_path: Path, settings: Path, outbox: Path) -> None:
    with Outbox.open(outbox) as opened:
        opened.acknowledge("public", [1])
        set_problem(opened, "bugzilla-silent", "the extension has written no row")
        opened.remember_origin("hg", "/nowhere/.hg")
        (origin,) = opened.origins()
        opened.note_sweep(origin, {"error": "/nowhere/.hg cannot be read"})
    Path(start_path(str(outbox))).write_text("sourcepulse: no module of that name\n")
    os.utime(start_path(str(outbox)), (time.time() - 60,) * 2)
    found = examine("--config", settings)
    assert set(found.bad) == {"SP117", "SP410", "SP409", "SP507"}
    assert "no module of that name" in found.one("SP409")["found"]
    assert found.repair("SP410") == [f"{found.repair('SP410')[0].split()[0]} collect --outbox {outbox} /nowhere/.hg"]


def test_what_was_refused_and_another_broker_are_named_and_repaired(
    tmp_path: Path, settings: Path, outbox: Path
) -> None:
    with relayed(settings, outbox):
        pass
    with Outbox.open(outbox) as opened:
        opened.append([system_event(2)])
        opened.bury(2, "a test")
    settings.write_text(settings.read_text().replace("log.db", "other.db"))
    found = examine("--config", settings)
    assert {"SP405", "SP407", "SP402"} == set(found.bad)
    paste(*found.repair("SP407"), *found.repair("SP405"))
    with relayed(settings, outbox):
        assert is_well(examine("--config", settings))


def seen_by_another_user(outbox: Path) -> dict[str, dict[str, Any]]:
    """Return the findings by id, if another user runs the doctor; the folders on the way to the outbox's are opened."""
    if os.geteuid():
        pytest.skip("only root may become another user")
    # Everything is imported before.
    examine("--outbox", outbox, "--broker", f"file://{outbox.parents[1]}/log.db")
    for folder in outbox.parents[1:]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o005)
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgroups([])
            os.setgid(OTHER_ID)
            os.setuid(OTHER_ID)
            found = examine("--outbox", outbox, "--broker", f"file://{outbox.parents[1]}/log.db")
            os.write(write, json.dumps(found.findings).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read, encoding="utf-8") as answer:
        return {each["id"]: each for each in json.load(answer)}


def test_a_user_who_may_not_use_the_outbox_sees_what_must_be_changed(outbox: Path) -> None:
    outbox.parent.chmod(0o2775)
    seen = seen_by_another_user(outbox)
    assert seen["SP112"]["state"] == "broken"
    assert all(command.startswith(("chgrp ", "chmod g+")) for command in seen["SP112"]["repair"])
    # It is said that the rest was not looked at.
    assert seen["SP401"]["state"] == "not checked"
    assert "repositories and Bugzillas" in seen["SP401"]["found"]


@pytest.mark.parametrize(("folder_mode", "mode"), [(0o2775, 0o600), (0o755, 0o600), (0o750, 0o660)])
def test_no_command_opens_an_outbox_that_is_for_its_owner_alone(outbox: Path, folder_mode: int, mode: int) -> None:
    (outbox.parent / "buildbot.tac").touch()
    outbox.chmod(mode)
    outbox.parent.chmod(folder_mode)
    seen = seen_by_another_user(outbox)
    assert seen["SP112"]["state"] == "not checked"
    assert "run the doctor as root, or as root" in seen["SP112"]["found"]
    assert not any(each["repair"] for each in seen.values())
    assert "repositories and Bugzillas" in seen["SP401"]["found"]
    assert "SP101" not in seen or "tac" not in seen["SP101"]["found"]


def test_a_file_of_another_user_beside_a_private_outbox_is_named_and_handed_over(outbox: Path) -> None:
    for place, mode in ((outbox.parent, 0o700), (outbox, 0o600)):
        place.chmod(mode)
        os.chown(place, OTHER_ID if not os.geteuid() else -1, -1)
    lock = outbox.with_name("outbox.db.lock")
    lock.chmod(0o600)
    seen = seen_by_another_user(outbox)
    assert lock.name in seen["SP119"]["found"]
    assert "SP112" not in seen
    paste(*seen["SP119"]["repair"])
    assert lock.stat().st_uid == OTHER_ID
    assert lock.stat().st_mode & 0o777 == 0o600
    assert "SP119" not in seen_by_another_user(outbox)


def test_a_file_system_that_is_read_only_is_named_and_mounted_writable(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as place:
        with Outbox.open(place / "outbox.db") as opened:
            opened.append([system_event(1)])
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        given = ("--outbox", place / "outbox.db", "--broker", f"file://{tmp_path}/log.db")
        found = examine(*given)
        assert found.bad == ["SP118", "SP401"]
        # Only root may read the kernel's words.
        paste(found.repair("SP118")[0], found.repair("SP118")[2])
        assert examine(*given).bad == ["SP401"]


def test_the_doctor_creates_nothing_beside_an_outbox_and_upgrades_none(outbox: Path) -> None:
    outbox.with_name("outbox.db.lock").unlink()

    def content() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in outbox.parent.iterdir() if file.is_file()}

    given = ("--outbox", outbox, "--broker", f"file://{outbox.parents[1]}/log.db")
    before = content()
    assert examine(*given).bad == ["SP401"]
    assert content() == before
    with closing(sqlite3.connect(outbox)) as db:
        db.execute("PRAGMA user_version = 0")
    before = content()
    found = examine(*given)
    assert any("older format 0" in each["found"] for each in found.findings)
    assert found.bad == []
    assert content() == before
    outbox.write_bytes(b"")
    assert any("the next event" in each["found"] for each in examine(*given).findings)
    assert content() == {"outbox.db": b""}


def test_an_outbox_is_read_while_it_is_written(outbox: Path) -> None:
    given = ("--outbox", outbox, "--broker", f"file://{outbox.parents[1]}/log.db")
    with Outbox.open(outbox) as opened:
        opened.append([system_event(2)])
        found = examine(*given)
        assert found.bad == ["SP401"]
        assert "2 pending" in found.one("SP401")["found"]


def test_the_socket_of_the_relay_with_a_wrong_mode_is_repaired(settings: Path, outbox: Path) -> None:
    with relayed(settings, outbox):
        wake = outbox.with_name("outbox.db.wake")
        wake.chmod(0o600)
        found = examine("--config", settings)
        assert found.bad == ["SP408"]
        paste(*found.repair("SP408"))
        assert is_well(examine("--config", settings))


def test_the_text_for_people_has_each_command_alone_on_its_line(settings: Path, outbox: Path) -> None:
    ran = run_command("doctor", "--config", str(settings))
    assert ran.returncode == 1
    lines = ran.stdout.splitlines()
    assert lines[0].split() == ["broken", "SP401", *lines[0].split()[2:]]
    (command,) = examine("--config", settings).repair("SP401")
    assert f"      {command}" in lines
