# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Masters with one database: each publishes what it did, another what a dead one left, and every fact has one id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from buildbot.mq.simple import SimpleMQ

from sourcepulse_buildbot.live.bus import Tap
from support.buildbot.masters import MakeMaster
from support.buildbot.oracle import assert_exact

CONFIG = """
c["multiMaster"] = True
c["db_url"] = "sqlite:///{folder}/state.sqlite"
c["services"].append(reporters.PulseStatusPush(name="ci", outbox="outbox.db", master="{name}"))
c["workers"] = [worker.LocalWorker("{name}w", max_builds=4)]
WORKERS = ["{name}w"]
builder("{name}", "sleep 0.2", "sleep {rest}")
"""


def test_another_master_publishes_what_a_dead_one_left_with_the_same_ids(
    make_master: MakeMaster, tmp_path: Path
) -> None:
    first = make_master("")
    second = make_master("")
    first.configure(CONFIG.format(folder=first.folder, name="m1", rest=60))
    second.configure(CONFIG.format(folder=first.folder, name="m2", rest=0))
    second.database = first.database
    first.start()
    second.start()
    first.request("m1")
    second.build("m2")
    first.wait_for_events(1, "build.started")
    first.wait_for_events(3, "build.step.started")
    first.kill()
    second.do("expire", folder=str(first.folder))
    (finished,) = second.wait_for(
        lambda: [event for event in second.events("build.finished") if event.data["buildername"] == "m1"]
    )
    assert (finished.data["outcome"], finished.data["recovered"]) == ("retry", False)
    assert finished.source == "buildbot://ci/m2"
    assert "m1" in [event.data["buildername"] for event in second.events("build.log.finished")]
    (stopped,) = second.events("build.master.stopped")
    assert str(first.folder) not in stopped.data["name"]
    # The dead one comes back, and finds in the database what became of its build.
    first.start()
    (again,) = first.wait_for_events(1, "build.finished")
    assert (again.id, again.data["recovered"]) == (finished.id, True)
    first.stop()
    second.stop()
    by_id = {event.id: event for event in [*first.events(), *second.events()]}
    in_order = sorted(by_id.values(), key=lambda event: event.time)
    assert {event.source for event in in_order} == {"buildbot://ci/m1", "buildbot://ci/m2"}
    assert_exact(first, sorted(in_order, key=lambda event: not event.type.startswith("build.request.submitted")))
    # Only the survivor published what another master did.
    assert all(event.data["buildername"] == "m2" for event in second.events("build.step.started"))


def test_the_tap_hears_each_message_of_this_master_once_under_its_shortest_key() -> None:
    mq, heard, passed = SimpleMQ(), [], []
    mq.startConsuming(lambda key, message: passed.append(key), (None, None, None))
    tap = Tap(mq, {("builds", "new"): lambda key, message: heard.append((key, message))})
    produce = mq.produce

    def say() -> None:
        for key in (("builders", "1", "builds", "2", "new"), ("builds", "2", "new"), ("builds", "2", "finished")):
            mq.produce(key, {"buildid": 2})

    async def run() -> None:
        await tap.start()
        say()
        await tap.stop()

    _finish(run())
    assert heard == [(("builds", "2", "new"), {"buildid": 2})]
    assert passed == [("builds", "2", "new"), ("builds", "2", "finished")]
    assert mq.produce == produce
    say()
    assert len(heard) == 1
    assert len(passed) == 4


def test_a_tap_below_a_foreign_one_stays_and_only_passes_messages_on() -> None:
    mq, heard, others, passed = SimpleMQ(), [], [], []
    mq.startConsuming(lambda key, message: passed.append(key), (None, None, None))
    tap = Tap(mq, {("builds", "new"): lambda key, message: heard.append(key)})
    _finish(tap.start())
    below = mq.produce

    def other(key: Any, message: Any) -> Any:
        others.append(key)
        return below(key, message)

    mq.produce = other
    _finish(tap.stop())
    mq.produce(("builds", "2", "new"), {})
    assert (heard, others, passed) == ([], [("builds", "2", "new")], [("builds", "2", "new")])


def _finish(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")
