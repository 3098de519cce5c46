# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The story of a change, and what the board knows of one event."""

from __future__ import annotations

import json

import pytest

from sourcepulse.events.event import Event
from sourcepulse.events.wire import encode
from sourcepulse_web.board.documents import NOTHING_SEEN
from sourcepulse_web.board.story_documents import HappenedDoc, StoryDoc
from support.web.board_events import Build, Site, node
from support.web.board_log import BoardLog

UNIT = "linux64-debug-unit"
TEXT = "Bug 1234 - handle empty input\n\nText"


def story(log: BoardLog, prefix: str) -> StoryDoc:
    [found] = log.board.story(prefix)
    return found


def lines(happened: list[HappenedDoc]) -> list[str]:
    return ["".join(part["text"] for part in line["parts"]) for line in happened]


def test_a_story_says_what_became_of_a_change(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(0), user="bob"), *Build(site, UNIT, node(0)).story())
    log.add(site.push(node(1), node(2), node(3), descs=["One", "Bug 1234 - tests", TEXT]))
    log.add(*Build(site, UNIT, node(3)).story("failure", "tests/parse.t", state_string="failed tests (1 of 2,114)"))
    log.add(*Build(site, "linux64-debug-memory", node(3)).story("exception", state_string="worker w12 lost"))
    log.add(
        site.bug(1234, "closed", is_open=False, status="RESOLVED", resolution="FIXED"),
        site.tree("closed", reason="unit"),
    )
    log.add(site.bug(1305, "created", summary="parse.t crashes"), site.comment(1305, f"since {node(3)[:12]}"))
    found = story(log, node(3)[:6])
    assert (found["title"], found["text"]) == ("Bug 1234 - handle empty input", TEXT)
    assert (found["verdict"], found["ended"]) == ("not good", "all 2 builds ended")
    assert found["said"] == "1 test fails that passed before. 1 build broke."
    assert [each["note"] for each in found["failures"]] == ["passed on the push before", ""]
    assert (found["before_passed"], found["before_of"]) == (1, 2)
    assert found["before"] is not None
    assert found["before"]["node"] == node(0)
    assert found["after"] is None
    assert found["date"] == "2026-11-22T11:20:30+00:00"
    assert [each["node"] for each in found["same_push"]] == [node(3), node(2), node(1)]
    assert (found["tree_then"], found["tree"]["state"]) == ("open", "closed")
    assert [(each["bug"]["id"], each["resolution"]) for each in found["bugs_named"]] == [(1234, "FIXED")]
    assert [each["bug"]["summary"] for each in found["bugs_naming"]] == ["parse.t crashes"]
    assert lines(found["happened"]) == [
        "alice pushed 3 changes to inbound; this is the last of them",
        "2 builds asked for by scheduler inbound, the first started",
        "unit failed on linux64 debug: tests/parse.t:41, new here",
        "memory broke on linux64 debug: worker w12 lost",
        "The last of 2 builds ended; 0 passed",
        "alice resolved bug 1234 as FIXED",
        "inbound closed by bob: unit",
        "bob made bug 1305 parse.t crashes",
        "alice named this change on bug 1305",
    ]
    assert found["happened"][0]["after_s"] == 0


def test_each_verdict_has_its_sentence(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)))
    assert (story(log, node(1))["verdict"], story(log, node(1))["said"]) == ("not yet known", "No build was asked for.")
    one, two = Build(site, UNIT, node(1)), Build(site, "linux64-debug-lint", node(1))
    log.add(one.request(), two.request())
    assert story(log, node(1))["said"] == "No build has ended yet."
    log.add(one.started(), one.ran(), one.finished())
    found = story(log, node(1))
    assert (found["verdict"], found["said"], found["ended"]) == (
        "good so far", "1 of 2 builds passed.", "1 of 2 builds ended",
    )  # fmt: skip
    log.add(two.started(), two.finished())
    assert (story(log, node(1))["verdict"], story(log, node(1))["said"]) == ("good", "All builds passed.")


def test_one_prefix_may_be_of_several_trees_and_a_short_one_is_of_none(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), site.push(node(1), repo="try"))
    assert [each["push"]["repo"] for each in log.board.story(node(1)[:8])] == ["try", "integration/inbound"]
    assert [each["name"] for each in log.board.story(node(1)[:8])[0]["also_in"]] == ["inbound"]
    for prefix in (node(1)[:5], "", "xyzxyz", "' OR 1", node(2)):
        assert log.board.story(prefix) == []


def test_a_change_that_its_push_does_not_list_has_a_story_too(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1), node(2), count=112))
    found = story(log, node(2))
    assert (found["listed"], found["title"], found["author"], found["date"]) == (False, "", None, None)


def seen(log: BoardLog, event: Event) -> dict[str, object]:
    found = log.board.seen(json.loads(encode(event)))
    return {name: value for name, value in found.items() if value is not None}


def test_what_is_seen_of_a_build_and_of_a_failed_test(site: Site, log: BoardLog) -> None:
    push = site.push(node(1), user="alice")
    build = Build(site, UNIT, node(1))
    request, _, failed, run, finished, _ = events = build.story("failure", "tests/parse.t")
    log.add(push, *events)
    common = {
        "label": "unit", "platform": "linux64 debug", "tree": "inbound", "repo": "integration/inbound",
        "push": 1, "node": node(1), "user": "alice",
    }  # fmt: skip
    said = "nothing to compare with"
    assert seen(log, finished) == common | {"duration_s": 3, "state": "alone", "verdict": f"failed, {said}"}
    assert seen(log, failed) == common | {"duration_s": 3, "verdict": said, "note": "no earlier run"}
    assert seen(log, run) == common | {"duration_s": 3}
    assert seen(log, request) == common
    assert seen(log, push)["push"] == 1


@pytest.mark.parametrize("event", [{}, {"type": "hg.push.v1"}, {"type": 3, "data": []}, {"data": {"bug": 3}}])
def test_of_what_is_not_an_event_nothing_is_seen(log: BoardLog, event: dict[str, object]) -> None:
    assert log.board.seen(event) == NOTHING_SEEN
