# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What administrators do on a real Bugzilla's pages to what bugs are filed under, and to what bugs have, is published.

What is secret has SECRET in it. `support.bugzilla.world` says which Bugzilla that is.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sourcepulse.events.event import Event
from support.bugzilla.world import HOME, Desk, open_desk

MANDATORY = "3"

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not HOME, reason="BUGZILLA_HOME names no folder of a Bugzilla"),
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("bugzilla")) as desk:
        yield desk


def _published(desk: Desk, *options: str) -> list[Event]:
    events = desk.published(*options)
    assert "SECRET" not in json.dumps([dict(event.data) for event in events])
    return events


def _types(events: Sequence[Event]) -> list[str]:
    return [event.type.removeprefix("bugzilla.").removesuffix(".v1") for event in events]


def _word() -> str:
    return uuid.uuid4().hex[:8]


def _changes(event: Event) -> dict[str, tuple[Any, Any]]:
    return {change["field_name"]: (change["removed"], change["added"]) for change in event.data["changes"]}


def _new_product(desk: Desk, name: str) -> None:
    page = desk.visitor.fill_in(
        "editproducts.cgi?action=add",
        product=name,
        description="x",
        version="unspecified",
        component="One",
        comp_desc="x",
        initialowner=desk.made["login"],
    )
    assert "Product Created" in page, page[-3000:]


def test_a_product_is_created_renamed_closed_and_deleted(desk: Desk) -> None:
    old, new = f"N{_word()}", f"M{_word()}"
    _new_product(desk, old)
    events = _published(desk)
    assert sorted(_types(events)) == ["component.created", "milestone.created", "product.created", "version.created"]
    (created,) = [event for event in events if event.type == "bugzilla.product.created.v1"]
    assert created.routing_key == f"bugzilla.product.created.{old}"
    assert {event.data[kind]["product"] for event in events for kind in event.data if kind in {"component", "version"}}

    desk.visitor.fill_in(f"editproducts.cgi?action=edit&product={old}", product=new, is_active=None)
    (changed,) = _published(desk)
    # Consumers are bound to the old name.
    assert changed.routing_key == f"bugzilla.product.changed.{old}"
    assert changed.data["product"]["name"] == new
    assert _changes(changed) == {"name": (old, new), "is_active": (True, False)}

    desk.visitor.fill_in(f"editproducts.cgi?action=del&product={new}", action="delete")
    events = _published(desk)
    assert "product.deleted" in _types(events)
    (deleted,) = [event for event in events if event.type == "bugzilla.product.deleted.v1"]
    assert deleted.data["product"]["name"] == new


@pytest.mark.parametrize("kind", ["component", "version", "milestone"])
def test_a_part_of_a_product_is_created_renamed_closed_and_deleted(desk: Desk, kind: str) -> None:
    page = f"edit{kind}s.cgi?product={desk.product}"
    old, new = f"n{_word()}", f"m{_word()}"
    made = {"component": {"description": "x", "initialowner": desk.made["login"]}, "milestone": {"sortkey": "1"}}
    desk.visitor.fill_in(f"{page}&action=add", **{kind: old}, **made.get(kind, {}))
    (created,) = _published(desk)
    assert created.type == f"bugzilla.{kind}.created.v1"
    assert created.routing_key == f"bugzilla.{kind}.created.{desk.product}.{old}"

    desk.visitor.fill_in(f"{page}&action=edit&{kind}={old}", **{kind: new, "isactive": None})
    (changed,) = _published(desk)
    assert changed.routing_key == f"bugzilla.{kind}.changed.{desk.product}.{old}"
    assert changed.data[kind]["name"] == new
    assert _changes(changed) == {"name": (old, new), "is_active": (True, False)}

    desk.visitor.fill_in(f"{page}&action=del&{kind}={new}", action="delete")
    (deleted,) = _published(desk)
    assert (deleted.type, deleted.data[kind]["name"]) == (f"bugzilla.{kind}.deleted.v1", new)
    assert deleted.routing_key == f"bugzilla.{kind}.deleted.{desk.product}.{new}"


def test_a_keyword_is_created_renamed_and_deleted_and_its_bugs_lose_it(desk: Desk) -> None:
    old, new = f"n{_word()}", f"m{_word()}"
    desk.visitor.fill_in("editkeywords.cgi?action=add", name=old, description="x")
    (created,) = _published(desk)
    assert created.routing_key == f"bugzilla.keyword.created.{old}"
    number = created.data["keyword"]["id"]

    public = desk.new_bug(keywords=[old])
    desk.new_bug(keywords=[old], groups=[desk.made["group"]], summary="SECRET")
    _published(desk)

    desk.visitor.fill_in(f"editkeywords.cgi?action=edit&id={number}", name=new)
    (changed,) = _published(desk)
    assert _changes(changed) == {"name": (old, new)}

    desk.visitor.fill_in(f"editkeywords.cgi?action=del&id={number}", action="delete")
    events = _published(desk)
    assert sorted(_types(events)) == ["bug.changed", "keyword.deleted"]
    (lost,) = [event for event in events if event.type == "bugzilla.bug.changed.v1"]
    assert (lost.data["bug"]["id"], lost.data["bug"]["keywords"]) == (public, [])
    assert _changes(lost) == {"keywords": ([new], [])}


def test_the_flags_of_a_flag_type_that_is_deleted_are_cleared(desk: Desk) -> None:
    name = f"f{desk.product[1:]}"
    page = desk.visitor.page("editflagtypes.cgi")
    number = next(part.partition('"')[0] for part in page.split("action=edit&amp;id=")[1:] if f">{name}<" in part[:80])
    flags = [{"name": name, "status": "?", "new": True}]
    public = desk.new_bug()
    private = desk.new_bug(groups=[desk.made["group"]], summary="SECRET")
    desk.put(public, flags=flags)
    desk.put(private, flags=flags)
    _published(desk)

    token = desk.visitor.page(f"editflagtypes.cgi?action=confirmdelete&id={number}").split("token=")[1][:10]
    desk.visitor.page(f"editflagtypes.cgi?action=delete&id={number}&token={token}")
    events = _published(desk)
    assert _types(events) == ["bug.changed", "flag.cleared"]
    assert _changes(events[0]) == {"flagtypes.name": ([f"{name}?"], [])}
    assert (events[0].data["bug"]["id"], events[1].data["bug_id"]) == (public, public)


def test_the_content_of_an_attachment_is_deleted(desk: Desk) -> None:
    desk.set_params("attachment", allow_attachment_deletion="1")
    bug = desk.new_bug()
    public = desk.attach(bug)
    private = desk.attach(bug, is_private=True, summary="SECRET", file_name="SECRET.txt")
    _published(desk)

    page = desk.visitor.fill_in(f"attachment.cgi?id={public}&action=delete", reason="a reason")
    assert "a reason" in page, page[-3000:]
    events = _published(desk)
    assert "attachment.deleted" in _types(events), _types(events)
    (deleted,) = [event for event in events if event.type == "bugzilla.attachment.deleted.v1"]
    assert (deleted.data["attachment"]["id"], deleted.data["attachment"]["size"]) == (public, 0)
    (comment,) = [event for event in events if event.type == "bugzilla.comment.created.v1"]
    assert "a reason" in comment.data["comment"]["text"]

    desk.visitor.fill_in(f"attachment.cgi?id={private}&action=delete", reason="whatever")
    assert "attachment.deleted" not in _types(_published(desk))


def test_nothing_is_published_of_a_product_that_visitors_cannot_choose(desk: Desk) -> None:
    name = f"N{_word()}"
    _new_product(desk, name)
    _published(desk)
    group = desk.made["group_id"]
    controls = {f"membercontrol_{group}": MANDATORY, f"othercontrol_{group}": MANDATORY}
    page = f"editproducts.cgi?action=editgroupcontrols&product={name}"
    desk.visitor.fill_in(page, more={"confirmed": "1"}, **controls)
    # What becomes private is not announced.
    assert _published(desk) == []

    secret = f"SECRET{_word()}"
    desk.visitor.fill_in(f"editproducts.cgi?action=edit&product={name}", product=secret)
    where = f"product={secret}"
    owner = desk.made["login"]
    more = {"component": {"description": "x", "initialowner": owner}, "milestone": {"sortkey": "1"}, "version": {}}
    for kind, fields in more.items():
        desk.visitor.fill_in(f"edit{kind}s.cgi?{where}&action=add", **{kind: f"SECRET{kind}"}, **fields)
        desk.visitor.fill_in(f"edit{kind}s.cgi?{where}&action=edit&{kind}=SECRET{kind}", **{kind: f"SECRET2{kind}"})
        page = desk.visitor.fill_in(f"edit{kind}s.cgi?{where}&action=del&{kind}=SECRET2{kind}", action="delete")
        assert "Deleted" in page, page[-3000:]
    desk.visitor.fill_in(f"editproducts.cgi?action=del&{where}", action="delete")
    assert _published(desk) == []


def test_duplicates_name_the_other_bug_only_where_it_is_public(desk: Desk) -> None:
    first, second, third = desk.new_bug(), desk.new_bug(), desk.new_bug()
    private = desk.new_bug(groups=[desk.made["group"]], summary="SECRET")
    _published(desk)

    desk.edit(first, bug_status="RESOLVED", resolution="DUPLICATE", dup_id=str(second), comment="")
    events = _published(desk)
    assert "bug.duplicated" in _types(events), _types(events)
    comments = [event.data["comment"] for event in events if event.type == "bugzilla.comment.created.v1"]
    named = {(comment["bug_id"], comment["type"], comment["dupe_bug_id"]) for comment in comments}
    assert named == {(first, "dupe_of", second), (second, "has_dupe", first)}

    desk.edit(third, bug_status="RESOLVED", resolution="DUPLICATE", dup_id=str(private), comment="")
    events = _published(desk)
    assert {event.data["bug"]["dupe_of"] for event in events if "bug" in event.data} == {None}
    (comment,) = [event.data["comment"] for event in events if event.type == "bugzilla.comment.created.v1"]
    assert (comment["bug_id"], comment["type"], comment["dupe_bug_id"]) == (third, "dupe_of", None)


def test_what_the_readme_says_is_not_published_is_not(desk: Desk) -> None:
    bug = desk.new_bug()
    comment = next(
        event.data["comment"]["id"] for event in _published(desk) if event.type == "bugzilla.comment.created.v1"
    )
    rest = desk.visitor.rest
    rest("PUT", f"bug/comment/{comment}/tags", {"add": ["SECRET"]})
    rest("POST", f"bug_user_last_visit/{bug}", {})
    desk.put(bug, estimated_time=5, remaining_time=4, deadline="2030-01-02")
    desk.visitor.fill_in("quips.cgi", quip="SECRET")
    desk.visitor.fill_in("editgroups.cgi?action=add", name=f"SECRET{_word()}", desc="SECRET")
    assert _published(desk) == []
    assert _published(desk, "--reconcile") == []
