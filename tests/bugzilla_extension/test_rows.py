# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a row of Bugzilla's outbox table becomes: which events, in which order, with which ids, words and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourcepulse.events.event import Event, event_id
from sourcepulse.events.topics import routing_key
from sourcepulse.events.wire import encode
from sourcepulse_bugzilla.mapping.emitter import Emitter
from sourcepulse_bugzilla.mapping.events import events_of
from sourcepulse_bugzilla.mapping.rows import read_row
from support.bugzilla.rows import (
    ACTIVITY,
    ALICE,
    AT,
    ATTACHMENT,
    BOB,
    BUG,
    BUG_ID,
    CHANGES,
    ID_SECRET,
    RESTRICTED_SOURCE,
    SOURCE,
    THING_KINDS,
    THING_STATES,
    THINGS,
    TRANSACTION,
    attachment_update,
    bug_create,
    bug_update,
    changed,
    comment,
    flag,
    id_of,
    row,
    rows,
    thing_row,
)
from support.events.schema_check import check_data

#: What begins every type here.
PREFIX = "bugzilla."


def mapped(raw: Any, emitter: Emitter | None = None) -> list[Event]:
    """Return the events of a row, each of which is as its schema says."""
    events = events_of(read_row(raw), emitter or Emitter(SOURCE, ID_SECRET))
    for event in events:
        check_data(event)
    return events


def types(events: list[Event]) -> list[str]:
    return [event.type.removeprefix(PREFIX).removesuffix(".v1") for event in events]


def an_update(**members: Any) -> list[Event]:
    return mapped(row("bug.update", bug_update(**members)))


def moment(time: str) -> str:
    """Return the time of a key; both that are used here are written out."""
    return {"2026-11-20T08:00:00.000000Z": "1795161600", "2026-11-21T09:00:00.000000Z": "1795251600"}[time]


# -- exact


def test_the_third_example_of_the_contract_comes_from_its_row() -> None:
    events = mapped(row("bug.update", bug_update(changes=CHANGES, was_open=False)))
    assert types(events) == ["bug.changed"]
    (event,) = events
    assert event.id == "46a2ae22-4791-5649-acb3-0a9824a0697a"
    assert event.source == SOURCE
    assert event.subject == "bug/1234"
    assert event.time == "2026-11-22T11:09:40.000000Z"
    assert event.routing_key == "bugzilla.bug.changed.Core.DOM"
    schema = json.loads(
        (Path(__file__).parents[2] / "shared/sourcepulse/schemas/events/bugzilla.bug.changed.v1.json").read_text()
    )
    assert event.data == schema["examples"][0]


def test_a_new_bug_comes_before_its_flags_and_its_description() -> None:
    events = mapped(
        row(
            "bug.create",
            bug_create(comments=[comment(count=0)], flags=[{"flag": flag(requestee=BOB), "status": "?"}]),
            activity=None,
        )
    )
    assert types(events) == ["bug.created", "flag.requested", "comment.created"]
    created, requested, said = events
    assert created.id == id_of(SOURCE, created.type, "1234", moment(BUG["creation_time"]))
    assert created.data["who"] == BOB
    assert created.data["bug"] == BUG
    assert requested.id == id_of(SOURCE, requested.type, "1234", "", "row 40213", str(AT), "review", "31", "?", "0")
    assert requested.data["bug_id"] == BUG_ID
    assert requested.data["attachment_id"] is None
    assert said.id == id_of(SOURCE, said.type, "501", str(AT))
    assert said.data["comment"]["count"] == 0
    assert {event.data["change_set"] for event in events} == {id_of(SOURCE, "change_set", TRANSACTION)}


def test_all_names_of_one_update_have_the_same_data_and_the_old_place_gets_the_move() -> None:
    changes = [
        {"field_name": "product", "removed": "Old_Suite", "added": "Core"},
        {"field_name": "resolution", "removed": "", "added": "DUPLICATE"},
        {"field_name": "status", "removed": "NEW", "added": "RESOLVED"},
    ]
    events = an_update(changes=changes, was_open=True, old_place=["Old_Suite", ""])
    assert types(events) == ["bug.changed", "bug.closed", "bug.duplicated", "bug.moved"]
    assert len({encode(event._replace(type="x.v1", id="x")) for event in events}) == 1
    assert [event.routing_key.removeprefix("bugzilla.bug.") for event in events] == [
        "changed.Core.DOM",
        "closed.Core.DOM",
        "duplicated.Core.DOM",
        "moved.Old__Suite._",
    ]
    assert [event.id for event in events] == [
        id_of(SOURCE, event.type, "1234", str(ACTIVITY), str(AT)) for event in events
    ]


def test_a_new_assignee_is_published_after_all_other_names_but_the_move() -> None:
    changes = [
        {"field_name": "assigned_to", "removed": BOB, "added": ALICE},
        {"field_name": "product", "removed": "Old", "added": "Core"},
        {"field_name": "resolution", "removed": "", "added": "DUPLICATE"},
    ]
    events = an_update(changes=changes, was_open=True, old_place=["Old", "DOM"])
    assert types(events) == ["bug.changed", "bug.closed", "bug.duplicated", "bug.assigned", "bug.moved"]
    changed_, *_, assigned, _ = events
    assert assigned.data == changed_.data
    assert assigned.routing_key == "bugzilla.bug.assigned.Core.DOM"
    assert assigned.id == id_of(SOURCE, "bugzilla.bug.assigned.v1", "1234", str(ACTIVITY), str(AT))


@pytest.mark.parametrize(
    ("was_open", "is_open", "names"),
    [
        (True, False, ["bug.changed", "bug.closed"]),
        (False, True, ["bug.changed", "bug.reopened"]),
        (True, True, ["bug.changed"]),
        (False, False, ["bug.changed"]),
        (None, True, ["bug.changed"]),
    ],
)
def test_a_bug_is_closed_or_reopened_when_its_state_says_so(
    was_open: bool | None, is_open: bool, names: list[str]
) -> None:
    assert types(an_update(changes=CHANGES, was_open=was_open, bug=changed(BUG, is_open=is_open))) == names


def test_an_update_of_which_no_change_is_left_publishes_its_flags_and_comments() -> None:
    events = an_update(
        was_open=True,
        flags=[{"flag": flag(), "status": "?"}],
        comments=[comment()],
        comments_hidden=[7],
        comments_published=[comment(8)],
    )
    assert types(events) == ["flag.requested", "comment.created", "comment.hidden", "comment.published"]
    hidden, published = events[2:]
    assert hidden.data == {"id": 7, "bug_id": BUG_ID}
    assert hidden.id == id_of(SOURCE, hidden.type, "7", str(ACTIVITY), str(AT))
    assert published.data["comment"] == comment(8)
    assert published.id == id_of(SOURCE, published.type, "8", str(ACTIVITY), str(AT))


def test_equal_flags_of_one_update_are_counted() -> None:
    twice = {"flag": flag("needinfo", requestee=BOB), "status": "?"}
    events = an_update(
        changes=CHANGES,
        flags=[twice, {"flag": flag("needinfo", requestee=ALICE), "status": "?"}, twice, {**twice, "status": "X"}],
    )
    assert types(events) == ["bug.changed", "flag.requested", "flag.requested", "flag.requested", "flag.cleared"]
    key = ("1234", "", str(ACTIVITY), str(AT), "needinfo")
    assert [event.id for event in events[1:]] == [
        id_of(SOURCE, "bugzilla.flag.requested.v1", *key, "31", "?", "0"),
        id_of(SOURCE, "bugzilla.flag.requested.v1", *key, "7", "?", "0"),
        id_of(SOURCE, "bugzilla.flag.requested.v1", *key, "31", "?", "1"),
        id_of(SOURCE, "bugzilla.flag.cleared.v1", *key, "31", "X", "0"),
    ]
    assert events[-1].data["flag"]["status"] == "?"


def test_a_flag_of_an_attachment_that_the_bug_took_with_it_names_the_attachment() -> None:
    (event,) = an_update(flags=[{"flag": flag(status="+"), "status": "X", "attachment_id": 55}])
    assert event.data["attachment_id"] == 55
    assert event.id == id_of(SOURCE, event.type, "1234", "55", str(ACTIVITY), str(AT), "review", "", "X", "0")


def test_flags_of_attachments_that_a_move_cleared_have_other_ids_than_those_of_the_bug() -> None:
    cleared = {"flag": flag(status="+"), "status": "X"}
    events = an_update(flags=[cleared, cleared | {"attachment_id": 55}, cleared | {"attachment_id": 56}])
    assert [event.data["attachment_id"] for event in events] == [None, 55, 56]
    assert [event.id for event in events] == [
        id_of(SOURCE, "bugzilla.flag.cleared.v1", "1234", on, str(ACTIVITY), str(AT), "review", "", "X", "0")
        for on in ("", "55", "56")
    ]


def test_a_bug_that_lost_a_keyword_to_its_deletion_has_the_row_in_its_key() -> None:
    changes = [{"field_name": "keywords", "removed": ["crash"], "added": []}]
    (event,) = mapped(row("bug.update", bug_update(changes=changes, who=None), activity=None, recovered=True))
    assert event.id == id_of(SOURCE, "bugzilla.bug.changed.v1", "1234", "row 40213", str(AT))
    assert (event.data["recovered"], event.data["changes"]) == (True, changes)


def test_a_comment_names_its_type_and_the_other_bug() -> None:
    events = an_update(
        comments=[
            comment(1, type="dupe_of", dupe_bug_id=1240),
            comment(2, type="has_dupe", text=""),
            comment(3, type="a word of tomorrow"),
        ]
    )
    assert [(event.data["comment"]["type"], event.data["comment"]["dupe_bug_id"]) for event in events] == [
        ("dupe_of", 1240),
        ("has_dupe", None),
        ("a word of tomorrow", None),
    ]


def test_a_bug_that_was_hidden_leaves_its_number_and_its_old_place_and_nothing_else() -> None:
    public = {"place": ["Secret", "Plans"], "old_place": ["Core", "DOM"], "transition": "hidden", "id": BUG_ID}
    restricted = bug_update(
        changes=[*CHANGES, {"field_name": "groups", "removed": [], "added": ["security"]}],
        bug=changed(BUG, groups=["security"]),
        transition="hidden",
        old_place=["Core", "DOM"],
        place=["Secret", "Plans"],
        comments=[comment(text="the secret")],
    )
    events = mapped(row("bug.update", public, restricted))
    assert types(events) == ["bug.hidden", "bug.changed", "bug.moved", "bug.hidden", "comment.created"]
    open_, *closed = events
    assert open_.data == {"id": BUG_ID}
    assert open_.routing_key == "bugzilla.bug.hidden.Core.DOM"
    assert open_.id == id_of(SOURCE, open_.type, "1234", str(ACTIVITY), str(AT))
    assert {event.source for event in closed} == {RESTRICTED_SOURCE}
    assert closed[2].data == {"id": BUG_ID}
    assert closed[2].routing_key == "bugzilla.bug.hidden.Core.DOM"
    assert closed[2].id == id_of(RESTRICTED_SOURCE, open_.type, "1234", str(ACTIVITY), str(AT))
    assert closed[0].data["change_set"] == id_of(RESTRICTED_SOURCE, "change_set", TRANSACTION)


def test_a_bug_that_becomes_public_is_published_as_it_is_without_what_it_was() -> None:
    public = bug_update(
        transition="published",
        changes=[{"field_name": "summary", "removed": "the secret", "added": "nothing"}],
        flags=[{"flag": flag("secret"), "status": "X"}],
        comments=[comment()],
        comments_hidden=[1],
        comments_published=[comment(2, text="secret")],
        old_place=["Secret", "Plans"],
        who=ALICE,
    )
    events = mapped(row("bug.update", public))
    assert types(events) == ["bug.published", "comment.created"]
    assert events[0].data["bug"] == BUG
    assert "who" not in events[0].data
    assert not any(b"secret" in encode(event).lower() for event in events)


def test_the_restricted_stream_has_the_update_that_published_a_bug_in_full() -> None:
    restricted = bug_update(transition="published", changes=CHANGES, comments_published=[comment(2)])
    events = mapped(row("bug.update", None, restricted))
    assert types(events) == ["bug.changed", "bug.published", "comment.published"]
    assert {event.source for event in events} == {RESTRICTED_SOURCE}


def test_a_deleted_bug_leaves_its_number() -> None:
    view = {"place": ["Core", "DOM"], "id": BUG_ID, "creation_time": BUG["creation_time"]}
    (event,) = mapped(row("bug.delete", view, activity=None))
    assert event.data == {"id": BUG_ID}
    assert event.id == id_of(SOURCE, "bugzilla.bug.deleted.v1", "1234", moment(BUG["creation_time"]))
    assert event.routing_key == "bugzilla.bug.deleted.Core.DOM"


def test_a_new_attachment_is_published_with_its_author() -> None:
    view = {"place": ["Core", "DOM"], "who": BOB, "attachment": ATTACHMENT}
    (event,) = mapped(row("attachment.create", view, activity=None))
    assert event.id == id_of(SOURCE, "bugzilla.attachment.created.v1", "55", moment(ATTACHMENT["creation_time"]))
    assert event.subject == "bug/1234"
    assert (event.data["who"], event.data["attachment"]) == (BOB, ATTACHMENT)


def test_an_attachment_that_becomes_obsolete_is_published_before_its_flags() -> None:
    changes = [{"field_name": "is_obsolete", "removed": False, "added": True}]
    events = mapped(
        row(
            "attachment.update",
            attachment_update(changes=changes, flags=[{"flag": flag(status="+"), "status": "+"}]),
        )
    )
    assert types(events) == ["attachment.changed", "attachment.obsoleted", "flag.granted"]
    assert [event.id for event in events[:2]] == [
        id_of(SOURCE, event.type, "55", str(ACTIVITY), str(AT)) for event in events[:2]
    ]
    assert events[0].data == events[1].data
    assert events[2].data["attachment_id"] == 55
    assert events[2].id == id_of(
        SOURCE, "bugzilla.flag.granted.v1", "1234", "55", str(ACTIVITY), str(AT), "review", "", "+", "0"
    )


def test_an_attachment_that_is_used_again_is_changed_only() -> None:
    changes = [{"field_name": "is_obsolete", "removed": True, "added": False}]
    assert types(mapped(row("attachment.update", attachment_update(changes=changes)))) == ["attachment.changed"]


def test_an_attachment_that_was_hidden_leaves_its_number_and_that_of_its_bug() -> None:
    public = {"place": ["Core", "DOM"], "transition": "hidden", "id": 55, "bug_id": BUG_ID}
    changes = [{"field_name": "is_private", "removed": False, "added": True}]
    restricted = attachment_update(
        transition="hidden", changes=changes, attachment=changed(ATTACHMENT, is_private=True)
    )
    events = mapped(row("attachment.update", public, restricted))
    assert types(events) == ["attachment.hidden", "attachment.changed", "attachment.hidden"]
    assert events[0].data == events[2].data == {"id": 55, "bug_id": BUG_ID}


def test_an_attachment_that_becomes_public_is_published_as_it_is() -> None:
    public = attachment_update(
        transition="published",
        changes=[{"field_name": "summary", "removed": "secret", "added": "x"}],
        flags=[{"flag": flag("secret"), "status": "X"}],
    )
    (event,) = mapped(row("attachment.update", public))
    assert event.type == "bugzilla.attachment.published.v1"
    assert event.data["attachment"] == ATTACHMENT
    assert "who" not in event.data
    assert b"secret" not in encode(event)


def test_an_attachment_whose_content_was_removed_is_published_as_it_is_then() -> None:
    removed = changed(ATTACHMENT, size=0, is_obsolete=True)
    view = {"place": ["Core", "DOM"], "who": None, "attachment": removed}
    (event,) = mapped(row("attachment.delete", view, activity=None))
    assert event.id == id_of(SOURCE, "bugzilla.attachment.deleted.v1", "55", "row 40213", str(AT))
    assert event.routing_key == "bugzilla.attachment.deleted.Core.DOM"
    assert event.subject == "bug/1234"
    assert event.data == {
        "change_set": id_of(SOURCE, "change_set", TRANSACTION),
        "who": None,
        "attachment": removed,
        "recovered": False,
        "truncated": [],
        "raw": [],
    }


# -- what bugs are filed under


@pytest.mark.parametrize("kind", THING_KINDS)
def test_a_product_a_component_and_so_on_has_an_event_of_its_own(kind: str) -> None:
    name, _, action = kind.partition(".")
    words, thing = THINGS[name]
    (event, restricted) = mapped(thing_row(kind, streams=("public", "restricted"), activity=None))
    assert event.type == f"bugzilla.{name}.{THING_STATES[action]}.v1"
    assert event.subject == f"{name}/{thing['id']}"
    assert event.id == id_of(SOURCE, event.type, str(thing["id"]), "row 40213", str(AT))
    assert event.routing_key == routing_key("bugzilla", name, THING_STATES[action], variable=words)
    renamed = [{"field_name": "name", "removed": "old", "added": thing["name"]}]
    assert event.data == {
        "change_set": id_of(SOURCE, "change_set", TRANSACTION),
        name: thing,
        **({"changes": renamed} if action == "update" else {}),
        "recovered": False,
        "truncated": [],
        "raw": [],
    }
    assert restricted.id == id_of(RESTRICTED_SOURCE, event.type, str(thing["id"]), "row 40213", str(AT))


def test_a_rename_is_published_under_the_old_name() -> None:
    (event,) = mapped(thing_row("component.update", thing={"name": "Layout"}, view={"words": ["Core", "Lay out"]}))
    assert event.routing_key == "bugzilla.component.changed.Core.Lay_20out"
    assert event.data["component"]["name"] == "Layout"


def test_a_product_of_which_no_change_is_left_has_no_event() -> None:
    assert mapped(thing_row("product.update", changes=[])) == []


# -- ids


def identity(raw: dict[str, Any]) -> tuple[Any, ...]:
    """Return what makes a row about what bugs are filed under a fact of its own."""
    payload = json.loads(raw["payload"])
    return raw["kind"], payload["views"]["public"]["thing"]["id"], raw["id"], payload["at"]


@given(
    *[
        st.builds(
            lambda kind, thing, number, at: thing_row(kind, thing={"id": thing}, number=number, at=at, activity=None),
            st.sampled_from(THING_KINDS),
            *[st.integers(1, 3)] * 3,
        )
    ]
    * 2
)
def test_two_facts_have_two_ids_and_one_fact_has_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (mapped(one)[0].id == mapped(other)[0].id) == (identity(one) == identity(other))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows(), st.binary(min_size=16, max_size=32).map(bytes.hex))
def test_every_id_depends_on_the_secret_and_no_event_holds_it(raw: dict[str, Any], secret: str) -> None:
    emitter = Emitter(SOURCE, secret)
    hers, ours = mapped(raw, emitter), mapped(raw)
    assert not numbers_of(hers) & numbers_of(ours) or secret == ID_SECRET
    assert [event._replace(id="", data=without_change_set(event)) for event in hers] == [
        event._replace(id="", data=without_change_set(event)) for event in ours
    ]
    assert not any(secret.encode() in encode(event) or secret in repr(event) for event in hers)
    assert secret not in repr(emitter) + str(emitter)


@given(st.integers(0, 3), st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_an_id_cannot_be_computed_from_what_a_reader_may_guess(number: int, transaction: str) -> None:
    (event,) = mapped(thing_row("product.create", number=number, activity=None, transaction=transaction))
    assert event.id != event_id(SOURCE, event.type, "2", f"row {number}", str(AT))
    assert event.data["change_set"] != event_id(SOURCE, "change_set", transaction)


def numbers_of(events: list[Event]) -> set[str]:
    """Return all that a secret goes into."""
    return {event.id for event in events} | {event.data.get("change_set") or event.id for event in events}


def without_change_set(event: Event) -> dict[str, Any]:
    return {name: value for name, value in event.data.items() if name != "change_set"}


def test_without_an_activity_the_row_stands_for_the_update() -> None:
    (event,) = mapped(row("bug.update", bug_update(comments_hidden=[9]), activity=None))
    assert event.id == id_of(SOURCE, "bugzilla.comment.hidden.v1", "9", "row 40213", str(AT))


def test_all_rows_of_a_transaction_have_one_change_set_however_long_it_lasted() -> None:
    first = mapped(row("bug.update", bug_update(changes=CHANGES), number=1))
    later = mapped(row("bug.update", bug_update(changes=CHANGES), number=61, at=AT + 60, first_row=1, first_at=AT))
    other = mapped(row("bug.update", bug_update(changes=CHANGES), transaction="0" * 32))
    assert first[0].data["change_set"] == later[0].data["change_set"] == id_of(SOURCE, "change_set", TRANSACTION)
    assert other[0].data["change_set"] == id_of(SOURCE, "change_set", "0" * 32)


def test_an_unknown_transaction_makes_no_change_set() -> None:
    (event,) = mapped(row("bug.update", bug_update(changes=CHANGES), transaction=None))
    assert event.data["change_set"] is None


def test_what_recovery_found_says_so_and_has_no_change_set() -> None:
    (event,) = mapped(row("bug.update", bug_update(changes=CHANGES), number=None, transaction=None, recovered=True))
    assert event.data["recovered"] is True
    assert event.data["change_set"] is None
    assert event.id == "46a2ae22-4791-5649-acb3-0a9824a0697a"


def test_a_row_without_views_has_no_events() -> None:
    assert mapped(row("bug.update")) == []


# -- texts and sizes


def test_half_a_surrogate_pair_becomes_the_replacement_character_and_a_whole_one_stays() -> None:
    (event,) = an_update(comments=[comment(text="\ud83d\udca9 \ud83d \udca9 \0 é")])
    assert event.data["comment"]["text"] == "\U0001f4a9 \ufffd \ufffd \0 é"
    assert b'"\xf0\x9f\x92\xa9 \xef\xbf\xbd \xef\xbf\xbd \\u0000 \xc3\xa9"' in encode(event)


def test_a_comment_that_was_cut_in_bugzilla_names_its_whole_length() -> None:
    (event,) = an_update(comments=[comment(text="x" * 65_536, text_bytes=20_000_000)])
    assert event.data["truncated"] == [{"field": "/comment/text", "kept": 65_536, "total": 20_000_000}]
    assert "text_bytes" not in event.data["comment"]


def test_a_length_that_is_no_more_than_what_is_there_cuts_nothing() -> None:
    (event,) = an_update(comments=[comment(text="\ud83d", text_bytes=1)])
    assert event.data["comment"]["text"] == "\ufffd"
    assert event.data["truncated"] == []


def test_a_bug_that_is_too_large_is_cut_and_says_where() -> None:
    bug = changed(BUG, cc=[{"id": number, "name": "x" * 200} for number in range(2_000)], whiteboard="é" * 100_000)
    (event,) = mapped(
        row("bug.update", bug_update(changes=CHANGES, bug=bug)), Emitter(SOURCE, ID_SECRET, max_bytes=32 * 1024)
    )
    assert len(encode(event)) <= 32 * 1024
    cut = {note["field"]: note["total"] for note in event.data["truncated"]}
    assert cut["/bug/cc"] == 2_000
    assert cut["/bug/whiteboard"] == 200_000


# -- at random


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows())
def test_every_event_of_every_row_is_as_its_schema_says(raw: dict[str, Any]) -> None:
    events = mapped(raw)
    again = mapped(raw)
    assert events == again
    assert len({event.id for event in events}) == len(events) - repeats(raw)
    payload = json.loads(raw["payload"])
    for event in events:
        assert event.subject == f"bug/{raw['bug_id']}" or raw["kind"] in THING_KINDS
        assert event.source in (SOURCE, RESTRICTED_SOURCE)
        assert len(encode(event)) <= 256 * 1024
        if "recovered" in event.data:
            assert event.data["recovered"] is payload.get("recovered", False)
        if "changes" in event.data:
            assert event.data["changes"]
        if event.type == "bugzilla.bug.hidden.v1":
            assert event.data == {"id": raw["bug_id"]}


def repeats(raw: dict[str, Any]) -> int:
    """Count what one row says twice: the same comment, by chance."""
    events = events_of(read_row(raw), Emitter(SOURCE, ID_SECRET))
    said = [event.id for event in events if ".comment." in event.type]
    return len(said) - len(set(said))


def test_credentials_in_the_urls_of_a_bug_are_dropped_and_texts_stay_as_they_were_written() -> None:
    secret = "https://joe:pa@ss@example.org/x?api_key=hush&page=2"
    clean = "https://example.org/x?api_key=<redacted>&page=2"
    said = comment(7, text=f"see {secret}")
    (event, created) = an_update(
        bug=BUG | {"url": secret, "see_also": [secret]},
        changes=[
            {"field_name": "see_also", "removed": [], "added": [secret]},
            {"field_name": "url", "removed": None, "added": secret},
        ],
        comments=[said],
    )
    assert (event.data["bug"]["url"], list(event.data["bug"]["see_also"])) == (clean, [clean])
    assert [change["added"] for change in event.data["changes"]] == [[clean], clean]
    assert created.data["comment"]["text"] == f"see {secret}"
