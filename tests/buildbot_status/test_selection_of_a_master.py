# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Reporters of one master that want different things: each publishes those alone, live and from the database."""

from __future__ import annotations

from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_buildbot.recovery.mark import Mark, write_mark
from support.buildbot.masters import MakeMaster
from support.events.outbox_contents import stored_events

CONFIG = """
for name, wanted in {wanted!r}.items():
    c["services"].append(reporters.PulseStatusPush(name=name, outbox="{prefix}" + name, **wanted))
TAP = "printf '1..2\\nok 1 - a\\nnot ok 2 - b\\n' > report.tap"
builder("one", TAP, steps.PublishTestReport(format="tap", path="report.tap"), tags=["t", "u"])
builder("two", "echo", tags=["v"])
builder("three", steps.Trigger(schedulerNames=["sub"], waitForFinish=True))
c["schedulers"].append(schedulers.Triggerable(name="sub", builderNames=["two"]))
"""
WANTED: dict[str, dict[str, object]] = {
    "builder": {"builders": ["one"]},
    "tag": {"tags": ["u", "w"]},
    "scheduler": {"schedulers": ["sub"]},
    "changes": {"events": ["changes"]},
    "requests": {"events": ["requests"]},
    "buildsets": {"events": ["buildsets"]},
    "tests": {"events": ["tests"], "detail": "builds"},
    "totals": {"events": ["tests"], "max_test_cases": 0},
    "builds": {"events": ["builds"], "detail": "builds"},
    "steps": {"events": ["builds"], "detail": "steps"},
    "logs": {"events": ["builds"], "detail": "logs"},
    "masters": {"events": ["masters"]},
    "workers": {"events": ["workers"]},
}
BUILDS = {"build.started.v1", "build.finished.v1"}
STEPS = BUILDS | {"build.step.started.v1", "build.step.finished.v1"}
LOGS = STEPS | {"build.log.finished.v1"}
REQUESTS = {"build.request.submitted.v1", "build.request.completed.v1"}
TESTS = {"test.run.finished.v1", "test.case.failed.v1"}
WITHOUT_BUILDER = {"change.added.v1", "build.buildset.completed.v1"}
TYPES = {
    "builder": LOGS | REQUESTS | TESTS | WITHOUT_BUILDER,
    "tag": LOGS | REQUESTS | TESTS | WITHOUT_BUILDER,
    "scheduler": LOGS | REQUESTS | WITHOUT_BUILDER,
    "changes": {"change.added.v1"},
    "requests": REQUESTS,
    "buildsets": {"build.buildset.completed.v1"},
    "tests": TESTS,
    "totals": {"test.run.finished.v1"},
    "builds": BUILDS,
    "steps": STEPS,
    "logs": LOGS,
    "masters": set(),
    "workers": set(),
}
BUILDERS = {"builder": {"one"}, "tag": {"one"}, "scheduler": {"two"}, "tests": {"one"}, "totals": {"one"}}


def _exact(events: list[Event]) -> dict[str, Event]:
    return {event.id: event for event in events if not event.type.startswith(("build.worker", "build.master"))}


def test_each_reporter_publishes_what_it_was_asked_for_and_nothing_else(make_master: MakeMaster) -> None:
    master = make_master(CONFIG.format(wanted=WANTED, prefix="live-"))
    master.start()
    master.do("change", author="a", files=[], comments="", repository="r", project="p", when_timestamp=1)
    master.build("one", "two", "three")
    master.stop()
    master.configure(CONFIG.format(wanted=WANTED, prefix="again-"))
    for name in WANTED:
        with Outbox.open(master.folder / f"again-{name}") as outbox:
            write_mark(outbox, f"buildbot://{name}", Mark(at=0, changeid=0, presence={}))
    master.start()
    master.stop()
    for name in WANTED:
        stored = stored_events(master.folder / f"live-{name}")
        live, again = _exact(stored), _exact(stored_events(master.folder / f"again-{name}"))
        assert {event.type for event in live.values()} == TYPES[name], name
        assert set(live) == set(again), name
        runs = [event for event in stored if event.type == "test.run.finished.v1"]
        # What is over the limit is counted.
        limit = {"totals": (0, 1)}.get(name, (1, 0))
        assert {(run.data["cases"], run.data["cases_left_out"]) for run in runs} <= {limit}, name
        builders = {event.data["buildername"] for event in live.values() if "buildername" in event.data}
        assert builders == BUILDERS.get(name, builders), name
        about = {event.type.split(".")[1] for event in stored} & {"worker", "master"}
        whole = {"builder", "tag", "scheduler"}
        assert about == {"workers": {"worker"}, "masters": {"master"}}.get(
            name, {"worker", "master"} if name in whole else set()
        )
