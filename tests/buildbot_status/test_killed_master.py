# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A master that is killed at any instant: afterwards every fact in its database is published, once, in order."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer, config
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.assemble import open_relay
from sourcepulse_buildbot.recovery.mark import read_mark
from support.buildbot.masters import REPORTER, MakeMaster, Master
from support.buildbot.oracle import assert_exact, assert_in_order

CYCLES = 2
SOAK_CYCLES = 100
#: From the first build to the kill, at most.
LIFE_MOST_SECONDS, SOAK_LIFE_MOST_SECONDS = 1.5, 2.5
SETTLE_LIMIT_SECONDS = 120.0

CONFIG = """
c["services"].append(reporters.PulseStatusPush(
    name="ci", outbox="outbox.db", broker="file://{folder}/log.db",
    test_cases=["failed", "skipped"], log_tail_bytes=200))
REPORT = "printf '1..3\\nok 1 - a\\nnot ok 2 - b\\nok 3 - c # SKIP why\\n' > report.tap"
builder("fast", "echo one", "echo two")
builder("tests", REPORT, steps.PublishTestReport(format="tap", path="report.tap"), "exit 1")
builder("slow", "sleep 0.4", "echo two", "sleep 0.4")
builder("skipped", "echo never", do_build_if=lambda _: False)
builder("trigger", steps.Trigger(schedulerNames=["all-fast"], waitForFinish=True))
c["schedulers"].append(schedulers.Triggerable(name="all-fast", builderNames=["fast"]))
"""
BUILDERS = ("fast", "tests", "slow", "skipped", "trigger")


def _load(master: Master, chance: random.Random, most_s: float) -> None:
    """Ask for builds, stop and cancel some, until it is time."""
    until = time.monotonic() + chance.uniform(0.05, most_s)
    while time.monotonic() < until:
        asked = master.request(*chance.sample(BUILDERS, chance.randint(1, 3)))
        if chance.random() < 0.3:
            master.do("change", author="alice", project="p", repository="https://h/a/b", files=["f"], comments="c")
        if chance.random() < 0.2:
            master.do("cancel", buildrequestid=chance.choice(list(asked["requests"].values())))
        if chance.random() < 0.2:
            for (buildid,) in master.query("SELECT id FROM builds WHERE complete_at IS NULL LIMIT 1"):
                master.do("stop_build", buildid=buildid)
        time.sleep(chance.uniform(0, 0.3))


def _run(make_master: MakeMaster, tmp_path: Path, cycles: int, life_most_s: float) -> None:
    seed = int(os.environ.get("SOURCEPULSE_SEED") or random.randrange(2**32))
    print(f"SOURCEPULSE_SEED={seed}")
    chance = random.Random(seed)
    master = make_master(CONFIG.format(folder=tmp_path), workers=2)
    url = f"file://{tmp_path}/log.db"
    with _consumer(url, tmp_path):
        pass
    for _ in range(cycles):
        master.start()
        _load(master, chance, life_most_s)
        master.kill()
    master.start()
    master.wait_for(
        lambda: not master.query("SELECT 1 FROM buildrequests WHERE NOT complete LIMIT 1"), limit_s=SETTLE_LIMIT_SECONDS
    )
    master.stop()
    master.start()
    master.stop()
    assert_exact(master)
    # What the relay of the master had no time for, another one sends.
    with open_relay(master.outbox, config.load({"broker": url}, environ={}), threading.Event()) as relay:
        relay.once()
    consumed = list(_consumed(url, tmp_path, len(master.events())))
    assert [event.id for event in consumed] == [event.id for event in master.events()]
    assert_in_order(consumed)
    recovered = sum(event.data["recovered"] for event in consumed)
    retried = master.query("SELECT count(*) FROM builds WHERE results = 5")[0][0]
    print(f"{cycles} kills: {len(consumed)} events, {recovered} of them recovered; {retried} builds retried")


def _consumer(url: str, folder: Path) -> Consumer:
    return Consumer(url, "#", "everything", durable=True, state=folder / "state.db", timeout=10)


def _consumed(url: str, folder: Path, count: int) -> Iterator[Event]:
    with _consumer(url, folder) as consumer:
        for event in consumer:
            if event.type.startswith("system.relay."):
                continue
            yield event
            count -= 1
            if count == 0:
                consumer.acknowledge()
                return


def _presence(master: Master) -> dict[str, Any] | None:
    with Outbox.open(master.outbox, create=False) as outbox:
        mark = read_mark(outbox, "buildbot://ci")
    if mark is None or not mark.presence:
        return None
    return {"master": mark.presence["master"], "workers": list(mark.presence["workers"].values())}


def test_after_kills_at_any_instant_each_fact_of_the_database_was_published_once(
    make_master: MakeMaster, tmp_path: Path
) -> None:
    _run(make_master, tmp_path, CYCLES, LIFE_MOST_SECONDS)


@pytest.mark.soak
def test_after_a_hundred_kills_each_fact_of_the_database_was_published_once(
    make_master: MakeMaster, tmp_path: Path
) -> None:
    _run(make_master, tmp_path, SOAK_CYCLES, SOAK_LIFE_MOST_SECONDS)


def test_after_a_kill_the_master_and_its_workers_are_published_as_gone_before_they_return(
    make_master: MakeMaster,
) -> None:
    master = make_master(REPORTER + 'builder("b", "echo")\n')
    master.start()
    master.wait_for_events(2)
    # Who is there is stored right behind that.
    master.wait_for(lambda: _presence(master) == {"master": "started", "workers": ["w0"]})
    master.kill()
    master.start()
    published = [
        (event.type.split(".")[2], event.subject.split("/")[0], event.data["recovered"])
        for event in master.wait_for_events(6)
        if event.subject is not None
    ]
    assert sorted(published[:2]) == [("connected", "worker", False), ("started", "master", False)]
    assert published[2:4] == [("disconnected", "worker", True), ("stopped", "master", True)]
    assert sorted(published[4:]) == [("connected", "worker", False), ("started", "master", False)]
