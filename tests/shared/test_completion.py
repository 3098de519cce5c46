# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is generated from the parser: completion in a real bash (zsh and fish where installed), and the man page."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from sourcepulse.cli.describe.command_tree import Command, read_tree
from sourcepulse.cli.main import EXIT_CODES, build_parser, main
from support.component import require

LIMIT_SECONDS = 30
#: Drives the function that `complete` registered, as readline does, and prints what it offers.
DRIVER = """
source {script}
complete -p sourcepulse
offer() {{
    COMP_WORDS=(sourcepulse "$@"); COMP_CWORD=$#; COMPREPLY=()
    "$(complete -p sourcepulse | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
    echo "${{COMPREPLY[@]}}"
}}
{offers}
"""


def tree() -> Command:
    return read_tree(build_parser())


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"sourcepulse.{shell}"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    return path


def test_bash_completes_commands_actions_options_choices_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my outbox.db").touch()
    expected = {
        ("rel",): "relay",
        ("outbox", "ver"): "",
        ("outbox", "re"): "retry replay rebind repair restore",
        ("-v", "outbox", "li"): "list",
        ("outbox", "list", "--sta"): "--state",
        ("outbox", "list", "--state", ""): "pending delivered buried",
        ("relay", "--format", "=", "p"): "pulse",
        ("relay", "--format", "="): "cloudevents pulse",
        ("relay", "--exchange", "s"): "",
        ("completion", "f"): "fish",
        ("help", "che"): "check",
        ("status", "--outbox", "my"): "my outbox.db",
        ("collect", "my"): "my outbox.db",
    }
    offers = "\n".join(f"offer {shlex.join(words)}" for words in expected)
    program = DRIVER.format(script=shlex.quote(str(script("bash", tmp_path, capsys))), offers=offers)
    done = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS
    )
    # A `compopt` outside of a completion is refused; readline allows it.
    registered, *offered = done.stdout.splitlines()
    assert registered == "complete -F _sourcepulse sourcepulse"
    assert dict(zip(expected, offered, strict=True)) == expected


def test_bash_offers_every_command_and_every_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = list(tree().walk())
    offers = "\n".join(f"offer {shlex.join([*command.words, '-'])}" for command in commands)
    program = DRIVER.format(script=shlex.quote(str(script("bash", tmp_path, capsys))), offers=offers)
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS)
    for command, offered in zip(commands, done.stdout.splitlines()[1:], strict=True):
        assert offered.split() == [flag for option in command.options for flag in option.flags]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_itself_accepts_its_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script(shell, tmp_path, capsys)
    text = path.read_text(encoding="utf-8")
    assert all(command.words[-1] in text for command in tree().walk() if command.words)
    program = shutil.which(shell)
    require(program is not None, f"there is no {shell}")
    subprocess.run([str(program), "-n", str(path)], check=True, timeout=LIMIT_SECONDS)


def test_fish_offers_actions_and_the_options_of_an_action(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("fish", tmp_path, capsys)
    program = shutil.which("fish")
    require(program is not None, "there is no fish")
    asked = ("complete -C 'sourcepulse outbox l'", "complete -C 'sourcepulse outbox list --st'")
    ask = "; ".join([f"source {shlex.quote(str(path))}", *asked])
    done = subprocess.run(
        [str(program), "-c", ask],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_SECONDS,
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["list", "--state"]


def test_the_man_page_is_correct_roff_and_names_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man"]) == 0
    roff = capsys.readouterr().out
    plain = re.sub(r"\\f[BIR]|\\&", "", roff).replace(r"\-", "-").replace(r"\(dq", '"')
    for command in tree().walk():
        assert f"sourcepulse {' '.join(command.words)}".strip() in plain
        for item in (*command.options, *command.arguments):
            if "--help" not in item.flags:
                assert item.help in plain
                assert ", ".join(item.flags) in plain
    for code, meaning in EXIT_CODES.items():
        assert f".TP\n{code}\n{meaning}" in plain
    groff = shutil.which("groff")
    require(groff is not None, "there is no groff")
    done = subprocess.run(
        [str(groff), "-man", "-ww", "-z"], input=roff, capture_output=True, text=True, check=True, timeout=LIMIT_SECONDS
    )
    assert done.stderr == ""
