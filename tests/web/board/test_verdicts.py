# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Known, new here, nothing to compare with: as the design's section 5 has it."""

from __future__ import annotations

from sourcepulse_web.board.documents import PushDoc
from support.web.board_events import Build, Site, node
from support.web.board_log import BoardLog, states_of, verdicts_of, words_of

UNIT = "linux64-opt-unit"
TEST = "tests/parse.t"


def pushes(site: Site, log: BoardLog, *outcomes: str | None) -> list[PushDoc]:
    """Push once for each word, oldest first: a test that fails, `success`, or None for no build; newest comes first."""
    for number, outcome in enumerate(outcomes):
        log.add(site.push(node(number)))
        if outcome is not None:
            failed = () if outcome in ("success", "failure", "exception") else (outcome,)
            log.add(*Build(site, UNIT, node(number)).story("failure" if failed else outcome, *failed))
    return log.pushes()


def test_a_first_run_has_nothing_to_compare_with(site: Site, log: BoardLog) -> None:
    [push] = pushes(site, log, TEST)
    assert states_of(push) == {UNIT: "alone"}
    assert verdicts_of(push["failures"]) == {TEST: "nothing to compare with"}
    assert [(each["state"], each["text"]) for each in push["summary"]] == [("alone", "1 failed")]
    assert not push["is_new"]


def test_what_passed_on_the_push_before_is_new_here(site: Site, log: BoardLog) -> None:
    push, before = pushes(site, log, "success", TEST)
    [failure] = push["failures"]
    assert (failure["said"], failure["note"], failure["line"]) == ("new here", "first failure in 2 runs", 41)
    assert (failure["where"], failure["message"]) == ("on linux64 opt: unit", "expected exit 0, got 139")
    assert words_of(push)[UNIT]["said"] == "failed, new here"
    assert push["is_new"]
    assert [(each["state"], each["text"]) for each in before["summary"]] == [("passed", "1 of 1")]


def test_pushes_that_did_not_run_it_may_have_broken_it(site: Site, log: BoardLog) -> None:
    push = pushes(site, log, "success", None, TEST)[0]
    assert verdicts_of(push["failures"]) == {TEST: "new here or in the push before"}
    log.add(site.push(node(8)), site.push(node(9)), *Build(site, UNIT, node(9)).story("failure", "other.py"))
    assert verdicts_of(log.pushes()[0]["failures"]) == {"other.py": "new here or in the push before"}


def test_two_pushes_between_are_counted(site: Site, log: BoardLog) -> None:
    push = pushes(site, log, "success", None, None, TEST)[0]
    assert verdicts_of(push["failures"]) == {TEST: "new here or in the 2 pushes before"}


def test_what_failed_on_another_platform_is_known(site: Site, log: BoardLog) -> None:
    pushes(site, log, "success", "success")
    log.add(site.push(node(8)), *Build(site, "win64-debug-unit", node(8)).story("failure", TEST))
    log.add(site.push(node(9)), *Build(site, UNIT, node(9)).story("failure", TEST))
    push = log.pushes()[0]
    [failure] = push["failures"]
    assert (failure["said"], failure["note"]) == ("known", "1 of the last 3 pushes")
    assert failure["since"] is not None
    assert failure["since"]["node"] == node(8)
    assert states_of(push)[UNIT] == "known"


def test_a_failure_is_known_for_twenty_pushes(site: Site, log: BoardLog) -> None:
    push = pushes(site, log, TEST, *["success"] * 19, TEST)[0]
    assert [each["note"] for each in push["failures"]] == ["1 of the last 20 pushes"]
    assert verdicts_of(push["failures"]) == {TEST: "known"}
    log.add(site.push(node(30)), *Build(site, UNIT, node(30)).story("failure", "other.py"))
    log.add(*[event for n in range(31, 51) for event in (site.push(node(n)), *Build(site, UNIT, node(n)).story())])
    log.add(site.push(node(60)), *Build(site, UNIT, node(60)).story("failure", TEST))
    [failure] = log.pushes()[0]["failures"]
    assert (failure["said"], failure["note"]) == ("new here", "first failure in 12 runs")


def test_an_older_build_that_ends_late_makes_new_into_known_in_place(site: Site, log: BoardLog) -> None:
    pushes(site, log, "success", None)
    late = Build(site, UNIT, node(1))
    log.add(late.request(), late.started(), site.push(node(2)), *Build(site, UNIT, node(2)).story("failure", TEST))
    newest = log.pushes()[0]
    assert verdicts_of(newest["failures"]) == {TEST: "new here or in the push before"}
    position = log.page()["position"]
    log.add(late.failed(TEST), late.finished("failure"))
    update = log.board.changed("integration/inbound", position, position + 100)
    assert update is not None
    assert [(push["id"], verdicts_of(push["failures"])) for push in update["pushes"]] == [
        (newest["id"], {TEST: "known"}),
        (log.pushes()[1]["id"], {TEST: "new here"}),
    ]


def test_an_older_run_that_ends_late_and_passes_narrows_where_it_broke(site: Site, log: BoardLog) -> None:
    pushes(site, log, "success", None)
    late = Build(site, UNIT, node(1))
    log.add(late.started(), site.push(node(2)), *Build(site, UNIT, node(2)).story("failure", TEST))
    position = log.page()["position"]
    log.add(late.ran())
    update = log.board.changed("integration/inbound", position, position + 100)
    assert update is not None
    assert verdicts_of(update["pushes"][0]["failures"]) == {TEST: "new here"}


def test_a_run_that_is_incomplete_says_nothing_of_what_passed(site: Site, log: BoardLog) -> None:
    build = Build(site, UNIT, node(1))
    log.add(site.push(node(1)), build.started(), build.ran("unknown", incomplete=True), build.finished())
    log.add(site.push(node(2)), *Build(site, UNIT, node(2)).story("failure", TEST))
    assert states_of(log.pushes()[0]) == {UNIT: "alone"}


def test_a_build_that_failed_without_a_failed_test_is_compared_by_its_builder(site: Site, log: BoardLog) -> None:
    known, new, passed = pushes(site, log, "success", "failure", "failure")
    assert [states_of(push)[UNIT] for push in (known, new, passed)] == ["known", "new", "passed"]
    [failure] = new["failures"]
    number = words_of(new)[UNIT]["number"]
    assert (failure["test"], failure["where"], failure["is_test"]) == (f"{UNIT} #{number}", "no test result", False)
    assert failure["link"] == f"https://ci.example.org/#/builders/3/builds/{number}"


def test_a_build_that_broke_is_listed_and_when_it_was_asked_for_again(site: Site, log: BoardLog) -> None:
    [push] = pushes(site, log, "exception")
    assert [(each["verdict"], each["note"]) for each in push["failures"]] == [("broke", "")]
    again = Build(site, UNIT, node(0)).request()
    log.add(again)
    [push] = log.pushes()
    assert [each["note"] for each in push["failures"]] == [f"asked for again at {again.time[11:16]}"]
    assert states_of(push) == {UNIT: "exception"}


def test_one_test_on_several_platforms_is_one_line_and_new_ones_come_first(site: Site, log: BoardLog) -> None:
    builders = ("linux64-debug-unit", UNIT, "win64-opt-unit")
    log.add(
        site.push(node(0)), *[each for name in builders for each in Build(site, name, node(0)).story("failure", "z.py")]
    )
    log.add(site.push(node(1)))
    for name in builders:
        log.add(*Build(site, name, node(1)).story("failure", "z.py", *(f"new_{n}.py" for n in range(6))))
    push = log.pushes()[0]
    assert [each["test"] for each in push["failures"]] == [f"new_{n}.py" for n in range(5)]
    assert push["more_failures"] == 2
    assert push["failures"][0]["where"] == "on linux64 debug, linux64 opt, win64 opt: unit"


def test_the_newest_ended_build_of_each_builder_is_what_fails_now(site: Site, log: BoardLog) -> None:
    pushes(site, log, "success", TEST, None)
    running = Build(site, UNIT, node(2))
    log.add(running.started())
    tree = log.tree()
    assert (verdicts_of(tree["failing"]), tree["running"]) == ({TEST: "new here"}, 1)
    log.add(running.ran(), running.finished())
    tree = log.tree()
    assert (tree["failing"], tree["running"], tree["last_build_at"]) == (
        [],
        0,
        words_of(log.pushes()[0])[UNIT]["complete_at"],
    )


def test_a_failing_test_names_the_open_bug_whose_summary_has_its_file(site: Site, log: BoardLog) -> None:
    pushes(site, log, "ui/clipboard/test_paste_rich.py")
    log.add(site.bug(1187, summary="Intermittent test_paste_rich.py | clipboard is empty"))
    [bug] = [each["bug"] for each in log.pushes()[0]["failures"]]
    assert bug is not None
    assert (bug["id"], bug["open"]) == (1187, True)
    log.add(site.bug(1187, "closed", is_open=False, summary="Intermittent test_paste_rich.py"))
    assert [each["bug"] for each in log.pushes()[0]["failures"]] == [None]
