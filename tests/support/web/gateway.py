# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real `sourcepulse web` process on a free loopback port; killed and started again at will, at the same address."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from email.message import Message as Headers
from pathlib import Path
from typing import Any, NamedTuple

from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event, Numbers
from support.brokers.embedded_log import as_message
from support.brokers.rabbitmq import free_port
from support.forked_module import ForkedModule, module_server

EXCHANGE = "sourcepulse"
PROGRAM = "sourcepulse.cli"
EPOCH = "2026-11-22-0c1d2e3f"
START_LIMIT_SECONDS = 60.0
STOP_LIMIT_SECONDS = 30.0
ANSWER_LIMIT_SECONDS = 30.0
POLL_SECONDS = 0.05


class Answer(NamedTuple):
    """What the gateway answered."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """One gateway in a folder of its own; over the embedded log `log.db` there, unless `broker` names another.

    `configuration` is text of a configuration file (`[web]`, `[trees.NAME]`), which may be changed while it runs; with
    `broker=""` it names the broker; with `broker="file:"` it names one that is a log. With `forked=False` the process
    loads its modules itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker: str | None = None,
        configuration: str = "",
        options: Sequence[str] = (),
        forked: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "log.db"
        self.port = free_port()
        self.configuration = folder / "config.toml"
        self.configuration.write_text(configuration, encoding="utf-8")
        self._errors = folder / "gateway.log"
        place = ["--log", str(self.log), *(["--broker", broker] if broker else [])]
        if broker in (None, "file:"):
            place = ["--broker", f"file://{self.log}"] if broker is None else []
        self._arguments = ["web", *place, "--config", str(self.configuration)]
        self._arguments += ["--listen", f"127.0.0.1:{self.port}", *options]
        self._forked = forked
        self._process: subprocess.Popen[bytes] | ForkedModule | None = None
        self._sequences: Counter[str] = Counter()
        self._typesequences: Counter[tuple[str, str]] = Counter()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        """Return the address of a page."""
        return self.origin + path

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def option(self, name: str) -> str:
        """Return the value of an option that it is started with."""
        return self._arguments[self._arguments.index(name) + 1]

    def start(self) -> None:
        """Start it and wait until it answers that it is ready."""
        self.launch()
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self._is_ready():
            self.check_runs()
            assert time.monotonic() < deadline, f"the gateway is not ready:\n{self.stderr()}"
            time.sleep(POLL_SECONDS)

    def check_runs(self) -> None:
        """AssertionError if it has ended by itself."""
        assert self._process is not None, "it does not run"
        assert self._process.poll() is None, f"the gateway ended:\n{self.stderr()}"

    def launch(self, environ: Mapping[str, str] | None = None) -> None:
        """Start it without waiting, with these variables added."""
        assert self._process is None, "it runs"
        whole = {**os.environ, **(environ or {})}
        with self._errors.open("ab") as errors, open(os.devnull, "rb") as null:
            fds = null.fileno(), errors.fileno(), errors.fileno()
            if self._forked:
                self._process = module_server().start(PROGRAM, self._arguments, fds=fds, environ=whole)
            if self._process is None:
                command = [sys.executable, "-m", PROGRAM, *self._arguments]
                self._process = subprocess.Popen(command, stdin=null, stdout=errors, stderr=errors, env=whole)

    def stop(self) -> int:
        """End it in good order, and return its exit code."""
        return self._ended(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._ended(signal.SIGKILL)

    def restart(self) -> None:
        """End it in good order and start it again."""
        self.stop()
        self.start()

    def wait(self) -> int:
        """Wait until it ends by itself, and return its exit code."""
        assert self._process is not None, "it does not run"
        process, self._process = self._process, None
        return process.wait(STOP_LIMIT_SECONDS)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None:
            self.kill()

    def stderr(self) -> str:
        """Return what it wrote since it was made."""
        return self._errors.read_text(encoding="utf-8", errors="replace") if self._errors.exists() else ""

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer to a GET request."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_LIMIT_SECONDS)) as connection:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def append(self, *events: Event) -> list[Event]:
        """Append events to the log in one commit, and return them with the numbers that they have there.

        An event without numbers gets the next ones of its source.
        """
        numbered = [self._numbered(event) for event in events]
        publish(self.log, numbered)
        return numbered

    def _numbered(self, event: Event) -> Event:
        if event.numbers is not None:
            return event
        self._sequences[event.source] += 1
        self._typesequences[event.source, event.type] += 1
        sequence, typesequence = self._sequences[event.source], self._typesequences[event.source, event.type]
        return event.numbered(Numbers(epoch=EPOCH, sequence=sequence, typesequence=typesequence))

    def _is_ready(self) -> bool:
        try:
            return self.get("/ready").status == http.client.OK
        except OSError:
            return False

    def _ended(self, number: int) -> int:
        assert self._process is not None, "it does not run"
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            return process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the gateway did not end:\n{self.stderr()}") from None


def publish(log: Path, events: Sequence[Event], *, exchange: str = EXCHANGE) -> None:
    """Publish events to an embedded log, as a relay does."""
    with closing(LocalPublisher(BrokerUrl.parse(f"file://{log}"), exchange=exchange)) as publisher:
        publisher.open()
        for tag, event in enumerate(events):
            publisher.send(replace(as_message(event), tag=tag))
        publisher.settle(ANSWER_LIMIT_SECONDS)


#: Makes a gateway that is not started: `make_gateway(configuration=..., broker=...)`.
MakeGateway = Callable[..., Gateway]
