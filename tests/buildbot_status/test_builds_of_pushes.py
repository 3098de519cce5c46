# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""From a push to a board: a master builds from `hg.push` events alone, and small readers of the stream are right."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

import pytest

from sourcepulse import Consumer, Event
from support.buildbot.masters import Master
from support.hg.sites import ROOT, VENV_HG, Repository, Site
from support.streams import reducers

LINES_MAX = 40
#: As it is shipped, beside master.cfg.
CHANGE_SOURCE = ROOT / "shared" / "docs" / "examples" / "change_source.py"
SILENCE_SECONDS = 30.0
RED = '<testsuite><testcase name="steady"/><testcase name="shaky"><failure message="no"/></testcase></testsuite>'
GREEN = '<testsuite><testcase name="steady"/><testcase name="shaky"><flakyFailure message="no"/></testcase></testsuite>'
CONFIG = """
from change_source import HgPushes
c["change_source"] = [HgPushes("{log}", "builds")]
c["services"].append(reporters.PulseStatusPush(name="ci", outbox="outbox.db", broker="{log}"))
builder("unit", "cp {report} report.xml",
    steps.PublishTestReport(path="report.xml", description="unit", fail_on_failures=True))
c["schedulers"].append(schedulers.SingleBranchScheduler(
    name="pushes", builderNames=["unit"], treeStableTimer=2, change_filter=util.ChangeFilter(branch="default")))
"""


class Stream(NamedTuple):
    """What a server and a master published, and the nodes that were pushed."""

    nodes: list[str]
    events: list[Event]


def _finished(master: Master) -> list[Event]:
    return master.events("build.finished")


@pytest.fixture(scope="module")
def stream(master_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stream]:
    folder = tmp_path_factory.mktemp("pushes")
    site = Site(folder / "site", VENV_HG)
    log = f"file://{folder}/log.db"
    server = site.server(keys=f"broker = {log}\nsource = hg://host\nrepo_url = https://hg.example.org/{{repo}}")
    work = site.repository("work")
    report = folder / "report.xml"
    report.write_text(RED)
    master = Master(master_template, folder / "master", CONFIG.format(log=log, report=report))
    shutil.copy(CHANGE_SOURCE, master.folder)
    try:
        master.start()
        _push(work, server, "one")
        master.wait_for(lambda: len(_finished(master)) == 1)
        report.write_text(GREEN)
        # Two pushes that one build takes together.
        _push(work, server, "two")
        _push(work, server, "three")
        master.wait_for(lambda: len(_finished(master)) >= 2 and _has_all(master, work))
        last = master.wait_for_events(2, "build.buildset.completed")[-1]
        yield Stream(work.nodes(), _recorded(log, last.id))
    finally:
        master.close()


def _recorded(log: str, last: str) -> list[Event]:
    """What a subscriber gets, up to this event; source by source in order, as nothing more is promised."""
    recorded: list[Event] = []
    with Consumer(log, from_start=True, timeout=SILENCE_SECONDS) as consumer:
        for event in consumer:
            recorded.append(event)
            if event.id == last:
                break
    assert recorded[-1].id == last
    return sorted(recorded, key=lambda event: not event.type.startswith("hg."))


def _push(work: Repository, server: Repository, text: str) -> None:
    work.commit(text)
    work.push(server)


def _has_all(master: Master, work: Repository) -> bool:
    built = {change["revision"] for event in _finished(master) for change in event.data["changes"]}
    return built == set(work.nodes())


def test_a_master_builds_what_was_pushed_from_events_alone(stream: Stream) -> None:
    started = [event.data for event in stream.events if event.type == "build.started.v1"]
    first = started[0]
    (stamp,) = first["sourcestamps"]
    assert (stamp["revision"], stamp["branch"]) == (stream.nodes[0], "default")
    assert (stamp["repository"], stamp["project"]) == ("https://hg.example.org/server", "server")
    assert [change["revision"] for change in first["changes"]] == stream.nodes[:1]
    # Who is to blame is known when a build begins.
    assert first["owners"]
    assert started[-1]["sourcestamps"][0]["revision"] == stream.nodes[2]


def test_a_tree_board_links_every_push_with_its_builds(stream: Stream) -> None:
    one, two, three = stream.nodes
    assert reducers.tree_board(stream.events) == {
        one: {"unit": "failure"},
        two: {"unit": "success"},
        three: {"unit": "success"},
    }


def test_a_notifier_says_once_that_a_builder_fails_and_that_it_is_mended(stream: Stream) -> None:
    notices = reducers.failure_notices(stream.events)
    assert [(notice.buildername, notice.outcome) for notice in notices] == [("unit", "failure"), ("unit", "success")]
    assert notices[0].revision == stream.nodes[0]
    assert all(notice.owners and notice.url for notice in notices)


def test_a_dashboard_counts_flaky_tests(stream: Stream) -> None:
    runs = sum(event.type == "test.run.finished.v1" for event in stream.events)
    assert reducers.flaky_tests(stream.events) == {"unit: shaky": runs - 1}


def test_a_capacity_view_knows_slots_and_waits(stream: Stream) -> None:
    load = reducers.capacity(stream.events)
    assert list(load.busy) == ["w0"]
    assert 0 <= load.busy["w0"] <= 1
    assert len(load.waits) == sum(event.type == "build.started.v1" for event in stream.events)
    assert all(wait >= 0 for wait in load.waits)


@pytest.mark.parametrize(
    "written",
    [reducers.tree_board, reducers.failure_notices, reducers.flaky_tests, reducers.capacity],
)
def test_each_of_these_is_small(written: type | FunctionType) -> None:
    assert len(inspect.getsource(written).splitlines()) <= LINES_MAX
