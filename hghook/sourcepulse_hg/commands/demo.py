# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse demo`: show a real `hg push` arriving as an event, through the embedded log, without a broker."""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sourcepulse.errors import EXIT_FAILURE, EXIT_OK
from sourcepulse_hg.commands import demo_web
from sourcepulse_hg.commands.demo_parts import (
    environ,
    extension_path,
    hg_program,
    indented,
    make_server,
    show,
    stop_relay,
)
from sourcepulse_hg.commands.demo_parts import (
    run as run_program,
)

HELP = "show a real hg push arriving as an event, or with --web pushes and builds on a board"

#: The relay starts and the event travels within a second or two; a busy machine may need longer.
ARRIVAL_LIMIT_SECONDS = 60

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
    parser.add_argument(
        "--web", action="store_true", help="show pushes, builds and a closed tree in a browser, until Ctrl-C"
    )


def run(args: argparse.Namespace) -> int:
    """Create repositories, push to them, and show what a subscriber receives, or what a browser shows."""
    folder = Path(tempfile.mkdtemp(prefix="sourcepulse-demo-"))
    # The folder and what was started go also when a supervisor ends the demo.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return demo_web.show_in_browser(folder) if args.web else _show(folder)
    finally:
        stop_relay(folder / "outbox.db")
        if args.keep:
            show(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _show(folder: Path) -> int:
    hg, broker = hg_program(), f"file://{folder}/log.db"

    show("1. A server repository, with the extension enabled in its hgrc:")
    server, hgrc = make_server(folder, "integration/inbound", broker, hg)
    show(indented(hgrc))

    show("2. A subscriber, in a separate process:")
    tail = [sys.executable, "-m", "sourcepulse.cli", "tail", "--broker", broker, "--count", "1"]
    tail += ["--timeout", str(ARRIVAL_LIMIT_SECONDS)]
    show("       sourcepulse " + shlex.join([*tail[3:], "hg.push.#"]) + "\n")
    # One prints lines, the other JSON; both must be subscribed before the push.
    subscribers = [_started(*tail, *form, "hg.push.#") for form in ((), ("--json",))]
    try:
        for subscriber in subscribers:
            assert subscriber.stderr is not None  # noqa: S101 - it was asked for above
            subscriber.stderr.readline()

        show("3. A user commits and pushes:")
        pushed = _commit_and_push(hg, folder / "work", server)
        show(indented(f"$ hg push {server}\n{pushed}"))

        show("4. What the subscriber received, as a line and as a CloudEvent, which any language can read:")
        arrived = [subscriber.communicate(timeout=ARRIVAL_LIMIT_SECONDS + 10)[0] for subscriber in subscribers]
    finally:
        for subscriber in subscribers:
            subscriber.kill()
            subscriber.wait()
    if any(subscriber.returncode for subscriber in subscribers):
        show("sourcepulse: the event did not arrive; run with --keep and inspect the outbox there")
        return EXIT_FAILURE
    print("\n".join(text.strip() for text in arrived), flush=True)
    show(_PASTE.format(extension=extension_path()))
    return EXIT_OK


def _started(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ())


def _commit_and_push(hg: Sequence[str], work: Path, server: Path) -> str:
    run_program(environ(), *hg, "init", str(work))
    for name, content, description in _HISTORY:
        (work / name).write_text(content)
        run_program(environ(), *hg, "--cwd", str(work), "commit", "--addremove", "--quiet", "--message", description)
    return run_program(environ(), *hg, "--cwd", str(work), "push", str(server))
