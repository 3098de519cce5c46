# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The configuration of the machine and of the user: which file is read when, and who reads neither."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sourcepulse.cli.main import main
from sourcepulse.config import default_files, load
from sourcepulse.errors import ConfigError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
from sourcepulse_hg.pending.relay_start import relay_environment

Run = Callable[..., int]


@pytest.fixture
def system(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "config.toml"
    path.parent.mkdir()
    return path


@pytest.fixture
def user(tmp_path: Path) -> Path:
    path = tmp_path / "xdg" / "sourcepulse" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def run(system: Path, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program where nothing else is set, with these two files as the default ones."""
    monkeypatch.delenv("SOURCEPULSE_CONFIG")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return lambda *arguments: main(arguments, files=(system, user))


def outbox_at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Outbox.open(path) as outbox:
        outbox.append([system_event(1)])
    return path


def test_the_files_are_that_of_the_machine_and_that_of_the_user(tmp_path: Path) -> None:
    system = Path("/etc/sourcepulse/config.toml")
    assert default_files({"HOME": "/home/me"}) == (system, Path("/home/me/.config/sourcepulse/config.toml"))
    assert default_files({"HOME": "/home/me", "XDG_CONFIG_HOME": "/xdg"})[1] == Path("/xdg/sourcepulse/config.toml")
    # The specification of XDG ignores a relative path.
    assert default_files({"XDG_CONFIG_HOME": "relative"}) == (system,)


def test_the_file_of_the_user_overrides_that_of_the_machine_key_by_key(system: Path, user: Path) -> None:
    system.write_text('outbox = "/s"\nexchange = "system"\nbroker_file = "/nowhere"\n')
    user.write_text('exchange = "user"\nbroker = "amqp://mine"\n')
    config = load(environ={}, default_files=(system, user))
    assert (config.text("outbox"), config.text("exchange"), config.text("broker")) == ("/s", "user", "amqp://mine")
    variables = {"SOURCEPULSE_EXCHANGE": "variable"}
    assert load(environ=variables, default_files=(system, user)).text("exchange") == "variable"
    assert load({"exchange": "e"}, environ=variables, default_files=(system, user)).text("exchange") == "e"


def test_a_named_file_replaces_both_and_an_empty_name_means_none(system: Path, user: Path, tmp_path: Path) -> None:
    system.write_text("keep_days = 1\n")
    user.write_text("keep_days = 2\n")
    named = tmp_path / "named.toml"
    named.write_text('exchange = "named"\n')
    files = (system, user)
    assert load(environ={}, default_files=files).number("keep_days") == 2
    for config in (
        load(file=named, environ={}, default_files=files),
        load(environ={"SOURCEPULSE_CONFIG": str(named)}, default_files=files),
        load(environ={"SOURCEPULSE_CONFIG": ""}, default_files=files),
    ):
        assert config.number("keep_days") == 30


def test_a_command_without_options_works_on_the_configured_outbox(
    run: Run, system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = outbox_at(tmp_path / "var" / "outbox.db")
    # Only root may read the file of the broker, and this user only looks at the outbox.
    system.write_text(f'outbox = "{box}"\nbroker_file = "/nowhere/broker"\n')
    assert run("status") == 0
    assert f"outbox     {box}" in capsys.readouterr().out
    assert run("emit", "system.hg.down") == 0
    assert run("relay", "--once") == 2
    assert "/nowhere/broker cannot be read" in capsys.readouterr().err


def test_a_file_that_this_user_may_not_read_is_named_only_where_a_setting_is_missing(
    run: Run, system: Path, user: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system.mkdir()
    box = outbox_at(tmp_path / "outbox.db")
    assert run("status", "--outbox", str(box)) == 0
    capsys.readouterr()
    assert run("status") == 2
    said = capsys.readouterr().err
    assert f"(looked in {system}: Is a directory, {user}: No such file or directory)" in said


def test_a_mistake_in_a_default_file_is_named_with_the_file(user: Path) -> None:
    user.write_text("brokr = 1\n")
    with pytest.raises(ConfigError, match=f"{user}; did you mean 'broker'"):
        load(environ={}, default_files=(user,))


def test_an_error_says_where_the_setting_behind_it_was_set(
    run: Run,
    system: Path,
    user: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system.write_text(f'outbox = "{tmp_path}/typo.db"\n')
    user.write_text('broker = "amqp://127.0.0.1:1"\n')
    assert run("status") == 3
    assert f"(outbox is set in {system})" in capsys.readouterr().err
    assert run("tail", "--timeout", "0") == 4
    assert f"(broker is set in {user})" in capsys.readouterr().err
    assert run("status", "--outbox", f"{tmp_path}/typo.db") == 3
    assert "is set in" not in capsys.readouterr().err
    monkeypatch.setenv("SOURCEPULSE_OUTBOX", f"{tmp_path}/typo.db")
    assert run("status") == 3
    assert "(outbox is set in the environment)" in capsys.readouterr().err


def test_the_outbox_of_the_repository_around_the_user_overrides_a_default_file(
    run: Run, system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = outbox_at(tmp_path / "other.db")
    near = outbox_at(tmp_path / "repo" / ".hg" / "sourcepulse" / "outbox.db")
    system.write_text(f'outbox = "{other}"\n')
    monkeypatch.chdir(tmp_path / "repo")
    assert run("status") == 0
    assert f"outbox     {near}" in capsys.readouterr().out
    monkeypatch.setenv("SOURCEPULSE_CONFIG", str(system))
    assert run("status") == 0
    assert f"outbox     {other}" in capsys.readouterr().out


def test_the_outbox_is_found_from_a_folder_that_is_closed_or_gone(user: Path, tmp_path: Path) -> None:
    user.write_text('outbox = "/var/lib/o.db"\n', encoding="utf-8")
    closed = tmp_path / "closed"
    program = (
        "import os, sys; from pathlib import Path; from sourcepulse.cli.common import outbox_path\n"
        "from sourcepulse.config import load; config = load({}, environ={}, default_files=[Path(sys.argv[1])])\n"
        "if sys.argv[2] == 'gone': os.rmdir(os.getcwd())\n"
        "elif os.geteuid(): os.chmod('.', 0)\n"
        "else: os.seteuid(65534)\n"
        "print(outbox_path(config))\n"
    )
    for why in ("closed", "gone"):
        closed.mkdir(mode=0o700, exist_ok=True)
        command = [sys.executable, "-c", program, str(user), why]
        done = subprocess.run(command, cwd=closed, capture_output=True, text=True, check=False, timeout=60)
        assert (done.stdout, done.stderr) == ("/var/lib/o.db\n", "")


def test_check_without_arguments_checks_what_is_configured_or_says_what_to_pass(
    run: Run, user: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check") == 2
    said = capsys.readouterr().err
    assert "use --outbox FILE and --broker-file FILE, or set outbox and broker_file in" in said
    assert "/etc/sourcepulse/config.toml, then ~/.config/sourcepulse/config.toml; in a repository run" in said
    user.write_text(f'outbox = "{outbox_at(tmp_path / "o.db")}"\nbroker = "file://{tmp_path}/log.db"\n')
    assert run("check") == 1
    out = capsys.readouterr().out
    assert "o.db can be written to" in out
    assert f"file://{tmp_path}/log.db" in out


def test_what_the_hook_starts_reads_no_default_file(
    system: Path, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCEPULSE_CONFIG")
    environment = relay_environment(broker=f"file://{tmp_path}/log.db", broker_file=None)
    user.write_text("this is not TOML\n")
    environment[b"XDG_CONFIG_HOME"] = os.fsencode(user.parents[1])
    box = outbox_at(tmp_path / "o.db")
    for arguments in (["relay", "--idle-exit", "0", "--outbox", str(box)], ["check", "--key", "hg.push.x", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "sourcepulse.cli", *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    with Outbox.open(box) as outbox:
        assert outbox.pending("public") == 0
    # An admin who sets the variable for the server still chooses the file.
    monkeypatch.setenv("SOURCEPULSE_CONFIG", "/etc/own.toml")
    assert relay_environment(broker=None, broker_file=None)[b"SOURCEPULSE_CONFIG"] == b"/etc/own.toml"


def test_the_sidecar_of_bugzilla_reads_no_default_file(
    run: Run, system: Path, user: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system.write_text("this is not TOML\n")
    assert run("bugzilla-sidecar", "--bugzilla", "/nowhere") == 2
    said = capsys.readouterr().err
    assert "/nowhere" in said
    assert "TOML" not in said
