# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A repository whose first copies a relay collects, so that a push only wakes it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.brokers.embedded_log import wait_until
from support.hg.sites import Site
from support.streams.freeze import freeze

LIMIT_SECONDS = 40.0
#: An extension that records whether the server's process opened a database.
_NOTE_SQLITE = """
import atexit, sys
atexit.register(lambda: open({file!r}, "a").write("collected\\n" if "sqlite3" in sys.modules else "woke\\n"))
"""


@contextmanager
def relaying(outbox: Path, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("sourcepulse"),
            "relay",
            "--outbox",
            outbox,
            "--broker",
            f"file://{log}",
            *options,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        process.wait(LIMIT_SECONDS)


class RelayedSite:
    """A repository that is pushed to, its outbox, and a relay that has proved that it collects here."""

    def __init__(self, site: Site, outbox: Path | None = None) -> None:
        self.site = site
        self.outbox = outbox or site.folder / "outbox.db"
        self.log = site.folder / "log.db"
        self.wakes = site.folder / "wakes"
        note = site.folder / "note.py"
        note.write_text(_NOTE_SQLITE.format(file=str(self.wakes)), encoding="utf-8")
        keys = f"outbox = {self.outbox}\nrelay = off"
        self.server = site.server(keys=keys, other=f"[extensions]\nnote = {note}")
        self.work = site.repository("work")
        # This push collects itself, and the outbox knows the repository afterwards.
        self.push()

    @property
    def proof(self) -> Path:
        return self.server.path / ".hg" / "sourcepulse" / "relayed"

    @contextmanager
    def relay(self) -> Iterator[subprocess.Popen[bytes]]:
        with relaying(self.outbox, self.log, "--once") as process:
            assert process.wait(LIMIT_SECONDS) == 0
        self.wakes.unlink(missing_ok=True)
        # Nothing waits, so this one leaves the proof with its first look.
        with relaying(self.outbox, self.log) as process:
            wait_until(lambda: self.proof.exists() and self.socket.exists(), LIMIT_SECONDS)
            yield process

    def freeze(self, relay: subprocess.Popen[bytes]) -> None:
        """Stop the relay as one that hangs, until SIGCONT."""
        freeze(relay, self.outbox, self.proof.with_name("lock"))

    @property
    def socket(self) -> Path:
        return self.outbox.with_name("outbox.db.wake")

    def push(self, *config: str) -> str:
        """Commit and push over ssh; return what the pusher reads."""
        self.work.commit()
        pushed = self.work.push_ssh(self.server, *(word for one in config for word in ("--config", one)))
        return pushed.stdout + pushed.stderr

    def ways(self) -> list[str]:
        """Return how each push was handed over."""
        return self.wakes.read_text(encoding="utf-8").split()

    def are_collected(self) -> bool:
        """Return whether the outbox has an event of each changeset, in the order of the repository."""
        with sqlite3.connect(self.outbox) as database:
            rows = database.execute(
                "SELECT body FROM events JOIN bodies USING (position) WHERE type = 'hg.push.v1' ORDER BY position"
            ).fetchall()
        database.close()
        return [json.loads(body)["data"]["last"] for (body,) in rows] == self.server.nodes()
