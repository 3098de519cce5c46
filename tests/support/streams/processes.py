# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The relay and the consumer of a stream, each a process of its own that is killed, frozen and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.streams import consumer as stream_consumer
from support.streams.freeze import stop_threads

END_LIMIT_SECONDS = 60.0
LOG_TAIL_CHARACTERS = 3000
#: The private files of a folder that hold the URLs.
RELAY_URL = "relay-url"
CONSUMER_URL = "consumer-url"


class Program:
    """A program that runs until it gets a signal to end; what it prints goes to a log."""

    def __init__(self, command: Sequence[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self._command = command
        self._environ = {**os.environ, **(environ or {})}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(END_LIMIT_SECONDS)
            self._process = None

    def freeze(self) -> None:
        """Suspend it, with its files and connections open."""
        stop_threads(self._running().pid)

    def thaw(self) -> None:
        """Resume it."""
        self._running().send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Send the signal to end, and wait until it has ended."""
        process = self._running()
        process.terminate()
        assert process.wait(END_LIMIT_SECONDS) == 0, self.log()[-LOG_TAIL_CHARACTERS:]

    @property
    def has_ended(self) -> bool:
        """Whether it was started and ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def is_running(self) -> bool:
        """Whether it was started and did not end."""
        return self._process is not None and self._process.poll() is None

    def check(self) -> None:
        """AssertionError if it was started and ended by itself."""
        gave_up = self._process is not None and self._process.poll() is not None
        assert not gave_up, f"{self._log.stem} gave up:\n{self.log()[-LOG_TAIL_CHARACTERS:]}"

    def log(self) -> str:
        """Return what it said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process


def relay(folder: Path, outbox: Path, url: str, exchange: str) -> Program:
    """Return the relay of an outbox, not yet started; the URL is in a private file."""
    secret = write_secret(folder / RELAY_URL, url)
    command = [sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", str(outbox), "--broker-file", str(secret)]
    # What it reports of itself is in no outbox, which the oracle compares with.
    command += ["--exchange", exchange, "--heartbeat-s", "0"]
    return Program(command, folder / f"{outbox.stem}.relay.log")


def consumer(folder: Path, handled: Path, url: str, exchange: str, queue: str) -> Program:
    """Return `stream_consumer`, not yet started, which writes to `handled`."""
    secret = write_secret(folder / CONSUMER_URL, url)
    # -P: beside the program lie modules that are named as the libraries they are about.
    command = [sys.executable, "-P", stream_consumer.__file__, str(secret), exchange, queue]
    return Program([*command, str(folder / "state.db"), str(handled)], folder / "consumer.log")


def write_secret(path: Path, url: str) -> Path:
    """Write a URL to a private file, whole at any moment."""
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_text(url, encoding="utf-8")
    return new.rename(path)


class Written:
    """What the consumer program wrote, read on as it grows; a line that a kill has torn counts as not written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._rest = b""
        #: In the order of handling, repeats included.
        self.events: list[dict[str, Any]] = []
        #: How often the consumer program began, connected.
        self.ready = 0
        self.reports: list[dict[str, Any]] = []
        self.stats: dict[str, int] = {}

    def read_on(self) -> None:
        """Read what was written since."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
        self._read_bytes += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            if not line:
                continue
            try:
                self._take(json.loads(line))
            except ValueError:
                continue

    def _take(self, fact: dict[str, Any]) -> None:
        if "id" in fact:
            self.events.append(fact)
        elif "report" in fact:
            self.reports.append(fact)
        elif "stats" in fact:
            self.stats = fact["stats"]
        else:
            self.ready += bool(fact["ready"])
