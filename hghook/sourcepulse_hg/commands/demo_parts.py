# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What both demos do: run hg, start programs, end relays, and write to the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sourcepulse.errors import ConfigError
from sourcepulse.relay.health.liveness import lock_path

HG_LIMIT_SECONDS = 180


def environ(user: str = "alice") -> dict[str, str]:
    """Return an environment without the configuration of the user who runs the demo."""
    name = f"{user.title()} <{user}@example.org>"
    return {**os.environ, "SOURCEPULSE_CONFIG": "", "HGRCPATH": "", "HGUSER": name, "USER": user}


def extension_path() -> Path:
    """Return the path for the hgrc that loads the extension into any hg."""
    return Path(__file__).resolve().parents[1]


def hg_program() -> list[str]:
    """Return how hg is started: the one beside this Python, else the one in PATH."""
    beside = Path(sys.executable).with_name("hg")
    if beside.exists():
        # Run by the interpreter, because the first line of the installed script breaks in a path with spaces.
        return [sys.executable, str(beside)]
    program = shutil.which("hg")
    if program is None:
        raise ConfigError("hg was not found; install Mercurial, or run `make setup`")
    return [program]


def make_server(folder: Path, name: str, broker: str, hg: Sequence[str], *more: str) -> tuple[Path, str]:
    """Make a repository whose hgrc enables the extension, and return it with that hgrc; `more` are lines of it."""
    server = folder / name
    server.parent.mkdir(parents=True, exist_ok=True)
    run(environ(), *hg, "init", str(server))
    hgrc = (
        f"[extensions]\nsourcepulse_hg = {extension_path()}\n\n"
        f"[sourcepulse]\nroot = {folder}\noutbox = {folder}/outbox.db\nbroker = {broker}\n"
    )
    hgrc += "".join(f"{line}\n" for line in more)
    (server / ".hg" / "hgrc").write_text(hgrc)
    return server, hgrc


def run(variables: Mapping[str, str], *command: str, code: int = 0) -> str:
    """Run a program and return what it prints; ConfigError if it ends with another code."""
    done = subprocess.run(
        command,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=HG_LIMIT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != code:
        raise ConfigError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout + done.stderr


def stop_relay(outbox: Path) -> None:
    """Stop the relay that the hook started, which would otherwise idle for half a minute."""
    with suppress(OSError, ValueError):
        os.kill(int(lock_path(outbox).read_text()), signal.SIGTERM)


def show(text: str) -> None:
    """Write to stderr at once; stdout is for events."""
    print(text, file=sys.stderr, flush=True)


def indented(text: str) -> str:
    return "".join(f"       {line}\n" for line in text.splitlines())
