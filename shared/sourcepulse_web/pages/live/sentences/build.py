# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sentences for what Buildbot did, and for the tests that it ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse_web.board.documents import Seen
from sourcepulse_web.pages.live.sentences.parts import (
    Links,
    Part,
    clock,
    count,
    first_line,
    name,
    node,
    plain,
    prose,
    seconds_between,
    shown,
    took,
    tree,
)

#: The outcome of an event -> the state of a build's word, and its words, where the board knows nothing of the build.
_STATES = {
    "success": ("passed", "passed"),
    "warnings": ("warnings", "passed with warnings"),
    "failure": ("alone", "failed"),
    "exception": ("exception", "broke"),
    "retry": ("retry", "starts again"),
    "cancelled": ("cancelled", "was cancelled"),
    "skipped": ("skipped", "was skipped"),
}
_SAID = {
    "passed": "passed",
    "exception": "broke",
    "retry": "starts again",
    "cancelled": "was cancelled",
    "skipped": "was skipped",
}
_WORKER = {
    "connected": "is connected",
    "disconnected": "is disconnected",
    "paused": "is paused",
    "unpaused": "works again after a pause",
}


def _word(data: Mapping[str, Any], seen: Seen, state: str, href: str | None = None) -> list[Part]:
    """Return the platform and the word of a builder."""
    normalized = data.get("normalized") or {}
    known = [
        each for each in (normalized.get("platform"), normalized.get("buildtype")) if each not in (None, "unknown")
    ]
    platform = seen["platform"] or " ".join(known)
    word = Part(f"w {state}", shown(seen["label"] or data["buildername"]), _web(href or data.get("url")))
    return [Part("text", f"{shown(platform)} "), word] if platform else [word]


def _web(url: str | None) -> str | None:
    """Return an address that a link may have."""
    return url if url is not None and url.startswith(("http://", "https://")) else None


def _for(data: Mapping[str, Any], seen: Seen, word: str = " for ") -> list[Part]:
    """Return which change was built, and who pushed it."""
    revision = seen["node"] or data.get("revision") or _stamped(data)
    if not revision:
        return []
    parts = [plain(word), node(revision)]
    return [*parts, plain(" "), Part("text", shown(seen["user"]))] if seen["user"] else parts


def _stamped(data: Mapping[str, Any]) -> str | None:
    return next((each["revision"] for each in data.get("sourcestamps", ()) if each["revision"]), None)


def _ended(seen: Seen) -> str | None:
    return seen["state"] if seen["state"] not in ("running", "waiting", "none") else None


def finished(data: Mapping[str, Any], seen: Seen, links: Links) -> list[Part]:
    """Linux64 debug [unit] failed, new here, for 1f0c5a2be9d0 alice, 7 min 35 s."""
    state, said = _STATES.get(data["outcome"], ("unknown", f"ended with {data['outcome']}"))
    ended = _ended(seen)
    if ended:
        state, said = ended, _SAID.get(ended) or seen["verdict"] or said
    parts = [*_word(data, seen, state), Part("text", f" {said}" + ("," if "," in said else "")), *_for(data, seen)]
    if data["outcome"] == "exception" and data["state_string"]:
        return [*parts, plain(": "), *prose(data["state_string"], links)]
    if data["started_at"] and data["complete_at"]:
        parts.append(plain(f", {took(seconds_between(data['started_at'], data['complete_at']))}"))
    return parts


def started(data: Mapping[str, Any], seen: Seen, _: Links) -> list[Part]:
    """Linux64 debug [unit] started for 1f0c5a2be9d0 alice on w12."""
    parts = [*_word(data, seen, "running"), plain(" started"), *_for(data, seen)]
    return [*parts, plain(" on "), Part("text", shown(data["workername"]))] if data["workername"] else parts


def submitted(data: Mapping[str, Any], seen: Seen, _: Links) -> list[Part]:
    """Linux64 debug [unit] was asked for, for 1f0c5a2be9d0 alice: the reason."""
    parts = [*_word(data, seen, "waiting"), plain(" was asked for"), *_for(data, seen, ", for ")]
    return [*parts, plain(": "), Part("text", shown(data["reason"]))] if data["reason"] else parts


def request_completed(data: Mapping[str, Any], seen: Seen, _: Links) -> list[Part]:
    """Linux64 debug [unit] is done, for 1f0c5a2be9d0 alice: success."""
    joined = data["collapsed_into"] is not None
    state = "skipped" if joined else _ended(seen) or _STATES.get(data["outcome"], ("unknown",))[0]
    parts = [plain("request of "), *_word(data, seen, state)]
    if joined:
        return [*parts, plain(" was joined to a later one"), *_for(data, seen)]
    return [*parts, plain(" is done"), *_for(data, seen), Part("text", f": {shown(data['outcome'])}")]


def buildset(data: Mapping[str, Any], seen: Seen, _: Links) -> list[Part]:
    """All builds of the set 4410 are done: failure."""
    ended = Part("text", f": {shown(data['outcome'])}")
    return [plain(f"all builds of set {data['bsid']} are done"), *_for(data, seen), ended]


def step(data: Mapping[str, Any], seen: Seen, _: Links) -> list[Part]:
    """Step compile of linux64 debug [unit] failed."""
    parts = [plain("step "), Part("name", shown(data["name"])), plain(" of "), *_word(data, seen, "running")]
    if "outcome" not in data:
        return [*parts, plain(" started")]
    said = _STATES.get(data["outcome"], ("", f"ended with {data['outcome']}"))[1]
    ended = [*parts[:-1], parts[-1]._replace(kind=f"w {seen['state'] or 'running'}"), Part("text", f" {said}")]
    return [*ended, Part("text", f": {shown(data['state_string'])}")] if data["state_string"] else ended


def log(data: Mapping[str, Any], seen: Seen, _: Links) -> list[Part]:
    """Log stdio of step compile of [unit] has 1,200 lines."""
    parts = [
        plain("log "),
        Part("name", shown(data["name"])),
        plain(" of "),
        *_word(data, seen, seen["state"] or "running"),
    ]
    return [*parts, plain(f" has {count(data['num_lines'], 'line')}")]


def worker(data: Mapping[str, Any], state: str) -> list[Part]:
    """Worker w12 is missing since 11:08."""
    parts = [plain("worker "), Part("name", shown(data["name"]))]
    if state == "missing":
        since = data["last_connection"]
        return [*parts, plain(" is missing" + (f" since {clock(since)}" if since else ""))]
    parts.append(plain(f" {_WORKER[state]}"))
    return (
        [*parts, Part("text", f": {shown(data['pause_reason'])}")]
        if state == "paused" and data["pause_reason"]
        else parts
    )


def case(data: Mapping[str, Any], seen: Seen, links: Links) -> list[Part]:
    """[tests/parse.t:41] failed, new here: expected exit 0, got 139."""
    state, said = {"success": ("passed", "passed"), "skipped": ("skipped", "was skipped")}.get(
        data["outcome"], (_test_state(seen), "failed")
    )
    place = data["test_code_path"] or data["test_name"] or data["testid"]
    line = f":{data['line']}" if data["test_code_path"] and data["line"] is not None else ""
    parts = [Part(f"w {state}", shown(place) + line, _web(data.get("url"))), Part("text", f" {said}")]
    if data["flaky"]:
        parts.append(plain(f" at attempt {data['attempts']}"))
    parts += [Part("text", f", {shown(each)}") for each in (seen["verdict"], seen["note"]) if each and said == "failed"]
    if seen["bug"]:
        return [*parts, plain(", "), Part("bug", f"bug {seen['bug']['id']}", seen["bug"]["url"])]
    message = first_line(data["message"] or "")
    return [*parts, plain(": "), *prose(message, links)] if message else parts


def _test_state(seen: Seen) -> str:
    """Return how the word of a failed test looks: its own verdict counts, not that of its build."""
    first = (seen["verdict"] or "").partition(" ")[0]
    return first if first in ("new", "known") else "alone"


def cases_ran(data: Mapping[str, Any], seen: Seen, _: Links) -> list[Part]:
    """Tests of linux64 debug [unit]: 2 of 5 failed."""
    total, failed = data["tests_total"], data["tests_failed"]
    said = "totals are not known" if total is None else f"{failed or 0:,} of {total:,} failed"
    if data["incomplete"]:
        said += ", and the report is not whole,"
    state = _ended(seen) or _STATES.get(data["outcome"], ("none", ""))[0]
    return [plain("tests of "), *_word(data, seen, state), plain(f": {said}"), *_for(data, seen)]


def change(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Buildbot heard of a change of inbound 1f0c5a2be9d0 by Jörg: Bug 1234."""
    parts = [plain("Buildbot knows the change ")]
    parts += [node(data["revision"]), plain(" ")] if data["revision"] else []
    where = data["repository"] or data["project"]
    parts += [plain("of "), tree(where, known=False), plain(" ")] if where else []
    return [*parts, plain("by "), name(data["author"]), plain(": "), *prose(first_line(data["comments"]), links)]


def _worker_is(state: str) -> Any:
    return lambda data, _, __: worker(data, state)


def _master(said: str) -> Any:
    return lambda data, _, __: [plain("master "), Part("name", shown(data["name"])), plain(f" {said}")]


SENTENCES = {
    "build.request.submitted": ("Build", submitted),
    "build.request.completed": ("Build", request_completed),
    "build.buildset.completed": ("Build", buildset),
    "build.started": ("Build", started),
    "build.finished": ("Build", finished),
    "build.step.started": ("Step", step),
    "build.step.finished": ("Step", step),
    "build.log.finished": ("Log", log),
    **{f"build.worker.{state}": ("Worker", _worker_is(state)) for state in [*_WORKER, "missing"]},
    "build.master.started": ("Master", _master("started")),
    "build.master.stopped": ("Master", _master("stopped")),
    "test.run.finished": ("Test", cases_ran),
    "test.case.failed": ("Test", case),
    "test.case.passed": ("Test", case),
    "test.case.skipped": ("Test", case),
    "change.added": ("Change", change),
}
