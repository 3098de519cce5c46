# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A row that is not as it should be is refused with a sentence, and the sentence holds nothing of the row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from support.bugzilla_rows import (
    ALICE,
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
from support.schemas import mutated

#: What no sentence may hold, wherever it stands in a row.
SECRET = "S3CRET"


def refusal(raw: Any) -> str:
    with pytest.raises(RowError) as caught:
        events_of(read_row(raw), Emitter(SOURCE, ID_SECRET))
    return str(caught.value)


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
def test_a_payload_that_is_no_json_object_is_refused(payload: Any) -> None:
    assert SECRET not in refusal({**row("bug.update"), "payload": payload})


def test_a_thin_row_that_nobody_completed_says_so() -> None:
    raw = row("bug.update")
    payload = json.loads(raw["payload"]) | {"thin": SECRET}
    del payload["views"]
    assert refusal(raw | {"payload": json.dumps(payload)}).startswith("it contains no facts")


@pytest.mark.parametrize(
    ("kind", "view", "place"),
    [
        ("bug.update", bug_update(place=[SECRET]), "place"),
        ("bug.update", bug_update(who={"id": SECRET, "name": None}), "who/id"),
        ("bug.update", bug_update(bug=changed(BUG, cf_S3CRET={})), "bug/cf_*"),
        ("bug.update", bug_update(bug=changed(BUG, S3CRET=1)), "bug"),
        ("bug.update", bug_update(transition=SECRET), "transition"),
        ("bug.update", bug_update(transition=[SECRET]), "transition"),
        ("bug.update", bug_update(was_open=1), "was_open"),
        ("bug.update", bug_update(comments=SECRET), "comments"),
        (
            "bug.update",
            bug_update(comments=[comment(), comment(creation_time="2026-02-30T00:00:00.000000Z")]),
            "comments/1/creation_time",
        ),
        ("bug.update", bug_update(comments_hidden=[SECRET]), "comments_hidden/0"),
        ("bug.update", bug_update(flags=[{"flag": flag(), "status": SECRET}]), "flags/0/status"),
        ("bug.create", bug_create(who=None), "who"),
        ("attachment.update", attachment_update(attachment=[]), "attachment"),
        ("attachment.delete", {"place": ["a", "b"], "who": None, "attachment": {}}, "attachment"),
        ("bug.update", bug_update(comments=[comment(type=SECRET, dupe_bug_id=SECRET)]), "comments/0/dupe_bug_id"),
        ("bug.update", bug_update(comments=[comment(type=None)]), "comments/0/type"),
        ("product.create", {"words": [SECRET, SECRET], "thing": THINGS["product"][1]}, "words"),
        ("component.delete", {"words": [SECRET], "thing": THINGS["component"][1]}, "words"),
        ("version.create", {"words": ["a", None], "thing": THINGS["version"][1]}, "words"),
        ("milestone.create", {"words": ["a", "b"], "thing": THINGS["keyword"][1]}, "thing"),
        ("keyword.create", {"words": ["a"], "thing": THINGS["keyword"][1] | {SECRET: 1}}, "thing"),
        ("keyword.update", {"words": ["a"], "thing": THINGS["keyword"][1], "changes": SECRET}, "changes"),
    ],
)
def test_what_is_wrong_in_a_view_is_named_by_its_place(kind: str, view: Any, place: str) -> None:
    assert refusal(row(kind, view)) == f"its public view is not as events have it at /{place}"


def test_a_view_that_is_missing_in_whole_or_in_part_is_named() -> None:
    assert refusal(row("bug.update", views=SECRET)) == "its payload has no views"
    assert refusal(row("bug.update", [SECRET])) == "its public view is not a JSON object"
    assert refusal(row("bug.update", {"place": ["a", "b"]})) == "its public view has no member 'old_place'"
    assert refusal(row("product.create", {"words": ["a"]}) | {"bug_id": 0}) == "its public view has no member 'thing'"


@pytest.mark.parametrize("transaction", [7, "", SECRET, "0" * 31, "0" * 33, "G" * 32, "0" * 32 + "\n", [], {}])
def test_a_transaction_of_another_form_is_refused(transaction: Any) -> None:
    raw = row("bug.update", bug_update(changes=CHANGES), transaction=transaction)
    assert refusal(raw) == "its transaction is not 32 hex digits"


@pytest.mark.parametrize(
    ("kind", "view"),
    [
        ("bug.update", bug_update(bug=changed(BUG, id=5))),
        ("bug.update", bug_update(comments=[comment(bug_id=5)])),
        ("bug.update", {"place": ["a", "b"], "old_place": ["a", "b"], "transition": "hidden", "id": 5}),
        ("bug.delete", {"place": ["a", "b"], "id": 5, "creation_time": BUG["creation_time"]}),
        ("attachment.update", attachment_update(attachment=changed(ATTACHMENT, bug_id=5))),
        ("attachment.update", {"place": ["a", "b"], "transition": "hidden", "id": 55, "bug_id": 5}),
        ("attachment.delete", {"place": ["a", "b"], "who": None, "attachment": changed(ATTACHMENT, bug_id=5)}),
        ("product.create", {"words": ["Core"], "thing": THINGS["product"][1]}),
    ],
)
def test_a_view_about_another_bug_is_refused(kind: str, view: Any) -> None:
    assert refusal(row(kind, view)) == "its public view is about another bug"


@pytest.mark.parametrize(
    ("kind", "view"),
    [
        ("bug.update", bug_update(changes=CHANGES, bug=changed(BUG, groups=["security"]))),
        ("bug.update", bug_update(comments=[comment(is_private=True)])),
        ("bug.update", bug_update(comments_published=[comment(is_private=True)])),
        ("attachment.update", attachment_update(changes=CHANGES, attachment=changed(ATTACHMENT, is_private=True))),
        (
            "attachment.create",
            {"place": ["a", "b"], "who": ALICE, "attachment": changed(ATTACHMENT, is_private=True)},
        ),
        (
            "attachment.delete",
            {"place": ["a", "b"], "who": None, "attachment": changed(ATTACHMENT, is_private=True)},
        ),
    ],
)
def test_a_public_view_with_what_is_marked_as_private_is_refused(kind: str, view: Any) -> None:
    assert refusal(row(kind, view)) == "its public view holds what is marked as private"
    assert events_of(read_row(row(kind, None, view)), Emitter(SOURCE, ID_SECRET))


def test_a_view_for_a_stream_that_does_not_exist_is_refused() -> None:
    assert "stream that does not exist" in refusal(row("bug.update", views={SECRET: {}}))


def test_a_recovered_update_without_activity_cannot_be_told() -> None:
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
        events = events_of(read_row(raw | {"payload": json.dumps(payload)}), Emitter(SOURCE, ID_SECRET))
    except RowError as error:
        events, sentence = [], str(error)
    assert sentence.isprintable()
    assert len(sentence) < 200
    if raw["kind"] not in THING_KINDS:
        assert all(event.subject == f"bug/{raw['bug_id']}" for event in events)


@pytest.mark.parametrize("part", range(20))
def test_a_payload_that_was_cut_off_is_refused(part: int) -> None:
    raw = row("bug.update", bug_update(changes=CHANGES))
    length = part * len(raw["payload"]) // 20
    refusal(raw | {"payload": raw["payload"][:length]})
