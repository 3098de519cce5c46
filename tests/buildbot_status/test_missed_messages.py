# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A message of the bus that the reporter missed is found in the database while the master goes on."""

from __future__ import annotations

import pytest

from support.buildbot.masters import REPORTER, MakeMaster, Master
from support.buildbot.oracle import assert_exact

#: The comparison with the database, which is made every minute, made every second.
OFTEN = """
from sourcepulse_buildbot import pipeline
from sourcepulse_buildbot.live import observer, steps as live_steps
pipeline.RECOVER_SECONDS, pipeline.GRACE_SECONDS = 1.0, 0
"""
BUILDER = 'builder("b", "echo one", "echo two")\n'
#: Each takes something away between the bus and the outbox.
LOSSES = {
    "every request and every step that ends": """
def lose(self, step):
    raise RuntimeError("lost")
live_steps.Steps.finished = lose
observer.Observer._request = observer.Observer._request_complete = lambda self, request: None
""",
    "every change, every buildset and every build that begins": """
observer.Observer._buildset_complete = observer.Observer._change = lambda self, row: None
observer.Observer._build = lambda self, build: None
""",
    "every build that ends, as the database gives no answer": """
from sourcepulse_buildbot import directory
real = directory.Directory.context
async def fails(self, build, live, **more):
    if live.properties is not None and build["complete_at"] is not None:
        raise LookupError("no such row")
    return await real(self, build, live, **more)
directory.Directory.context = fails
""",
    "all that does not fit into a very short queue": """
from sourcepulse_buildbot import writer
writer.QUEUE_MOST_FACTS = 3
writer.GATHER_SECONDS = 0.3
""",
}


def _is_exact(master: Master) -> bool:
    try:
        assert_exact(master, late=True)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("loss", LOSSES, ids=lambda name: name.replace(" ", "-").replace(",", ""))
def test_what_is_lost_on_the_way_is_found_in_the_database(make_master: MakeMaster, loss: str) -> None:
    master = make_master(OFTEN + LOSSES[loss] + REPORTER + BUILDER)
    master.start()
    master.do("change", author="a", project="p", repository="r", files=["f"], comments="c")
    master.build("b")
    master.build("b", revision="2")
    master.wait_for(lambda: _is_exact(master), limit_s=20)
    assert any(event.data["recovered"] for event in master.events())


#: The database has lost what a build, a request and a buildset refer to, as after a careless cleaning.
UNREADABLE = """
from sourcepulse_buildbot import directory
async def gone(self, bsid):
    raise LookupError("Buildbot no longer has buildsets/%d" % bsid)
if __import__("os").path.exists("gone"):
    real = directory.Directory.buildset
    async def some(self, bsid):
        return await (gone if bsid == 1 else real)(self, bsid)
    directory.Directory.buildset = some
observer.Observer._build = observer.Observer._build_finished = lambda self, build: None
observer.Observer._request = observer.Observer._request_complete = lambda self, request: None
observer.Observer._buildset_complete = lambda self, buildset: None
"""


def test_a_row_that_cannot_be_read_is_logged_once_and_delays_no_other(make_master: MakeMaster) -> None:
    master = make_master(OFTEN + UNREADABLE + REPORTER + BUILDER)
    (master.folder / "gone").touch()
    master.start()
    master.build("b")
    master.build("b", revision="2")
    (finished,) = master.wait_for_events(1, "build.finished")
    master.wait_for_events(2, "build.buildset.completed")
    assert finished.data["buildsetid"] == 2
    master.build("b", revision="3")
    master.wait_for_events(2, "build.finished")
    assert master.log().count("build 1 cannot be published") == 1
