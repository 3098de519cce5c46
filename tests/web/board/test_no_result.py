# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What was cancelled or skipped, or starts again, is no result: it makes nothing good, and nothing known."""

from __future__ import annotations

import pytest

from sourcepulse_web.board.documents import PushDoc
from support.web.board_events import Build, Site, node
from support.web.board_log import BoardLog, states_of, verdicts_of, words_of

UNIT, LINT = "linux64-opt-unit", "linux64-opt-lint"
TEST = "tests/parse.t"


def verdict(log: BoardLog, push: int) -> tuple[str, str]:
    [story] = log.board.story(node(push))
    return story["verdict"], story["said"]


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("cancelled", "No build ran: 2 cancelled."),
        ("skipped", "No build ran: 2 skipped."),
        ("unknown", "No build ran: 2 of unknown outcome."),
        ("mystified", "No build ran: 2 of unknown outcome."),
        ("retry", "No build has ended yet."),
    ],
)
def test_a_push_on_which_no_builder_ran_is_not_good(site: Site, log: BoardLog, outcome: str, said: str) -> None:
    log.add(site.push(node(1)))
    for builder in (UNIT, LINT):
        log.add(*Build(site, builder, node(1)).story(outcome))
    assert verdict(log, 1) == ("not yet known", said)


def test_a_push_whose_requests_ended_without_a_build_is_not_good(site: Site, log: BoardLog) -> None:
    cancelled, collapsed = Build(site, UNIT, node(1)), Build(site, LINT, node(1))
    log.add(site.push(node(1)), cancelled.request(), cancelled.completed("cancelled", buildid=None))
    assert verdict(log, 1) == ("not yet known", "No build ran: 1 cancelled.")
    log.add(collapsed.request(), collapsed.completed("skipped", buildid=None, collapsed_into=99))
    assert verdict(log, 1) == ("not yet known", "No build ran: 1 cancelled, 1 skipped.")


def test_a_push_is_good_only_if_each_builder_has_a_result(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story())
    assert verdict(log, 1) == ("good", "All builds passed.")
    log.add(*Build(site, LINT, node(1)).story("cancelled"))
    assert verdict(log, 1) == ("good so far", "1 of 2 builds passed. Not known: 1 cancelled.")


def test_a_failed_request_of_which_no_build_is_known_is_not_good(site: Site, log: BoardLog) -> None:
    lost = Build(site, LINT, node(1))
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story(), lost.request(), lost.completed("failure"))
    assert verdict(log, 1) == ("not yet known", "A build failed of which nothing more is known.")


def test_a_request_that_is_cancelled_while_it_waits_to_start_again_is_cancelled(site: Site, log: BoardLog) -> None:
    build = Build(site, UNIT, node(1))
    log.add(site.push(node(1)), build.request(), build.started(), build.finished("retry"))
    assert states_of(log.pushes()[0]) == {UNIT: "retry"}
    position = log.page()["position"]
    log.add(build.completed("cancelled", sourcestamps=[]))
    update = log.board.changed("integration/inbound", position, position + 1)
    assert update is not None
    [push] = update["pushes"]
    word = words_of(push)[UNIT]
    assert (word["state"], word["said"]) == ("cancelled", "cancelled")
    assert [(each["number"], each["said"]) for each in word["others"]] == [(build.buildid, "starts again")]
    assert verdict(log, 1) == ("not yet known", "No build ran: 1 cancelled.")
    page = log.page()
    log.board.rebuild()
    assert log.page() == page


def test_a_build_that_starts_after_all_takes_the_place_of_the_cancelled_request(site: Site, log: BoardLog) -> None:
    build = Build(site, UNIT, node(1))
    log.add(site.push(node(1)), build.request(), build.started(), build.finished("retry"), build.completed("cancelled"))
    again = Build(site, UNIT, node(1), requestid=build.requestid)
    log.add(again.started())
    assert states_of(log.pushes()[0]) == {UNIT: "running"}
    log.add(again.ran(), again.finished())
    assert states_of(log.pushes()[0]) == {UNIT: "passed"}


@pytest.mark.parametrize("outcome", ["cancelled", "skipped", "unknown", "retry"])
def test_what_fails_now_goes_on_failing_until_a_build_has_a_result(site: Site, log: BoardLog, outcome: str) -> None:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story("failure", TEST))
    ended = log.tree()["last_build_at"]
    log.add(site.push(node(2)), *Build(site, UNIT, node(2)).story(outcome))
    tree = log.tree()
    assert (verdicts_of(tree["failing"]), tree["last_build_at"]) == ({TEST: "nothing to compare with"}, ended)
    log.add(*Build(site, UNIT, node(2)).story())
    assert log.tree()["failing"] == []


def test_a_tree_on_which_no_builder_ran_has_no_last_build(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story("cancelled"))
    assert log.tree()["last_build_at"] is None


def come_again(site: Site, log: BoardLog) -> PushDoc:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story())
    log.add(site.push(node(2)), *Build(site, UNIT, node(2)).story("failure", TEST))
    log.add(site.stripped(node(2)), site.push(node(2)))
    return log.pushes()[0]


def test_a_build_of_a_push_that_was_stripped_and_came_again_is_not_compared_with_itself(
    site: Site, log: BoardLog
) -> None:
    [failure] = come_again(site, log)["failures"]
    assert (failure["said"], failure["note"]) == ("new here", "first failure in 2 runs")
    newest = log.board.story(node(2))[0]
    assert (newest["verdict"], newest["said"]) == ("not good", "1 test fails that passed before.")
    assert [(each["said"], each["note"]) for each in log.tree()["failing"]] == [("new here", "first failure in 2 runs")]


def test_a_build_that_two_pushes_have_counts_once_for_the_pushes_after_them(site: Site, log: BoardLog) -> None:
    come_again(site, log)
    log.add(site.push(node(3)), *Build(site, UNIT, node(3)).story("failure", TEST))
    [failure] = log.pushes()[0]["failures"]
    assert (failure["said"], failure["note"]) == ("known", "1 of the last 3 pushes")
    log.add(site.push(node(4)), *Build(site, UNIT, node(4)).story("failure", "other.t"))
    [failure] = log.pushes()[0]["failures"]
    assert (failure["said"], failure["note"]) == ("new here", "first failure in 4 runs")


def test_a_build_without_a_test_is_compared_with_all_builds_of_its_builder(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story("failure", TEST))
    log.add(site.push(node(2)), *Build(site, UNIT, node(2)).story("failure"))
    push = log.pushes()[0]
    assert [(each["said"], each["note"]) for each in push["failures"]] == [("known", "failed on the push before")]
    assert states_of(push) == {UNIT: "known"}
