# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pushes on the board, and which builds belong to them."""

from __future__ import annotations

import pytest

from sourcepulse_web.settings import TreeSettings
from support.events.schema_check import check_data
from support.web.board_events import CI, REPO, Build, Site, node
from support.web.board_log import BoardLog, states_of, words_of


def test_the_site_of_these_tests_makes_events_as_the_schemas_have_them(site: Site) -> None:
    build = Build(site, "linux64-debug-unit", node(1))
    for event in (
        site.push(node(1)), site.push(node(2), node(3), count=112), site.tree("closed"), site.refused(),
        site.stripped(node(1)), site.bug(7), site.bug(7, "closed"), site.hidden(7), site.comment(7, "x"),
        *build.story("failure", "tests/parse.t"),
    ):  # fmt: skip
        check_data(event)


def test_a_push_shows_three_descriptions_newest_first_and_how_many_more_there_are(site: Site, log: BoardLog) -> None:
    nodes = [node(n) for n in range(5)]
    log.add(site.push(*nodes, user="carol", descs=[f"Bug 12{n} - part {n}\nlong text" for n in range(5)]))
    [push] = log.pushes()
    assert [each["text"] for each in push["descs"]] == ["Bug 124 - part 4", "Bug 123 - part 3", "Bug 122 - part 2"]
    assert [each["bugs"][0]["id"] for each in push["descs"]] == [124, 123, 122]
    assert push["more"] == "and 2 more changes"
    assert (push["user"], push["node"], push["count"]) == ("carol", nodes[-1], 5)
    assert "carol@example.org" in push["sought"]
    assert nodes[0] in push["sought"]


def test_a_cut_list_says_how_many_changes_are_listed(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1), node(2), count=112))
    [push] = log.pushes()
    assert push["more"] == "and 111 more changes; 1 is listed"
    assert push["node"] == node(2)


@pytest.mark.parametrize("revision", [node(2), node(1), node(2)[:12]], ids=["last", "not the last", "short"])
def test_a_build_belongs_to_the_push_that_has_its_revision(site: Site, log: BoardLog, revision: str) -> None:
    log.add(site.push(node(1), node(2)), site.push(node(3)), *Build(site, "linux64-opt-unit", revision).story())
    newest, push = log.pushes()
    assert states_of(push) == {"linux64-opt-unit": "passed"}
    assert states_of(newest) == {"linux64-opt-unit": "none"}


def test_a_build_before_its_push_joins_once_the_push_comes(site: Site, log: BoardLog) -> None:
    log.add(*Build(site, "linux64-opt-unit", node(1)).story("failure", "tests/parse.t"))
    assert log.board.page(REPO) is None
    log.add(site.push(node(1)))
    [push] = log.pushes()
    assert states_of(push) == {"linux64-opt-unit": "alone"}
    assert [each["test"] for each in push["failures"]] == ["tests/parse.t"]


def test_each_word_follows_its_build_from_the_request_to_the_end(site: Site, log: BoardLog) -> None:
    build = Build(site, "linux64-debug-unit", node(1))
    log.add(site.push(node(1)))
    for event, state in (
        (build.request(), "waiting"), (build.started(), "running"), (build.finished("warnings"), "warnings"),
        (build.completed("warnings"), "warnings"),
    ):  # fmt: skip
        log.add(event)
        assert states_of(log.pushes()[0]) == {"linux64-debug-unit": state}
    word = words_of(log.pushes()[0])["linux64-debug-unit"]
    assert (word["label"], word["waited_s"], word["duration_s"], word["worker"]) == ("unit", 1, 1, "w12")
    assert (word["number"], word["said"]) == (build.buildid, "passed with warnings")


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("exception", "exception"), ("retry", "retry"), ("cancelled", "cancelled"), ("skipped", "skipped"),
     ("unknown", "unknown"), ("mystified", "unknown")],
)  # fmt: skip
def test_each_outcome_has_its_word(site: Site, log: BoardLog, outcome: str, state: str) -> None:
    log.add(site.push(node(1)), *Build(site, "linux64-opt-unit", node(1)).story(outcome))
    word = words_of(log.pushes()[0])["linux64-opt-unit"]
    assert (word["state"], word["outcome"]) == (state, outcome)
    assert state != "unknown" or word["said"] == f"outcome {outcome}"


def test_a_retry_starts_again_until_its_next_build_counts(site: Site, log: BoardLog) -> None:
    first = Build(site, "linux64-opt-unit", node(1))
    log.add(site.push(node(1)), first.request(), first.started(), first.finished("retry"))
    assert states_of(log.pushes()[0]) == {"linux64-opt-unit": "retry"}
    second = Build(site, "linux64-opt-unit", node(1), requestid=first.requestid)
    log.add(second.started(), second.finished())
    word = words_of(log.pushes()[0])["linux64-opt-unit"]
    assert word["state"] == "passed"
    assert [(each["number"], each["state"]) for each in word["others"]] == [(first.buildid, "retry")]


def test_requests_without_a_build_are_waiting_cancelled_or_taken_up(site: Site, log: BoardLog) -> None:
    waits, cancelled, collapsed = (Build(site, f"linux64-opt-{name}", node(1)) for name in ("a", "b", "c"))
    log.add(site.push(node(1)), waits.request(), cancelled.request(), collapsed.request())
    log.add(
        cancelled.completed("cancelled", buildid=None), collapsed.completed("skipped", buildid=None, collapsed_into=99)
    )
    words = words_of(log.pushes()[0])
    assert [word["state"] for word in words.values()] == ["waiting", "cancelled", "skipped"]
    assert words["linux64-opt-c"]["said"] == "skipped, a later build has it"


def test_a_push_that_was_backed_out_names_what_did_it(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1), node(2)), *Build(site, "linux64-opt-unit", node(2)).story("failure", "a.py"))
    log.add(site.push(node(3), user="bob", descs=[f"Backed out {node(1)[:12]} (Bug 1279) for failures"]))
    backing, push = log.pushes()
    assert backing["descs"][0]["backs_out"] == [node(1)[:12]]
    assert push["backed_out"] == {"push": backing["id"], "node": node(3), "user": "bob", "time": backing["time"]}
    assert backing["backed_out"] is None


def test_a_stripped_push_stays_and_one_that_comes_again_is_another(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, "linux64-opt-unit", node(1)).story())
    strip = site.stripped(node(1))
    log.add(strip)
    [push] = log.pushes()
    assert push["stripped_at"] == strip.time
    assert states_of(push) == {"linux64-opt-unit": "passed"}
    log.add(site.push(node(1)))
    assert [each["stripped_at"] for each in log.pushes()] == [None, strip.time]


def test_a_changeset_on_two_trees_has_the_builds_of_each(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), site.push(node(1), repo="try"))
    log.add(
        *Build(site, "linux64-opt-unit", node(1)).story(),
        *Build(site, "try-opt-unit", node(1), repository="https://hg.example.org/try/").story("warnings"),
    )
    assert states_of(log.pushes()[0]) == {"linux64-opt-unit": "passed"}
    assert states_of(log.pushes("try")[0]) == {"try-opt-unit": "warnings"}


def test_a_build_is_of_a_tree_by_the_table_then_by_what_events_say(site: Site, log: BoardLog) -> None:
    log.trees = {"nightly": TreeSettings(name="nightly", repository=REPO, repository_urls=("ssh://hg@host/x",))}
    log.add(site.push(node(1)), site.push(node(1), repo="other"))
    for builder, repository, tree in (
        ("a-opt-table", "ssh://hg@host/x", "unknown"), ("b-opt-name", "", "nightly"),
        ("c-opt-path", f"http://mirror.example.org/hg/{REPO}", "unknown"), ("d-opt-word", "", "inbound"),
    ):  # fmt: skip
        log.add(*Build(site, builder, node(1), repository=repository, tree=tree).story())
    log.add(*Build(site, "e-opt-unknown", node(1), repository="https://elsewhere.example.org/x").story())
    assert set(states_of(log.pushes()[0])) == {"a-opt-table", "b-opt-name", "c-opt-path", "d-opt-word"}
    assert log.pushes("other")[0]["lines"] == []


def test_a_revision_of_one_tree_only_is_enough(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, "linux64-opt-unit", node(1), repository="").story())
    assert states_of(log.pushes()[0]) == {"linux64-opt-unit": "passed"}
    log.add(site.push(node(1), repo="other"))
    assert log.pushes()[0]["lines"] == []


def test_masters_of_one_database_tell_of_one_build(site: Site, log: BoardLog) -> None:
    build = Build(site, "linux64-opt-unit", node(1), source=f"{CI}/one")
    log.add(site.push(node(1)), build.request(), build.started())
    build.source = f"{CI}/two"
    log.add(build.finished(), build.completed())
    word = words_of(log.pushes()[0])["linux64-opt-unit"]
    assert (word["state"], word["others"], word["waited_s"]) == ("passed", [], 1)


def test_a_database_that_was_made_again_hands_out_the_same_numbers(site: Site, log: BoardLog) -> None:
    first, second = Build(site, "linux64-opt-unit", node(1)), Build(site, "linux64-opt-unit", node(2))
    second.buildid = first.buildid
    log.add(site.push(node(1)), site.push(node(2)), *first.story("failure", "a.py"))
    assert [each["test"] for each in log.pushes()[1]["failures"]] == ["a.py"]
    log.add(*second.story())
    assert [words_of(push)["linux64-opt-unit"]["number"] for push in log.pushes()] == [second.buildid, None]
    assert log.pushes()[1]["failures"] == []


def test_pushes_are_in_the_order_of_their_source_also_when_one_comes_late(site: Site, log: BoardLog) -> None:
    first, second, third = (site.push(node(n)) for n in range(3))
    log.add(first, third, second)
    assert [push["node"] for push in log.pushes()] == [node(2), node(1), node(0)]
    site.epoch = "another"
    log.add(site.push(node(4)))
    assert log.pushes()[0]["node"] == node(4)
