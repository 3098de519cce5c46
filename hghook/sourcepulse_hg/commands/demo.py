# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse demo`: show a real `hg push` arriving as an event, through the embedded log, without a broker."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sourcepulse.errors import EXIT_FAILURE, EXIT_OK, ConfigError
from sourcepulse.relay.health.liveness import lock_path

HELP = "show a real hg push arriving as an event"

#: The relay starts and the event travels within a second or two; a busy machine may need longer.
ARRIVAL_LIMIT_SECONDS = 60
HG_LIMIT_SECONDS = 60

#: Without the configuration of the user who runs the demo.
_ENVIRON = {"SOURCEPULSE_CONFIG": "", "HGRCPATH": "", "HGUSER": "Alice <alice@example.org>", "USER": "alice"}
_HISTORY = (
    ("README", "A parser for empty input.\n", "Start the project"),
    ("parse.c", "int parse(const char *s) { return *s; }\n", "Add the parser"),
    ("parse.c", "int parse(const char *s) { return s ? *s : 0; }\n", "Bug 1234 - handle empty input"),
)

_PASTE = """
To enable it on a real server, paste this into its hgrc (see hghook/README.md):

    [extensions]
    sourcepulse_hg = {extension}

    [sourcepulse]
    root = /srv/hg
    outbox = /var/lib/sourcepulse/outbox.db
    broker = file:///var/lib/sourcepulse/log.db
    # with RabbitMQ instead:  broker_file = /etc/sourcepulse/broker   (one line: amqps://user:password@host/vhost)

and watch:  sourcepulse tail --broker file:///var/lib/sourcepulse/log.db 'hg.push.#'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="keep the folder with the repositories and the outbox")


def run(args: argparse.Namespace) -> int:
    """Create two repositories, push from one to the other, and show what a subscriber receives."""
    folder = Path(tempfile.mkdtemp(prefix="sourcepulse-demo-"))
    # The folder and the relay go also when a supervisor ends the demo.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _show(folder)
    finally:
        _stop_relay(folder)
        if args.keep:
            _print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _show(folder: Path) -> int:
    hg = _hg_program()
    environ = {**os.environ, **_ENVIRON}
    server, broker = folder / "integration" / "inbound", f"file://{folder}/log.db"

    _print("1. A server repository, with the extension enabled in its hgrc:")
    server.parent.mkdir()
    _run(environ, *hg, "init", str(server))
    hgrc = (
        f"[extensions]\nsourcepulse_hg = {extension_path()}\n\n"
        f"[sourcepulse]\nroot = {folder}\noutbox = {folder}/outbox.db\nbroker = {broker}\n"
    )
    (server / ".hg" / "hgrc").write_text(hgrc)
    _print("".join(f"       {line}\n" for line in hgrc.splitlines()))

    _print("2. A subscriber, in a separate process:")
    tail = [sys.executable, "-m", "sourcepulse.cli", "tail", "--broker", broker, "--count", "1"]
    tail += ["--timeout", str(ARRIVAL_LIMIT_SECONDS)]
    _print("       sourcepulse " + shlex.join([*tail[3:], "hg.push.#"]) + "\n")
    # One prints lines, the other JSON; both must be subscribed before the push.
    subscribers = [_started(environ, *tail, *form, "hg.push.#") for form in ((), ("--json",))]
    try:
        for subscriber in subscribers:
            assert subscriber.stderr is not None  # noqa: S101 - it was asked for above
            subscriber.stderr.readline()

        _print("3. A user commits and pushes:")
        pushed = _commit_and_push(environ, hg, folder / "work", server)
        _print("".join(f"       {line}\n" for line in [f"$ hg push {server}", *pushed.splitlines()]))

        _print("4. What the subscriber received, as a line and as a CloudEvent, which any language can read:")
        arrived = [subscriber.communicate(timeout=ARRIVAL_LIMIT_SECONDS + 10)[0] for subscriber in subscribers]
    finally:
        for subscriber in subscribers:
            subscriber.kill()
            subscriber.wait()
    if any(subscriber.returncode for subscriber in subscribers):
        print("sourcepulse: the event did not arrive; run with --keep and inspect the outbox there", file=sys.stderr)
        return EXIT_FAILURE
    print("\n".join(text.strip() for text in arrived), flush=True)
    _print(_PASTE.format(extension=extension_path()))
    return EXIT_OK


def _started(environ: Mapping[str, str], *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def _commit_and_push(environ: Mapping[str, str], hg: Sequence[str], work: Path, server: Path) -> str:
    _run(environ, *hg, "init", str(work))
    for name, content, description in _HISTORY:
        (work / name).write_text(content)
        _run(environ, *hg, "--cwd", str(work), "commit", "--addremove", "--quiet", "--message", description)
    return _run(environ, *hg, "--cwd", str(work), "push", str(server))


def extension_path() -> Path:
    """Return the path for the hgrc that loads the extension into any hg."""
    return Path(__file__).resolve().parents[1]


def _hg_program() -> list[str]:
    beside = Path(sys.executable).with_name("hg")
    if beside.exists():
        # Run by the interpreter, because the first line of the installed script breaks in a path with spaces.
        return [sys.executable, str(beside)]
    program = shutil.which("hg")
    if program is None:
        raise ConfigError("hg was not found; install Mercurial, or run `make setup`")
    return [program]


def _run(environ: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(
        command,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=HG_LIMIT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise ConfigError(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout + done.stderr


def _stop_relay(folder: Path) -> None:
    """Stop the relay that the hook started, which would otherwise idle for half a minute."""
    with suppress(OSError, ValueError):
        os.kill(int(lock_path(folder / "outbox.db").read_text()), signal.SIGTERM)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
