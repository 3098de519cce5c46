# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real Bugzilla that is served, its sidecar, and a consumer of all that is public.

Bugzilla is neither here nor downloaded: the environment variable BUGZILLA_HOME names the folder of one that is made for
tests, with the extension linked and checksetup.pl run. Its parameters are changed, and what is made gets new names.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sourcepulse.consumer.consumer import Consumer
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import DELIVERED, Outbox
from support.brokers.rabbitmq import RabbitNode
from support.bugzilla.web import BugzillaSite, Visitor, hidden_fields
from support.events.schema_check import check_data
from support.streams.spine import receive

HOME = os.environ.get("BUGZILLA_HOME", "")
_PREPARE = Path(__file__).with_name("prepare.pl")
ARRIVAL_LIMIT_SECONDS = 20.0
#: After so long without an event there is none.
QUIET_SECONDS = 3.0
END_LIMIT_SECONDS = 30.0
RUN_LIMIT_SECONDS = 120.0
HEARTBEAT = ".heartbeat.v1"


class Sidecar:
    """The sidecar of a Bugzilla; it can be ended and started again."""

    def __init__(self, folder: Path, home: Path, broker: str) -> None:
        self.outbox = folder / "outbox.db"
        self.log = folder / "sidecar.log"
        self._command = [sys.executable, "-m", "sourcepulse.cli", "bugzilla-sidecar", "--bugzilla", str(home)]
        self._command += ["--outbox", str(self.outbox)]
        self._environment = os.environ | {"SOURCEPULSE_BROKER": broker}
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *options: str, fails: bool = False) -> str:
        """Run it once, to its end, and return what it logged; where nothing can be sent it `fails`."""
        done = subprocess.run(
            [*self._command, *options],
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_SECONDS,
        )
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr

    def start(self) -> None:
        """Start it."""
        with self.log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log, stdout=log)

    def end(self) -> None:
        """End it as systemd does."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(END_LIMIT_SECONDS) == 0, self.log.read_text()
            self._process = None

    def kill(self) -> None:
        """End it whatever happens."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def reconcile(self) -> None:
        """Do now what it does every hour."""
        self.end()
        self.run("--reconcile")
        self.start()

    def status(self) -> dict[str, Any]:
        """Return what `sourcepulse status` prints."""
        command = [sys.executable, "-m", "sourcepulse.cli", "status", "--outbox", str(self.outbox), "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=RUN_LIMIT_SECONDS)
        state: dict[str, Any] = json.loads(done.stdout)
        return state


@dataclass
class Tree:
    """A served Bugzilla, with a user in it that may do everything."""

    site: BugzillaSite
    visitor: Visitor
    made: dict[str, Any]
    sidecar: Sidecar

    @property
    def product(self) -> str:
        return min(self.made["products"])

    @property
    def other_product(self) -> str:
        return max(self.made["products"])

    def new_bug(self, **fields: Any) -> int:
        """File a bug by REST."""
        answer = self.visitor.rest("POST", "bug", self.fields() | fields)
        return int(answer["id"])

    def fields(self) -> dict[str, Any]:
        """Return what a new bug must have."""
        return {
            "product": self.product,
            "component": "One",
            "version": "unspecified",
            "summary": "a bug",
            "description": "its description",
            "op_sys": "All",
            "platform": "All",
            "priority": "---",
            "severity": "normal",
        }

    def put(self, bug: int, **content: Any) -> None:
        """Change a bug by REST."""
        self.visitor.rest("PUT", f"bug/{bug}", content)

    def edit(self, bug: int, **form: str) -> str:
        """Change a bug by its form."""
        hidden = hidden_fields(self.visitor.page(f"show_bug.cgi?id={bug}"))
        kept = {name: hidden[name] for name in ("token", "delta_ts") if name in hidden}
        return self.visitor.submit("process_bug.cgi", kept | {"id": str(bug)} | form)

    def attach(self, bug: int, **more: Any) -> int:
        """Attach a file by REST."""
        content = {"ids": [bug], "data": base64.b64encode(b"hello").decode(), "file_name": "a.txt", "summary": "a file"}
        answer = self.visitor.rest("POST", f"bug/{bug}/attachment", content | {"content_type": "text/plain"} | more)
        return int(answer["ids"][0])

    def set_params(self, section: str, **params: str) -> None:
        """Change parameters on the administrators' page."""
        page = self.visitor.fill_in(f"editparams.cgi?section={section}", **params)
        assert "Parameters Updated" in page, page[-3000:]

    def run_perl(self, script: str, *arguments: str, text: str = "") -> str:
        """Run a script of the tree, or a program with -e, and return what it prints."""
        command = ["perl", *(["-T"] if script.endswith(".pl") else []), script, *arguments]
        done = subprocess.run(
            command,
            cwd=self.site.tree,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_LIMIT_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@dataclass
class World(Tree):
    """The same with a sidecar that runs, a private RabbitMQ node, and a consumer at it."""

    consumer: Consumer

    def arrived(self, count: int) -> list[tuple[str, str | None]]:
        """Return type and subject of that many events, and check that no more come."""
        return [(event.type, event.subject) for event in self.events(count)]

    def events(self, count: int) -> list[Event]:
        """Return that many events, and check that no more come."""
        events = receive(self.consumer, count, ARRIVAL_LIMIT_SECONDS)
        events += receive(self.consumer, 1, QUIET_SECONDS)
        for event in events:
            check_data(event)
        assert len(events) == count, [(event.type, event.subject) for event in events]
        return events


@dataclass
class Desk(Tree):
    """The same with a sidecar that runs when it is asked to, and an embedded log: exact and quick."""

    consumer: Consumer
    _received: int = 0

    def published(self, *options: str, fails: bool = False) -> list[Event]:
        """Return what is published now; with `--reconcile`, what is found in the history as well."""
        self.sidecar.run("--once", *options, fails=fails)
        with Outbox.open(self.sidecar.outbox, create=False) as outbox, outbox.reading() as db:
            (delivered,) = db.execute("SELECT COUNT(*) FROM events WHERE state = ?", (DELIVERED,)).fetchone()
        return self.arrived(delivered - self._received)

    def arrived(self, count: int) -> list[Event]:
        """Return that many events that were published."""
        events: list[Event] = []
        while len(events) < count:
            (event,) = receive(self.consumer, 1, ARRIVAL_LIMIT_SECONDS)
            if not event.type.endswith(HEARTBEAT):
                check_data(event)
                events.append(event)
        self._received += count
        return events


@contextmanager
def open_world(rabbitmq: RabbitNode, folder: Path) -> Iterator[World]:
    """Serve the Bugzilla of BUGZILLA_HOME, with its sidecar at RabbitMQ."""
    site = BugzillaSite(Path(HOME))
    sidecar = Sidecar(folder, Path(HOME), rabbitmq.url())
    try:
        made = prepare(site.url)
        # What earlier tests left is of no interest.
        sidecar.run("--once", "--no-relay")
        queue = f"bugzilla-{uuid.uuid4().hex[:8]}"
        # Durable, because a test that does much before it looks is disconnected meanwhile.
        with Consumer(rabbitmq.url(), ["bugzilla.#"], queue, durable=True, state=folder / "consumer.state") as consumer:
            sidecar.start()
            visitor = Visitor(site, api_key=made["api_key"])
            visitor.log_in(made["login"], made["password"])
            while receive(consumer, 1, QUIET_SECONDS):
                pass
            yield World(site, visitor, made, sidecar, consumer)
        sidecar.end()
        _check_errors(site)
    finally:
        sidecar.kill()
        site.close()


@contextmanager
def open_desk(folder: Path, run_as: Sequence[str] = ()) -> Iterator[Desk]:
    """Serve the Bugzilla of BUGZILLA_HOME, with a sidecar at an embedded log; `run_as` as of BugzillaSite."""
    site = BugzillaSite(Path(HOME), run_as)
    try:
        made = prepare(site.url)
        sidecar = Sidecar(folder, Path(HOME), f"file://{folder / 'log.db'}")
        # What earlier tests left is of no interest.
        sidecar.run("--once", "--no-relay", "--reconcile")
        visitor = Visitor(site, api_key=made["api_key"])
        visitor.log_in(made["login"], made["password"])
        url = f"file://{folder / 'log.db'}"
        with Consumer(url, ["#"], "desk", durable=True, from_start=True, state=folder / "consumer.state") as consumer:
            desk = Desk(site, visitor, made, sidecar, consumer)
            desk.published()
            yield desk
        _check_errors(site)
    finally:
        site.close()


def _check_errors(site: BugzillaSite) -> None:
    errors = [error for error in site.errors if "SourcePulse" in error]
    assert errors == [], errors


def prepare(url: str) -> dict[str, Any]:
    """Make a user, products and more under new names, and set the parameters of the tests."""
    command = ["perl", str(_PREPARE), uuid.uuid4().hex[:8], url]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False, timeout=RUN_LIMIT_SECONDS)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made
