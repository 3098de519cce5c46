# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is of no account: builders of a tier above 1, and those that were not seen for 7 days; and what is too much."""

from __future__ import annotations

from sourcepulse_web.pages.trees import texts
from sourcepulse_web.settings import BuilderSettings, TreeSettings
from support.web.board_events import REPO, START, Build, Site, node
from support.web.board_log import BoardLog, states_of, words_of

UNIT, FUZZ = "linux64-opt-unit", "linux64-opt-fuzz"
DAY_SECONDS = 86_400


def with_tier_two(log: BoardLog) -> None:
    builders = (BuilderSettings(name=FUZZ, label="fuzz", tier=2), BuilderSettings(name=UNIT))
    log.trees = {"main": TreeSettings(name="main", repository=REPO, builders=builders)}


def test_a_builder_of_tier_two_is_shown_and_makes_nothing_bad(site: Site, log: BoardLog) -> None:
    with_tier_two(log)
    for number in (1, 2):
        log.add(site.push(node(number)), *Build(site, UNIT, node(number)).story())
        log.add(*Build(site, FUZZ, node(number)).story(*(("failure", "a.t") if number == 2 else ("success",))))
    push = log.pushes()[0]
    assert states_of(push) == {FUZZ: "new", UNIT: "passed"}
    assert texts.spoken(words_of(push)[FUZZ]).startswith(f"{FUZZ}: failed, new here, tier 2, ")
    assert [(each["tier"], each["where"]) for each in push["failures"]] == [(2, "on linux64 opt: fuzz, tier 2")]
    assert (push["is_new"], log.tree()["failing"], texts.title(log.tree())) == (False, [], "main")
    [story] = log.board.story(node(2))
    assert (story["verdict"], story["said"]) == (
        "good", "All builds passed. 1 failure does not count: tier 2 or higher.",
    )  # fmt: skip


def test_failures_of_tier_two_come_after_all_others(site: Site, log: BoardLog) -> None:
    with_tier_two(log)
    log.add(
        site.push(node(1)), *Build(site, UNIT, node(1)).story("failure", "z.t"), *Build(site, FUZZ, node(1)).story()
    )
    log.add(site.push(node(2)), *Build(site, UNIT, node(2)).story("failure", "z.t"))
    log.add(*Build(site, FUZZ, node(2)).story("failure", "a.t"))
    assert [(each["test"], each["said"]) for each in log.pushes()[0]["failures"]] == [
        ("z.t", "known"),
        ("a.t", "new here"),
    ]
    [story] = log.board.story(node(2))
    assert story["verdict"] == "good"


def test_a_push_with_builds_of_tier_two_only_is_not_yet_known(site: Site, log: BoardLog) -> None:
    with_tier_two(log)
    log.add(site.push(node(1)), *Build(site, FUZZ, node(1)).story())
    [story] = log.board.story(node(1))
    assert (story["verdict"], story["said"]) == ("not yet known", "No build of tier 1 was asked for.")


def test_failures_beyond_those_that_are_compared_are_counted(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story("failure", *(f"old_{n}.t" for n in range(249))))
    log.add(site.push(node(2)))
    log.add(*Build(site, UNIT, node(2)).story("failure", *(f"old_{n}.t" for n in range(249)), "young.t"))
    push = log.pushes()[0]
    assert (len(push["failures"]), push["more_failures"]) == (5, 245)
    assert (push["failures"][0]["test"], states_of(push)) == ("young.t", {UNIT: "new"})
    tree = log.tree()
    assert (len(tree["failing"]), tree["more_failing"], texts.title(tree)) == (200, 50, "✖ 1+ new · inbound")
    [story] = log.board.story(node(2))
    assert (len(story["failures"]), story["more_failures"]) == (200, 50)
    assert story["said"] == (
        "1 test fails that passed before. 199 known failures. 50 more failed tests were not compared."
    )


def test_a_builder_that_was_not_seen_for_seven_days_is_on_its_own_pushes_only(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story(), *Build(site, "linux64-opt-a", node(1)).story())
    site.now += 8 * DAY_SECONDS
    log.clock = START + 8 * DAY_SECONDS + 100
    log.add(site.push(node(2)), *Build(site, UNIT, node(2)).story())
    page = log.page()
    newest, oldest = page["pushes"]
    assert [each["place"] for line in page["places"] for each in line["places"]] == [UNIT]
    assert (states_of(newest), newest["of"]) == ({UNIT: "passed"}, 1)
    assert list(states_of(oldest).items()) == [(UNIT, "passed"), ("linux64-opt-a", "passed")]
    log.clock += 8 * DAY_SECONDS
    assert [[len(line["words"]) for line in push["lines"]] for push in log.pushes()] == [[1], [2]]


def test_a_tree_without_a_result_does_not_say_that_nothing_fails(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, UNIT, node(1)).story("cancelled"))
    assert texts.tree_builds(log.tree()) == "no results yet"
    build = Build(site, UNIT, node(1))
    log.add(build.request(), build.started())
    assert texts.tree_builds(log.tree()) == "no results yet, 1 running"
    log.add(build.finished())
    assert texts.tree_builds(log.tree()) == "nothing fails"
