# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The words of one push: what became of each builder that has a place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sourcepulse_web.board.documents import LineDoc, RunDoc, SummaryDoc, WordDoc, WordState
from sourcepulse_web.board.draw.failures import Failures
from sourcepulse_web.board.draw.places import Place, Places
from sourcepulse_web.board.draw.push_facts import PushFacts
from sourcepulse_web.board.store import Row

SAID: dict[WordState, str] = {
    "passed": "passed",
    "new": "failed, new here",
    "known": "failed, known",
    "alone": "failed, nothing to compare with",
    "warnings": "passed with warnings",
    "exception": "broke",
    "retry": "starts again",
    "running": "running",
    "waiting": "waiting",
    "cancelled": "cancelled",
    "skipped": "skipped",
    "none": "not asked for",
}
#: The words of a summary in their order; what passed comes last.
SUMMARY: dict[WordState, str] = {
    "new": "{} new",
    "known": "{} known",
    "alone": "{} failed",
    "exception": "{} broke",
    "cancelled": "{} cancelled",
    "running": "{} running",
    "waiting": "{} waiting",
}
#: A builder with one of these ran, and its result is known.
RAN: tuple[WordState, ...] = ("passed", "warnings", "new", "known", "alone", "exception")
#: These have not ended.
OPEN: tuple[WordState, ...] = ("running", "waiting", "retry")
_STATES: dict[str, WordState] = {
    "success": "passed",
    "warnings": "warnings",
    "exception": "exception",
    "retry": "retry",
    "cancelled": "cancelled",
    "skipped": "skipped",
}


def lines_of(push: PushFacts, index: int, places: Places, failures: Failures) -> list[LineDoc]:
    return [
        LineDoc(
            platform=line.platform,
            buildtype=line.buildtype,
            words=[word_of(push, index, place, failures) for place in shown],
        )
        for line in places.lines
        if (shown := [each for each in line.places if each.stays or each.name in push.builds.keys() | push.requests])
    ]


def word_of(push: PushFacts, index: int, place: Place, failures: Failures) -> WordDoc:
    builds = push.builds.get(place.name, ())
    requests = push.requests.get(place.name, ())
    word = _blank(place)
    ended = _ended_after(builds, requests)
    if ended is not None:
        _ask(word, ended)
        word["others"] = [_other(push, index, other, failures) for other in builds]
    elif builds:
        build = builds[0]
        word["state"] = state_of(index, build, failures)
        word["said"] = said(word["state"], build["outcome"])
        word["waited_s"] = seconds_between(build["submitted_at"], build["started_at"])
        _fill(word, build)
        word["others"] = [_other(push, index, other, failures) for other in builds[1:]]
    elif requests:
        _ask(word, _counting(requests))
    return word


def state_of(index: int, build: Row, failures: Failures) -> WordState:
    if not build["ended"]:
        return "running"
    if build["outcome"] == "failure":
        return failures.state_of(index, build)
    return _STATES.get(build["outcome"], "unknown")


def said(state: WordState, outcome: str | None) -> str:
    """Return a state in words; of an outcome that is not known to us, its own word."""
    return SAID.get(state) or f"outcome {outcome}"


def seconds_between(start: str | None, end: str | None) -> int | None:
    if not start or not end:
        return None
    try:
        return max(0, round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()))
    except (ValueError, TypeError):
        return None


def asked_for(lines: list[LineDoc]) -> list[WordDoc]:
    """Return the words of builders of which a build or a request is known."""
    return [word for line in lines for word in line["words"] if word["state"] != "none"]


def summary_of(lines: list[LineDoc]) -> tuple[list[SummaryDoc], int, int]:
    """Return the summary, and how many words passed of how many."""
    states = [word["state"] for line in lines for word in line["words"]]
    found = [
        SummaryDoc(state=state, text=text.format(states.count(state)))
        for state, text in SUMMARY.items()
        if state in states
    ]
    passed = states.count("passed")
    if passed:
        found.append(SummaryDoc(state="passed", text=f"{passed} of {len(states)}"))
    return found, passed, len(states)


def _blank(place: Place) -> WordDoc:
    return {
        "place": place.name,
        "label": place.label,
        "state": "none",
        "said": SAID["none"],
        "number": None,
        "url": None,
        "duration_s": None,
        "waited_s": None,
        "started_at": None,
        "complete_at": None,
        "worker": None,
        "state_string": None,
        "outcome": None,
        "build": None,
        "tier": place.tier,
        "others": [],
    }


def _fill(word: WordDoc, build: Row) -> None:
    word["number"] = build["number"]
    word["url"] = build["url"]
    word["duration_s"] = seconds_between(build["started_at"], build["complete_at"])
    word["started_at"] = build["started_at"]
    word["complete_at"] = build["complete_at"]
    word["worker"] = build["worker"]
    word["state_string"] = build["state_string"]
    word["outcome"] = build["outcome"]
    word["build"] = build["build"]


def _counting(requests: list[Row]) -> Row:
    """Return the newest request that was not taken up by another one."""
    return next((each for each in requests if not each["collapsed_into"]), requests[0])


def _ended_after(builds: Sequence[Row], requests: Sequence[Row]) -> Row | None:
    """Return the request that ended, most often cancelled, while its build waited to start again."""
    if not builds or builds[0]["outcome"] != "retry":
        return None
    return next(
        (
            each
            for each in requests
            if each["key"] == builds[0]["request"] and each["ended"] and each["outcome"] != "retry"
        ),
        None,
    )


def _ask(word: WordDoc, request: Row) -> None:
    """Show a request whose build, if there was one, is not known."""
    word["url"] = request["url"]
    if not request["ended"]:
        word["state"] = "waiting"
    elif request["collapsed_into"]:
        word["state"] = "skipped"
    elif request["outcome"] == "failure":
        word["state"] = "alone"
    else:
        word["state"] = _STATES.get(request["outcome"], "unknown")
    word["outcome"] = request["outcome"]
    word["complete_at"] = request["complete_at"]
    word["said"] = said(word["state"], request["outcome"])
    if request["collapsed_into"]:
        word["said"] = "skipped, a later build has it"


def _other(push: PushFacts, index: int, build: Row, failures: Failures) -> RunDoc:
    state = state_of(index, build, failures)
    return RunDoc(
        number=build["number"],
        state=state,
        said=said(state, build["outcome"]),
        outcome=build["outcome"],
        url=build["url"],
        started_at=build["started_at"],
        duration_s=seconds_between(build["started_at"], build["complete_at"]),
        push=push.push["position"],
    )
