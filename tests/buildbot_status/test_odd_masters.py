# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Odd builds, each published twice: as the master did it, and from its database alone; both must be equal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_buildbot.live.used_secrets import read_names, write_names
from sourcepulse_buildbot.recovery.mark import Mark, write_mark
from support.buildbot.masters import Master
from support.buildbot.oracle import assert_exact

SCOPE = "buildbot://ci"
#: A secret that is a part of every time.
SECRET = "000000Z"
STEPS = 10
RESULTS = 100
#: How many rows a search of the database reads at once; Buildbot itself is slow with requests of 200 codebases.
PAGE_ROWS = 20
#: More than the rows of a page: Buildbot counts a request once for each of its codebases.
CODEBASES = PAGE_ROWS + 10
#: So deep that a function that calls itself for each list would not come back.
DEPTH = 600

CONFIG = """
from buildbot.plugins import secrets
from sourcepulse_buildbot.recovery import search
search.PAGE_ROWS = {page_rows}
from twisted.internet import defer
from buildbot.secrets.providers.base import SecretProviderBase
class Vault(SecretProviderBase):
    # Does not know what it holds before it is asked.
    name = "vault"
    def get(self, entry):
        return "v" + "ault-key" if entry == "vault" else None
c["secretsProviders"] = [secrets.SecretInAFile(dirname=r"{secrets}"), Vault()]
c["services"].append(reporters.PulseStatusPush(
    name="ci", outbox="{outbox}", test_cases=["failed", "passed"], log_tail_bytes=100,
    properties=["odd", "deep", "leak", "none", "float", "number", "list"]))
LOCK = util.MasterLock("lock")

class Logs(steps.BuildStep):
    async def _run(self):
        await self.addCompleteLog("empty", "")
        await self.addHTMLLog("page", "<b>one</b>")
        log = await self.addLog("late")
        log.addStdout("a\\x00b\\nno newline")
        await log.finish()
        await self.addCompleteLog("late", "the same name")
        return util.FAILURE
    def run(self):
        return defer.ensureDeferred(self._run())

class Many(steps.BuildStep):
    async def _run(self):
        return util.SUCCESS
    async def addTestResultSets(self):
        self.of = await self.addTestResultSet("many", "pass_fail", "boolean")
    def run(self):
        for number in range({results}):
            self.addTestResult(self.of, "0" if number % 10 == 0 else "1", test_name="t%d" % number, duration_ns=number)
        return defer.ensureDeferred(self._run())

class Nothing(steps.BuildStep):
    def run(self):
        return defer.succeed(util.SUCCESS)

builder("logs", Logs(name=util.Interpolate("logs %(prop:odd)s")), Nothing(hideStepIf=True, alwaysRun=True))
builder("secret", steps.SetProperty(property="leak", value=util.Interpolate("x-%(secret:pin)s-%(secret:vault)s-y")))
builder("plain", Nothing())
builder("steps", *[Nothing() for _ in range({steps})])
builder("tests", Many())
builder("holds", Nothing(locks=[LOCK.access("exclusive")]), steps.ShellCommand(
    command=["sleep", "60"], locks=[LOCK.access("exclusive")]))
builder("waits", steps.ShellCommand(command=["echo"], locks=[LOCK.access("exclusive")]))
builder("idle", Nothing(), workernames=["w1"])
builder("outer", steps.Trigger(schedulerNames=["middle"], waitForFinish=True))
builder("middle", steps.Trigger(schedulerNames=["inner"], waitForFinish=True))
builder("inner", Nothing())
for name, below in (("middle", "middle"), ("inner", "inner")):
    c["schedulers"].append(schedulers.Triggerable(name=name, builderNames=[below]))
"""
#: Buildbot stores no time of these, the finder gives its own; LATER is what only the end of a build or step shows.
NO_TIME = ("build.log.finished.v1", "test.")
LATER = {"build.started.v1": ("properties",), "build.step.started.v1": ("hidden",)}


class Played(NamedTuple):
    """What a master published as it went on, and what another outbox got from its database afterwards."""

    master: Master
    live: list[Event]
    found: list[Event]
    log: str
    config: Callable[[str], str]

    def of(self, type_: str, buildername: str) -> list[Event]:
        """Return the events of a type and a builder that were published live."""
        return [
            event for event in self.live if event.type == f"{type_}.v1" and event.data["buildername"] == buildername
        ]


def _stamps(count: int) -> list[dict[str, Any]]:
    one = {"project": "p", "branch": None, "revision": None}
    return [one | {"codebase": f"c{number}", "repository": f"https://u:pw@h/{number}"} for number in range(count)]


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(DEPTH):
        deep = [deep]
    return deep


@pytest.fixture(scope="module")
def played(master_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets" / "pin").write_text(SECRET, encoding="utf-8")
    (folder / "secrets" / "pin").chmod(0o600)

    def config(outbox: str) -> str:
        return CONFIG.format(
            secrets=folder / "secrets", outbox=outbox, steps=STEPS, results=RESULTS, page_rows=PAGE_ROWS
        )

    master = Master(master_template, folder / "master", config("outbox.db"), workers=2)
    try:
        master.start()
        _play(master)
        master.stop()
        live = master.events()
        master.configure(config("again.db"))
        _recover_into(master, "again.db")
        yield Played(master, live, master.events(), master.log(), config)
    finally:
        master.close()


def _recover_into(master: Master, name: str) -> None:
    """Make the master store in a new outbox all that its database has."""
    with Outbox.open(master.folder / "outbox.db") as before:
        names = read_names(before, SCOPE)
    with Outbox.open(master.folder / name) as outbox:
        write_mark(outbox, SCOPE, Mark(at=0, changeid=0, presence={}))
        write_names(outbox, SCOPE, names)
    master.start()
    master.stop()
    master.outbox_name = name


def _play(master: Master) -> None:
    ((w1,),) = master.query("SELECT id FROM workers WHERE name = 'w1'")
    master.do("pause", workerid=w1)
    # The second takes the place of the first.
    collapsed = master.request("idle", properties={"deep": _deep()}, sourcestamps=_stamps(CODEBASES))
    idle = master.request("idle", properties={"deep": _deep()}, sourcestamps=_stamps(CODEBASES))
    master.request("holds")
    ((held,),) = master.wait_for(lambda: master.query("SELECT buildid FROM steps WHERE name = 'shell'"))
    waits = master.request("waits")
    ((waiting,),) = master.wait_for(
        lambda: master.query("SELECT id FROM builds WHERE buildrequestid = ?", waits["requests"]["waits"])
    )
    # A step whose row is there may not know its own number yet, and then writes no log when it is stopped.
    master.wait_for(lambda: "waiting for lock" in master.log())
    master.do("stop_build", buildid=waiting)
    master.do(
        "change",
        author="bob",
        files=[],
        comments="",
        repository="host:a//b",
        project="",
        when_timestamp=-1,
        branch=None,
    )
    master.build("secret")
    odd = {"odd": "ö/\u2028 \U0001f600", "none": None, "float": 1.5e300, "number": 2**70, "list": [1, {"a": [True]}]}
    master.build("logs", "plain", "tests", "outer", "steps", properties=odd, sourcestamps=_stamps(2))
    master.build("plain", properties={"virtual_builder_name": "virtual é", "virtual_builder_tags": ["t"]})
    ((plain,),) = master.query(
        "SELECT b.id FROM builds b JOIN builders n ON n.id = b.builderid WHERE n.name = 'plain' LIMIT 1"
    )
    master.do("rebuild", buildid=plain)
    master.wait_for(lambda: len(master.events("build.finished")) >= 11)
    master.do("stop_build", buildid=held)
    master.do("cancel", buildrequestid=idle["requests"]["idle"])
    ((buildsets,),) = master.query("SELECT count(*) FROM buildsets")
    master.wait_for_events(buildsets, "build.buildset.completed")
    assert master.query("SELECT results FROM buildrequests WHERE id = ?", collapsed["requests"]["idle"]) == [(3,)]


def test_every_fact_is_published_once_live_and_once_from_the_database(played: Played) -> None:
    for events in (played.live, played.found):
        passed = [event for event in events if event.type == "test.case.passed.v1"]
        assert len({event.id for event in passed}) == len(passed) == RESULTS * 9 // 10
        assert_exact(played.master, [event for event in events if event not in passed], late=events is played.found)
    assert not any(event.data["recovered"] for event in played.live)
    assert "no event could be made" not in played.log


def test_events_from_the_database_equal_the_live_ones(played: Played) -> None:
    found = {event.id: event for event in played.found}
    different = []
    for event in played.live:
        if event.type.startswith(("build.master", "build.worker")):
            continue
        again = found[event.id]
        assert again.data["recovered"]
        assert (again.type, again.subject) == (event.type, event.subject)
        if not event.type.startswith(NO_TIME):
            assert again.time == event.time
        left_out = {"recovered", *LATER.get(event.type, ())}
        different += [
            (event.type, event.subject, name, value, again.data[name])
            for name, value in event.data.items()
            if name not in left_out and again.data[name] != value
        ]
        if event.routing_key != again.routing_key:
            different.append((event.type, event.subject, "key", event.routing_key, again.routing_key))
    assert different == []


def test_a_secret_that_a_build_used_is_known_again_after_the_end_of_the_master(played: Played) -> None:
    for events in (played.live, played.found):
        (finished,) = (
            event for event in events if event.type == "build.finished.v1" and event.data["buildername"] == "secret"
        )
        assert finished.data["properties"]["leak"] == "x-<redacted>-<redacted>-y"
        assert finished.data["started_at"].endswith(SECRET)
    assert b"vault-key" not in (played.master.folder / "again.db").read_bytes()


def test_levels_that_are_nested_too_deep_are_left_out(played: Played) -> None:
    submitted = played.of("build.request.submitted", "idle")[0]
    assert submitted.data["properties"]["deep"] == [[[[[[[[None]]]]]]]]


def test_logs_are_published_however_short_they_are_and_whenever_they_come(played: Played) -> None:
    logs = [
        (event.data["slug"], event.data["type"], event.data["num_lines"], event.data["tail"])
        for event in played.of("build.log.finished", "logs")
    ]
    assert logs == [
        ("empty", "t", 0, ""),
        ("page", "h", 1, "<b>one</b>\n"),
        ("late", "s", 2, "a\x00b\nno newline\n"),
        ("late_2", "t", 1, "the same name\n"),
    ]
    (late,) = played.of("build.log.finished", "waits")
    assert late.data["slug"] == "cancelled_while_waiting_for_locks"


def test_a_row_that_lacks_what_it_names_holds_up_no_other(played: Played) -> None:
    master = played.master
    with closing(sqlite3.connect(master.database)) as db, db:
        ((bsid,),) = db.execute(
            "SELECT r.buildsetid FROM buildrequests r JOIN builders b ON b.id = r.builderid WHERE b.name = 'inner'"
        )
        db.execute("DELETE FROM buildset_sourcestamps WHERE buildsetid = ?", (bsid,))
        db.execute("INSERT INTO buildset_sourcestamps (buildsetid, sourcestampid) VALUES (?, 99999)", (bsid,))
        db.execute("DELETE FROM builders WHERE name = 'logs'")
        # What Buildbot's janitor leaves of a log.
        db.execute("UPDATE logs SET type = 'd'")
        db.execute("DELETE FROM logchunks")
    master.configure(played.config("broken.db"))
    _recover_into(master, "broken.db")
    stored = {event.id: event for event in master.events()}
    lost = [event for event in played.found if event.id not in stored and event.data["recovered"]]
    assert {event.data["buildername"] for event in lost} == {"logs", "inner"}
    # Buildbot itself does not find a request that has no sourcestamp.
    assert {event.type for event in lost if event.data["buildername"] == "inner"} == {
        "build.request.submitted.v1",
        "build.request.completed.v1",
    }
    (inner,) = (event for event in played.of("build.finished", "inner"))
    assert stored[inner.id].data["sourcestamps"] == []
    assert "Buildbot's database does not have all of it: Buildbot no longer has builders/" in master.log()
