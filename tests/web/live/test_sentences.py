# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every event has a line on the live page, and what a source wrote stays text in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.catalogue import known_types
from sourcepulse_web.board.documents import NOTHING_SEEN, Seen
from sourcepulse_web.pages.live.sentences import KIND_OTHER, row_of
from sourcepulse_web.pages.live.sentences.parts import Links

RECORDED = Path(__file__).parents[2] / "recorded"
LINKS = Links("https://bugs.example.org")


def recorded() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield key and event of everything that was recorded."""
    for path in sorted(RECORDED.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            key, _, body = line.partition("\t")
            yield key, json.loads(body)


EVENTS = list(recorded())


def said(event: Mapping[str, Any], seen: Seen = NOTHING_SEEN, key: str = "k") -> str:
    """Return the words of a row; those of a build's word stand in brackets."""
    parts = row_of(event, key, seen, LINKS)["parts"]
    return "".join(f"[{part.text}]" if part.kind.startswith("w ") else part.text for part in parts)


def one(type_: str) -> dict[str, Any]:
    return next(event for _, event in EVENTS if event["type"] == type_)


@pytest.mark.parametrize(("key", "event"), EVENTS, ids=[f"{n}-{event['type']}" for n, (_, event) in enumerate(EVENTS)])
def test_each_recorded_event_has_a_sentence_of_its_own(key: str, event: dict[str, Any]) -> None:
    row = row_of(event, key, NOTHING_SEEN, LINKS)
    assert row["kind"] != KIND_OTHER
    assert said(event).strip()
    assert "None" not in said(event)


def test_each_type_of_the_catalogue_has_a_sentence() -> None:
    known = {event["type"] for _, event in EVENTS}
    assert {type_ for type_ in known_types() if type_ not in known and not type_.endswith(".heartbeat.v1")} == set()


def test_a_type_without_a_sentence_shows_type_subject_and_key() -> None:
    event = {"type": "site.deploy.finished.v1", "source": "site://web", "subject": "web1", "data": {}}
    assert said(event, key="site.deploy.finished.web1") == "site.deploy.finished.v1 web1 as site.deploy.finished.web1"


def test_data_that_is_not_as_its_schema_says_still_has_a_line() -> None:
    for _, event in EVENTS:
        for data in ({}, None, [], dict.fromkeys(event["data"]), dict.fromkeys(event["data"], 7)):
            assert said({**event, "data": data}).strip()


def test_sentences_read_as_the_design_has_them() -> None:
    seen: Seen = {
        **NOTHING_SEEN,
        "label": "unit",
        "platform": "linux64 debug",
        "state": "new",
        "verdict": "failed, new here",
        "node": "1f0c5a2be9d04b7f83c6a7702be4d9135fa86c3e",
        "user": "alice",
    }
    build = one("build.finished.v1")
    assert said(build, seen) == "linux64 debug [unit] failed, new here, for 1f0c5a2be9d0 alice, 7 min 35 s"
    broke = {**build, "data": {**build["data"], "outcome": "exception", "state_string": "worker w12 lost"}}
    seen["state"], seen["verdict"] = "exception", "broke"
    assert said(broke, seen) == "linux64 debug [unit] broke for 1f0c5a2be9d0 alice: worker w12 lost"
    case = one("test.case.failed.v1")
    case["data"] |= {"test_code_path": "tests/parse.t", "line": 41, "message": "expected exit 0, got 139\nmore"}
    new: Seen = {**NOTHING_SEEN, "state": "new", "verdict": "new here"}
    assert said(case, new) == "[tests/parse.t:41] failed, new here: expected exit 0, got 139"
    bug = {"id": 1187, "url": None, "open": True, "summary": None}
    known: Seen = {**new, "state": "known", "verdict": "known", "note": "6 of the last 20 pushes", "bug": bug}  # type: ignore[typeddict-item]
    assert said(case, known) == "[tests/parse.t:41] failed, known, 6 of the last 20 pushes, bug 1187"


def test_what_happens_to_a_webhook_names_it_and_its_owner() -> None:
    parked = one("system.webhook.parked.v1")
    since = "chat.example.org has not answered since 2026-11-19 10:59 UTC; 1,887 events wait until it is resumed"
    assert said(parked) == f"chat-room of alice@example.org is parked: {since}"
    other = {**parked["data"], "owner": "", "message": "gone"}
    assert said({**parked, "data": other}) == "chat-room: gone"


@pytest.mark.parametrize(
    ("data", "state"),
    [({"outcome": "success"}, "passed"), ({"outcome": "failure"}, "alone"), ({"outcome": "cancelled"}, "cancelled"),
     ({"outcome": "another"}, "unknown"), ({"outcome": "success", "collapsed_into": 7}, "skipped")],
)  # fmt: skip
def test_the_word_of_a_request_that_is_done_is_not_that_of_a_build_nobody_asked_for(
    data: dict[str, Any], state: str
) -> None:
    request = one("build.request.completed.v1")
    usual = {**request["data"], "collapsed_into": None}
    for seen in (NOTHING_SEEN, {**NOTHING_SEEN, "state": "running"}):
        parts = row_of({**request, "data": {**usual, **data}}, "k", seen, LINKS)["parts"]
        assert [part.kind for part in parts if part.kind.startswith("w ")] == [f"w {state}"]


def test_bugs_in_texts_lead_to_bugzilla() -> None:
    parts = row_of(one("hg.push.v1"), "k", NOTHING_SEEN, LINKS)["parts"]
    assert ("bug", "Bug 1234", "https://bugs.example.org/show_bug.cgi?id=1234") in parts
    bare = row_of(one("hg.push.v1"), "k", NOTHING_SEEN, Links())["parts"]
    assert ("bug", "Bug 1234", None) in bare


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=300), number=st.integers(0, len(EVENTS) - 1))
def test_no_text_of_a_source_breaks_a_line_turns_it_around_or_becomes_an_address(text: str, number: int) -> None:
    event = _with(EVENTS[number][1], text)
    for part in row_of(event, "k", NOTHING_SEEN, LINKS)["parts"]:
        assert not set(part.text) & set("\n\r\t\x00\x1b\u202e\u2066\u2028")
        assert part.href is None or part.href.startswith(("/changes/", "/trees/", "https://bugs.example.org/", "http"))


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//evil.example.org", " http://x"])
def test_only_addresses_of_the_web_become_links(address: str) -> None:
    build = one("build.finished.v1")
    parts = row_of({**build, "data": {**build["data"], "url": address}}, "k", NOTHING_SEEN, LINKS)["parts"]
    assert address not in [part.href for part in parts]


def _with(value: Any, text: str) -> Any:
    """Return an event all of whose texts in `data` are this one."""
    data = json.loads(
        json.dumps(value["data"]), object_hook=lambda found: {k: _swapped(v, text) for k, v in found.items()}
    )
    return {**value, "data": data}


def _swapped(value: Any, text: str) -> Any:
    return text if isinstance(value, str) and len(value) < 40 and not value.startswith("20") else value
