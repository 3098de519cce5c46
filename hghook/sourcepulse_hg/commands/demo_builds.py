# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The builds of the demo in a browser: by a real Buildbot where it is installed, else events like those of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

from sourcepulse.catalogue import example_of
from sourcepulse.cli.commands.files import shipped_files
from sourcepulse.errors import ConfigError
from sourcepulse.events.event import Event, event_id, format_time
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_hg.commands.demo_parts import environ, run, stop_relay

#: Of each builder: platform and build type.
BUILDERS = {"linux64-opt-unit": ("linux64", "opt"), "linux64-debug-unit": ("linux64", "debug")}
MASTER_START_SECONDS = 180
MASTER_STOP_SECONDS = 20
LOOK_SECONDS = 0.1
#: How long a recorded build ran.
RUN_SECONDS = 7.0

_MASTER_RUNS = "BuildMaster is running"
_MASTER_CFG = """\
import sys
sys.path.insert(0, {examples!r})
from buildbot.plugins import reporters, schedulers, steps, util, worker
from change_source import HgPushes

hg = {hg!r}
tests = util.BuildFactory([
    steps.ShellCommand(
        name="files",
        command=[*hg, "-R", util.Interpolate("%(src::repository)s"),
                 "archive", "--rev", util.Interpolate("%(src::revision)s"), "."],
    ),
    steps.ShellCommand(name="tests", command=[sys.executable, "-B", "check.py"]),
    steps.PublishTestReport(path="report.xml", description="unit", fail_on_failures=True),
])
c = BuildmasterConfig = {{
    "buildbotNetUsageData": None,
    "db": {{"db_url": "sqlite:///state.sqlite"}},
    "protocols": {{"null": {{}}}},
    "title": "demo",
    "buildbotURL": "http://127.0.0.1/",
    "workers": [worker.LocalWorker("worker")],
    "change_source": [HgPushes({broker!r}, "demo.builds")],
    "builders": [
        util.BuilderConfig(name=name, workernames=["worker"], factory=tests,
                           properties={{"platform": platform, "buildtype": buildtype}})
        for name, (platform, buildtype) in {builders!r}.items()
    ],
    "schedulers": [schedulers.AnyBranchScheduler(
        name="pushes", treeStableTimer=0.5, builderNames={names!r}, change_filter=util.ChangeFilter(),
    )],
    "services": [reporters.PulseStatusPush(
        name="ci", outbox="outbox.db", broker={broker!r},
        normalized={{"tree": ["project"], "platform": ["platform"], "buildtype": ["buildtype"]}},
    )],
}}
"""


class Pushed(NamedTuple):
    """A push of the demo, and the tests that fail in it."""

    repository: Path
    node: str
    user: str
    fails: Sequence[str] = ()


class Builds(Protocol):
    """What builds the pushes of the demo."""

    #: For the terminal.
    description: str

    def begin(self) -> None:
        """Begin to start."""

    def wait(self) -> None:
        """Return when pushes are built."""

    def build(self, pushed: Pushed) -> None:
        """Build a push, soon."""

    def close(self) -> None:
        """End all that was started."""


def builds_of(folder: Path, broker: str, hg: Sequence[str]) -> Builds:
    """Return a real master if one can be started."""
    installed = all(find_spec(name) for name in ("buildbot", "buildbot_worker", "sourcepulse_buildbot"))
    return RealBuilds(folder / "master", broker, hg) if installed else RecordedBuilds(folder / "outbox.db")


class RealBuilds:
    """A Buildbot master with a worker; a change source that is fed by `hg.push` starts its builds."""

    description = "a real Buildbot master, whose change source is fed by hg.push"

    def __init__(self, folder: Path, broker: str, hg: Sequence[str]) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # The master keeps what it has seen of the bus in the user's home.
        self._environ = {**environ(), "HOME": str(folder)}
        examples = _examples()
        self._config = _MASTER_CFG.format(
            examples=str(examples), hg=list(hg), broker=broker, builders=BUILDERS, names=list(BUILDERS)
        )

    def begin(self) -> None:
        """Make the master and start it."""
        buildbot = (sys.executable, "-c", "from buildbot.scripts.runner import run; run()")
        run(self._environ, *buildbot, "create-master", "--quiet", str(self._folder))
        (self._folder / "master.cfg").write_text(self._config, encoding="utf-8")
        self._process = subprocess.Popen(
            [*buildbot, "start", "--nodaemon", str(self._folder)],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Wait until the master runs."""
        deadline = time.monotonic() + MASTER_START_SECONDS
        log = self._folder / "twistd.log"
        while not (log.exists() and _MASTER_RUNS in log.read_text(encoding="utf-8", errors="replace")):
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(f"the Buildbot master does not start; run with --keep and read {log}")
            time.sleep(LOOK_SECONDS)

    def build(self, pushed: Pushed) -> None:
        """Do nothing: the master has heard of it by itself."""

    def close(self) -> None:
        """End the master and what it started."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(MASTER_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        stop_relay(self._folder / "outbox.db")


class RecordedBuilds:
    """The events of recorded builds with the revision of a push."""

    description = "recorded builds, because Buildbot is not installed here (in a checkout `make setup` adds it)"

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox
        self._count = 0

    def begin(self) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""

    def build(self, pushed: Pushed) -> None:
        """Publish the events of a build of each builder."""
        events = [event for builder in BUILDERS for event in self._events(builder, pushed)]
        with Outbox.open(self._outbox) as outbox:
            outbox.append(events)
            outbox.wake_relay()

    def close(self) -> None:
        """Do nothing: the relay of the pushes sends these events too."""

    def _events(self, builder: str, pushed: Pushed) -> list[Event]:
        self._count += 1
        now = time.time()
        begin, end = format_time(now - RUN_SECONDS), format_time(now)
        platform, buildtype = BUILDERS[builder]
        outcome, results = ("failure", 2) if pushed.fails else ("success", 0)
        repository = str(pushed.repository)
        members = {
            "buildid": self._count, "buildnumber": self._count, "buildername": builder, "real_buildername": builder,
            "buildrequestid": self._count, "builderid": list(BUILDERS).index(builder) + 1, "workername": "worker",
            "submitted_at": begin, "started_at": begin, "complete_at": end, "revision": pushed.node,
            "owners": [pushed.user], "outcome": outcome, "results": results, "url": None, "tags": [],
            "sourcestamps": [{"codebase": "", "repository": repository, "project": pushed.repository.name,
                              "branch": "default", "revision": pushed.node}],
            "changes": [{"changeid": self._count, "revision": pushed.node}], "properties": {}, "incomplete": False,
            "normalized": {"tree": pushed.repository.name, "product": "unknown", "platform": platform,
                           "buildtype": buildtype, "revision": pushed.node},
            "state_string": "failed tests (failure)" if pushed.fails else "build successful",
            "tests_total": 2, "tests_passed": 2 - len(pushed.fails), "tests_failed": len(pushed.fails),
            "tests_skipped": 0, "tests_flaky": 0, "problems": [], "notes": [], "cases": len(pushed.fails),
        }  # fmt: skip
        tests = [
            {"test_name": test, "test_code_path": "check.py", "testid": event_id("demo", "test", builder, test),
             "message": "the parser raised ValueError", "line": None}
            for test in pushed.fails
        ]  # fmt: skip
        return [
            _like("build.request.submitted.v1", [builder], begin, members),
            _like("build.started.v1", [builder], begin, members),
            *(_like("test.case.failed.v1", [builder], end, {**members, **test}) for test in tests),
            _like("test.run.finished.v1", [outcome, builder], end, members),
            _like("build.finished.v1", [outcome, builder], end, members),
        ]


def _like(type_: str, words: Sequence[str], at: str, members: dict[str, object]) -> Event:
    """Return the example of a type with the members of it that are named."""
    example = example_of(type_)
    data = {**example.data, **{name: value for name, value in members.items() if name in example.data}}
    if type_.startswith("test.run"):
        data["cases_left_out"] = 0
    key = [str(data.get(name, "")) for name in ("buildrequestid", "buildid", "started_at", "testid")]
    seconds = datetime.fromisoformat(at).timestamp()
    subject = f"builder/{members['buildername']}/builds/{members['buildid']}"
    return Event.of(type_, source="buildbot://ci", key=key, subject=subject, time=seconds, data=data, words=words)


def _examples() -> Path:
    """Return the folder of the change source."""
    return next(path.parent for path in shipped_files() if path.name == "change_source.py")
