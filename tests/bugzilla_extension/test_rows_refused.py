# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A row that is not as it should be is refused with a sentence, and the sentence holds nothing of the row."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.drain import events_of_raw
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.emitter import Emitter
from support.bugzilla.rows import (
    ATTACHMENT,
    BUG,
    CHANGES,
    ID_SECRET,
    SOURCE,
    THING_KINDS,
    THINGS,
    attachment_update,
    bug_create,
    bug_update,
    changed,
    comment,
    flag,
    row,
    rows,
    thing_row,
)
from support.events.schema_values import mutated

#: What no sentence may hold, wherever it stands in a row.
SECRET = "S3CRET"


def published(raw: Any) -> list[Event]:
    return events_of_raw(raw, Emitter(SOURCE, ID_SECRET))[1]


def refusal(raw: Any) -> str:
    with pytest.raises(RowError) as caught:
        published(raw)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def without(member: str, fact: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fact.items() if name != member}


def test_a_kind_that_is_not_known_asks_for_an_upgrade() -> None:
    assert refusal(row(f"bug.{SECRET}")) == "its kind is unknown: upgrade sourcepulse"


def test_a_version_that_is_not_known_asks_for_an_upgrade() -> None:
    assert refusal(row("bug.update", bug_update(), v=2)) == "its payload is not of version 1: upgrade sourcepulse"


@pytest.mark.parametrize(
    "payload",
    [
        None,
        7,
        "",
        "[1]",
        '{"v": 1, "at": NaN}',
        '{"v": 1, "at": 1e999}',
        '{"v": 1, "views": {"public": {"bug": {"summary": "S3CRET',
        "[" * 100_000,
        "9" * 5_000,
    ],
)
def test_a_payload_that_is_not_a_json_object_is_refused(payload: Any) -> None:
    refusal({**row("bug.update"), "payload": payload})


@pytest.mark.parametrize(
    ("reason", "known"),
    [
        ("no such column: x", ": no such column: x"),
        ("", ""),
        (None, ""),
        ({"bug": SECRET}, ""),
        ("x" * 300, ": " + "x" * 120),
    ],
)
def test_a_thin_row_that_was_not_completed_is_refused_with_its_reason(reason: Any, known: str) -> None:
    raw = row("bug.update")
    payload = json.loads(raw["payload"]) | {"thin": reason}
    del payload["views"]
    expected = f"it contains no facts, and they could not be read from the database{known}"
    assert refusal(raw | {"payload": json.dumps(payload)}) == expected


@pytest.mark.parametrize(
    ("kind", "view", "sentence"),
    [
        ("bug.update", without("changes", bug_update()), r"KeyError changes \(bugs\.py, line [0-9]+\)"),
        ("bug.update", bug_update(bug=without("is_open", BUG), changes=CHANGES), r"KeyError is_open \(bugs\.py, .*\)"),
        ("bug.update", bug_update(flags=[{"flag": flag(), "status": SECRET}]), r"KeyError \(attachments\w*\.py, .*\)"),
        ("bug.update", bug_update(comments=SECRET), r"AttributeError \(views\.py, .*\)"),
        ("bug.update", bug_update(comments=[comment(creation_time=SECRET)]), r"ValueError \(views\.py, .*\)"),
        ("bug.create", without("who", bug_create()), r"KeyError who \(bugs\.py, .*\)"),
        ("attachment.delete", {"place": ["a", "b"], "who": None}, r"KeyError attachment \(attachments\w*\.py, .*\)"),
        ("product.create", {"words": ["a"]}, r"KeyError thing \(events\.py, .*\)"),
        ("keyword.update", {"words": ["a"], "thing": THINGS["keyword"][1]}, r"KeyError changes \(events\.py, .*\)"),
    ],
)
def test_what_no_event_can_be_made_of_is_named_by_the_member_that_is_missing_and_the_line(
    kind: str, view: Any, sentence: str
) -> None:
    assert re.fullmatch(f"no events could be made of it: {sentence}", refusal(row(kind, view)))


def test_a_row_whose_restricted_view_is_damaged_publishes_nothing() -> None:
    damaged = without("who", bug_update(changes=CHANGES))
    assert "KeyError who" in refusal(row("bug.update", bug_update(changes=CHANGES), damaged))


def test_a_view_that_is_missing_or_no_object_is_named() -> None:
    assert refusal(row("bug.update", views=SECRET)) == "its payload has no views"
    assert refusal(row("bug.update", [SECRET])) == "its public view is not a JSON object"


@pytest.mark.parametrize("groups", [["security"], [0], None, SECRET, "", 0, False, {}])
def test_a_bug_is_public_only_if_it_is_marked_to_be_in_no_group(groups: Any) -> None:
    view = bug_update(changes=CHANGES, bug=changed(BUG, groups=groups))
    assert refusal(row("bug.update", view)) == "its public view holds what is marked as private"
    assert published(row("bug.update", None, view))


@pytest.mark.parametrize("mark", [True, 1, 0, None, "", "false", SECRET, [], {}])
@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("bug.create", "comments"),
        ("bug.update", "comments"),
        ("bug.update", "comments_published"),
        ("attachment.create", "attachment"),
        ("attachment.update", "attachment"),
        ("attachment.delete", "attachment"),
    ],
)
def test_a_part_of_a_bug_is_public_only_if_it_is_marked_as_not_private(kind: str, part: str, mark: Any) -> None:
    whole = {"bug.create": bug_create(), "bug.update": bug_update()}.get(kind, attachment_update(changes=CHANGES))
    value: Any = changed(ATTACHMENT, is_private=mark) if part == "attachment" else [comment(is_private=mark)]
    view = whole | {part: value}
    assert refusal(row(kind, view)) == "its public view holds what is marked as private"
    assert published(row(kind, None, view))


@pytest.mark.parametrize(
    ("kind", "view"),
    [
        ("bug.update", bug_update(changes=CHANGES, bug=without("groups", BUG))),
        ("bug.update", bug_update(comments=[comment(), without("is_private", comment(502))])),
        ("attachment.update", attachment_update(changes=CHANGES, attachment=without("is_private", ATTACHMENT))),
    ],
)
def test_what_has_no_mark_of_its_privacy_is_not_public(kind: str, view: Any) -> None:
    assert refusal(row(kind, view)) == "its public view holds what is marked as private"


@pytest.mark.parametrize("stream", ["public", "restricted"])
@pytest.mark.parametrize("kind", ["bug.update", "attachment.update"])
def test_an_update_that_does_not_say_whether_it_hides_or_publishes_is_refused(kind: str, stream: str) -> None:
    view = bug_update(changes=CHANGES) if kind == "bug.update" else attachment_update(changes=CHANGES)
    for transition in (SECRET, [SECRET], "", False, 0, {}):
        sentence = refusal(row(kind, views={stream: view | {"transition": transition}}))
        assert sentence == f"its {stream} view does not say whether something was hidden or published"
    assert "does not say whether" in refusal(row(kind, views={stream: without("transition", view)}))


def test_a_view_for_a_stream_that_does_not_exist_is_refused() -> None:
    assert "stream that does not exist" in refusal(row("bug.update", views={SECRET: {}}))


def test_a_recovered_update_without_activity_cannot_be_published() -> None:
    raw = row("bug.update", bug_update(comments_hidden=[1]), number=None, activity=None, transaction=None)
    assert refusal(raw) == "it was found in the history without an activity"
    assert refusal(thing_row("product.create", number=None, activity=None)) == (
        "it was found in the history without an activity"
    )


def test_an_event_that_is_too_large_whatever_is_cut_is_refused() -> None:
    bug = changed(BUG, **{f"cf_{SECRET}_{number}": "x" * 100 for number in range(4_000)})
    sentence = refusal(row("bug.update", bug_update(changes=CHANGES, bug=bug)))
    assert sentence == "no bugzilla.bug.changed.v1 can be made of it: it is too large even after cutting"


def test_a_time_that_no_calendar_has_is_refused() -> None:
    assert "its time" in refusal(row("bug.update", bug_update(changes=CHANGES), at=10**15))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_damage_brings_anything_but_events_or_a_refusal(data: st.DataObject) -> None:
    raw = data.draw(rows())
    payload = json.loads(raw["payload"])
    for _ in range(data.draw(st.integers(1, 3))):
        payload = data.draw(mutated(payload))
    sentence = ""
    try:
        events = published(raw | {"payload": json.dumps(payload)})
    except RowError as error:
        events, sentence = [], str(error)
    assert sentence.isprintable()
    assert len(sentence) < 200
    if raw["kind"] not in THING_KINDS:
        assert all(event.subject == f"bug/{raw['bug_id']}" for event in events)
    for event in events:
        if event.source == SOURCE:
            assert event.data.get("bug", {}).get("groups", []) == []
            for part in ("comment", "attachment"):
                assert event.data.get(part, {}).get("is_private", False) is False


@pytest.mark.parametrize("part", range(20))
def test_a_payload_that_was_cut_off_is_refused(part: int) -> None:
    raw = row("bug.update", bug_update(changes=CHANGES))
    length = part * len(raw["payload"]) // 20
    refusal(raw | {"payload": raw["payload"][:length]})
