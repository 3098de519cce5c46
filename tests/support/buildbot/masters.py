# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real Buildbot master with workers in its own process, headless, on SQLite; killed and started again at will."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sourcepulse.events.event import Event
from support.buildbot.forked import ForkedMaster
from support.component import require
from support.events.outbox_contents import stored_events

START_LIMIT_SECONDS = 60.0
STOP_LIMIT_SECONDS = 60.0
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.05

_TESTS = Path(__file__).parents[2]
_BUILDBOT = (sys.executable, "-c", "from buildbot.scripts.runner import run; run()")
_RUNS = "BuildMaster is running"
_Found = TypeVar("_Found")

#: What every master of the tests has; the test's own lines come in between.
_CONFIG_HEAD = """\
import sys
sys.path[:0] = {paths!r}
from buildbot.plugins import reporters, schedulers, steps, util, worker
from support.buildbot.driver import Driver
c = BuildmasterConfig = {{
    "buildbotNetUsageData": None,
    "db_url": "sqlite:///state.sqlite",
    "protocols": {{"null": {{}}}},
    "buildbotURL": "https://ci.example.org/",
    "title": "test",
    "workers": [worker.LocalWorker("w%d" % number, max_builds=4) for number in range({workers})],
    "schedulers": [],
    "builders": [],
    "services": [Driver(path={socket!r})],
}}
WORKERS = [each.name for each in c["workers"]]
def builder(name, *commands, **more):
    factory = util.BuildFactory([
        each if not isinstance(each, str) else steps.ShellCommand(command=["sh", "-c", each]) for each in commands
    ])
    more.setdefault("workernames", WORKERS)
    c["builders"].append(util.BuilderConfig(name=name, factory=factory, **more))
"""
#: Buildbot wants every builder to have a scheduler.
_CONFIG_TAIL = """
c["schedulers"].append(schedulers.Triggerable(name="all", builderNames=[each.name for each in c["builders"]]))
"""
REPORTER = 'c["services"].append(reporters.PulseStatusPush(name="ci", outbox="outbox.db"))\n'


def require_buildbot() -> None:
    """Skip the test where Buildbot is not installed; with CI set, fail it."""
    missing = [name for name in ("buildbot", "buildbot_worker") if importlib.util.find_spec(name) is None]
    require(not missing, "Buildbot is not installed (pip install buildbot buildbot-worker)")


def make_template(folder: Path) -> Path:
    """Make the folder of a master, with its database; a copy of it costs nothing."""
    subprocess.run(
        [*_BUILDBOT, "create-master", "--relocatable", "--quiet", folder],
        env=_environment(),
        capture_output=True,
        timeout=START_LIMIT_SECONDS,
        check=True,
    )
    return folder


def shared_template(factory: pytest.TempPathFactory) -> Path:
    """Return the template that all workers of a test run share; the first of them makes it."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / "master-template"
    with (root / "master-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make_template(root / "master-template.new").rename(folder)
    return folder


class Master:
    """One master; `config` is the test's own part of master.cfg.

    One that is not `forked` is started as an admin does: its process shows by its arguments that it is a master.
    """

    def __init__(self, template: Path, folder: Path, config: str, *, workers: int = 1, forked: bool = True) -> None:
        shutil.copytree(template, folder)
        self.folder = folder
        # A socket's path must be short.
        self._sockets = Path(tempfile.mkdtemp(prefix="bb-"))
        self._socket = self._sockets / "s"
        self._workers = workers
        self.outbox_name = "outbox.db"
        #: Several masters may have one.
        self.database = folder / "state.sqlite"
        self._process: ForkedMaster | subprocess.Popen[bytes] | None = None
        self._is_forked = forked
        self.configure(config)

    def configure(self, config: str) -> None:
        """Write master.cfg."""
        paths = [str(_TESTS), str(_TESTS.parent / "shared"), str(_TESTS.parent / "buildbot_status")]
        head = _CONFIG_HEAD.format(paths=paths, workers=self._workers, socket=str(self._socket))
        (self.folder / "master.cfg").write_text(head + config + _CONFIG_TAIL, encoding="utf-8")

    def start(self) -> None:
        """Start it and wait until it runs."""
        (self.folder / "twistd.pid").unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)
        before = self.log().count(_RUNS)
        if self._is_forked:
            self._process = ForkedMaster(self.folder, _environment())
        else:
            self._process = subprocess.Popen(
                [*_BUILDBOT, "start", "--nodaemon", self.folder],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while self.log().count(_RUNS) <= before:
            assert self._process.poll() is None, self.log()[-4000:]
            assert time.monotonic() < deadline, self.log()[-4000:]
            time.sleep(POLL_SECONDS)

    def log(self) -> str:
        """Return what it wrote to its log."""
        path = self.folder / "twistd.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """Kill it, and all that it started, at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_LIMIT_SECONDS)
            self._process = None

    def stop(self) -> None:
        """End it in good order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(STOP_LIMIT_SECONDS)
        self._process = None

    def close(self) -> None:
        """End it whatever state it is in."""
        self.kill()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def do(self, what: str, **arguments: Any) -> Any:
        """Run an action inside the master, and return its result."""
        with closing(socket.socket(socket.AF_UNIX)) as asked:
            asked.settimeout(WAIT_SECONDS)
            asked.connect(str(self._socket))
            asked.sendall(json.dumps({"what": what, **arguments}).encode() + b"\n")
            with asked.makefile("rb") as lines:
                answer = json.loads(lines.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def request(self, *builders: str, **more: Any) -> dict[str, Any]:
        """Request builds."""
        result: dict[str, Any] = self.do("request", builders=list(builders), **more)
        return result

    def build(self, *builders: str, **more: Any) -> dict[str, Any]:
        """Request builds and wait until they are over."""
        asked = self.request(*builders, **more)
        self.wait_for(lambda: self.query("SELECT 1 FROM buildsets WHERE complete AND id = ?", asked["bsid"]))
        return asked

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask its database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as db:
            return db.execute(statement, values).fetchall()

    def wait_for(self, what: Callable[[], _Found], *, limit_s: float = WAIT_SECONDS) -> _Found:
        """Wait until something is there, and give it."""
        deadline = time.monotonic() + limit_s
        while not (found := what()):
            assert time.monotonic() < deadline, f"{self.log()[-3000:]}"
            time.sleep(POLL_SECONDS)
        return found

    @property
    def outbox(self) -> Path:
        return self.folder / self.outbox_name

    def events(self, prefix: str = "") -> list[Event]:
        """Return the events of its outbox whose types begin so, in their order."""
        return [event for event in stored_events(self.outbox) if event.type.startswith(prefix)]

    def wait_for_events(self, count: int, prefix: str = "") -> list[Event]:
        """Wait until that many are there."""
        return self.wait_for(lambda: found if len(found := self.events(prefix)) >= count else None) or []


#: Makes a master that is not started: `make_master(config, workers=1)`.
MakeMaster = Callable[..., Master]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
