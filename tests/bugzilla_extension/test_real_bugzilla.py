# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What people do with a real Bugzilla's web forms and REST arrives at a real RabbitMQ consumer, exactly.

`support.bugzilla.world` says which Bugzilla that is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from support.brokers.rabbitmq import RabbitNode
from support.bugzilla.web import Visitor, hidden_fields
from support.bugzilla.world import HOME, World, open_world

MASS_BUGS = 50

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not HOME, reason="BUGZILLA_HOME names no folder of a Bugzilla"),
]


@pytest.fixture(scope="module")
def world(rabbitmq: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(rabbitmq, tmp_path_factory.mktemp("bugzilla")) as world:
        yield world


def _file_by_form(world: World, **fields: str) -> None:
    form = hidden_fields(world.visitor.page(f"enter_bug.cgi?product={world.product}"))
    form |= {"product": world.product, "component": "Two", "version": "unspecified", "short_desc": "by the form \u2713"}
    form |= {"comment": "described", "bug_severity": "normal", "rep_platform": "All", "op_sys": "All"}
    form |= {"priority": "---", "bug_status": "CONFIRMED", "target_milestone": "---"}
    world.visitor.submit("post_bug.cgi", form | fields)


def test_a_bug_that_is_filed_by_the_form_arrives_with_its_description(world: World) -> None:
    _file_by_form(world)

    created, comment = world.events(2)

    assert created.type == "bugzilla.bug.created.v1"
    assert created.routing_key == f"bugzilla.bug.created.{world.product}.Two"
    assert created.data["bug"]["summary"] == "by the form \u2713"
    assert created.data["who"] == {"id": world.made["user_id"], "name": world.made["login"].split("@")[0]}
    assert comment.type == "bugzilla.comment.created.v1"
    assert (comment.data["comment"]["text"], comment.data["comment"]["count"]) == ("described", 0)
    assert comment.data["change_set"] == created.data["change_set"]


def test_a_file_that_is_attached_while_filing_arrives(world: World) -> None:
    file = {"attach_text": "inside", "description": "a file", "contenttypemethod": "manual"}
    file |= {"contenttypeentry": "text/plain", "contenttypeselection": "text/plain"}
    _file_by_form(world, **file)
    created, comment, attached = world.events(3)
    assert [event.type for event in (created, comment, attached)] == [
        "bugzilla.bug.created.v1",
        "bugzilla.comment.created.v1",
        "bugzilla.attachment.created.v1",
    ]
    assert (attached.data["attachment"]["summary"], attached.data["attachment"]["size"]) == ("a file", 6)

    # The description of the bug belongs to the file then, and is as private.
    _file_by_form(world, **file | {"isprivate": "1"})
    first, _ = world.events(2)
    assert first.type == "bugzilla.bug.created.v1"


def test_changes_and_comments_by_form_and_by_rest_arrive(world: World) -> None:
    bug = world.new_bug()
    world.events(2)

    world.edit(bug, priority="High", comment="by the form", status_whiteboard="[wanted]")
    changed, comment = world.events(2)
    assert changed.type == "bugzilla.bug.changed.v1"
    assert [change["field_name"] for change in changed.data["changes"]] == ["priority", "whiteboard"]
    assert comment.data["comment"]["text"] == "by the form"

    world.put(bug, status="RESOLVED", resolution="FIXED", comment={"body": "by REST"})
    assert world.arrived(3) == [
        ("bugzilla.bug.changed.v1", f"bug/{bug}"),
        ("bugzilla.bug.closed.v1", f"bug/{bug}"),
        ("bugzilla.comment.created.v1", f"bug/{bug}"),
    ]

    world.edit(bug, bug_status="CONFIRMED", comment="again")
    assert [kind for kind, _ in world.arrived(3)] == [
        "bugzilla.bug.changed.v1",
        "bugzilla.bug.reopened.v1",
        "bugzilla.comment.created.v1",
    ]


def test_nothing_private_arrives(world: World) -> None:
    private = world.new_bug(groups=[world.made["group"]], summary="private bug")
    world.put(private, summary="still private", comment={"body": "secret"})
    bug = world.new_bug()
    world.put(bug, comment={"body": "for insiders", "is_private": True})
    world.put(bug, depends_on={"add": [private]})
    world.attach(bug, is_private=True)

    assert [kind for kind, _ in world.arrived(2)] == ["bugzilla.bug.created.v1", "bugzilla.comment.created.v1"]


def test_a_bug_that_goes_into_a_group_and_out_again_is_hidden_and_published(world: World) -> None:
    bug = world.new_bug(summary="first name")
    world.events(2)

    world.put(bug, groups={"add": [world.made["group"]]}, summary="second name", comment={"body": "secret"})
    (hidden,) = world.events(1)
    assert (hidden.type, dict(hidden.data)) == ("bugzilla.bug.hidden.v1", {"id": bug})

    world.put(bug, summary="third name")
    world.put(bug, groups={"remove": [world.made["group"]]}, summary="fourth name")
    (published,) = world.events(1)
    assert published.type == "bugzilla.bug.published.v1"
    assert published.data["bug"]["summary"] == "fourth name"
    said = json.dumps(dict(published.data))
    assert not [word for word in ("second", "third", "secret", world.made["group"]) if word in said]


def test_a_group_by_the_form_hides_a_bug(world: World) -> None:
    bug = world.new_bug()
    world.events(2)
    world.edit(bug, defined_groups=world.made["group"], groups=world.made["group"])
    assert [kind for kind, _ in world.arrived(1)] == ["bugzilla.bug.hidden.v1"]


def test_attachments_and_their_flags_arrive(world: World) -> None:
    bug = world.new_bug()
    world.events(2)

    attachment = world.attach(bug)
    created, comment = world.events(2)
    assert (created.type, created.data["attachment"]["id"]) == ("bugzilla.attachment.created.v1", attachment)
    assert created.data["attachment"]["size"] == 5
    assert comment.data["comment"]["attachment_id"] == attachment

    flag = f"a{world.product[1:]}"
    world.visitor.rest(
        "PUT",
        f"bug/attachment/{attachment}",
        {"ids": [attachment], "flags": [{"name": flag, "status": "?", "requestee": world.made["login"], "new": True}]},
    )
    # The user who is asked is put on the CC list, in an update of the bug.
    assert [kind for kind, _ in world.arrived(3)] == [
        "bugzilla.attachment.changed.v1",
        "bugzilla.flag.requested.v1",
        "bugzilla.bug.changed.v1",
    ]

    world.visitor.rest("PUT", f"bug/attachment/{attachment}", {"ids": [attachment], "is_obsolete": True})
    # Bugzilla clears what was requested of an obsolete attachment.
    assert [kind for kind, _ in world.arrived(3)] == [
        "bugzilla.attachment.changed.v1",
        "bugzilla.attachment.obsoleted.v1",
        "bugzilla.flag.cleared.v1",
    ]

    world.visitor.rest("PUT", f"bug/attachment/{attachment}", {"ids": [attachment], "is_private": True})
    (hidden,) = world.events(1)
    assert (hidden.type, dict(hidden.data)) == ("bugzilla.attachment.hidden.v1", {"id": attachment, "bug_id": bug})


def test_flags_of_a_bug_arrive(world: World) -> None:
    bug = world.new_bug()
    world.events(2)
    flag = f"f{world.product[1:]}"

    world.put(bug, flags=[{"name": flag, "status": "?", "requestee": world.made["login"], "new": True}])
    events = world.events(2)
    assert [event.type for event in events] == ["bugzilla.bug.changed.v1", "bugzilla.flag.requested.v1"]
    name = world.made["login"].split("@")[0]
    # The user who is asked is put on the CC list.
    assert {change["field_name"] for change in events[0].data["changes"]} - {"cc"} == {"flagtypes.name"}
    assert events[1].data["flag"]["requestee"]["name"] == name

    world.put(bug, flags=[{"name": flag, "status": "+"}])
    assert [kind for kind, _ in world.arrived(2)] == ["bugzilla.bug.changed.v1", "bugzilla.flag.granted.v1"]
    world.put(bug, flags=[{"name": flag, "status": "X"}])
    assert [kind for kind, _ in world.arrived(2)] == ["bugzilla.bug.changed.v1", "bugzilla.flag.cleared.v1"]


def test_a_product_move_arrives_under_the_old_product(world: World) -> None:
    bug = world.new_bug()
    world.events(2)
    world.put(bug, product=world.other_product, component="Two", version="unspecified", target_milestone="---")
    changed, moved = world.events(2)
    assert changed.routing_key == f"bugzilla.bug.changed.{world.other_product}.Two"
    assert moved.routing_key == f"bugzilla.bug.moved.{world.product}.One"


def test_a_mass_change_by_form_and_by_rest_arrives_bug_by_bug(world: World) -> None:
    bugs = [world.new_bug() for _ in range(MASS_BUGS)]
    world.events(2 * MASS_BUGS)

    world.put(bugs[0], ids=bugs, priority="High", comment={"body": "all of them"})
    events = world.events(2 * MASS_BUGS)
    assert sorted({event.data["bug"]["id"] for event in events if event.type == "bugzilla.bug.changed.v1"}) == bugs
    assert len({event.data["change_set"] for event in events}) == 1

    page = world.visitor.page("buglist.cgi?tweak=1&bug_id=" + ",".join(map(str, bugs)))
    # Longer ones belong to other forms of the page.
    token = re.findall(r'name="token"\s+value="(\w{10})"', page)[-1]
    form = {f"id_{bug}": "on" for bug in bugs} | {"token": token, "dontchange": "--do_not_change--", "priority": "Low"}
    world.visitor.submit("process_bug.cgi", form)
    events = world.events(MASS_BUGS)
    assert sorted(event.data["bug"]["id"] for event in events) == bugs
    assert len({event.data["change_set"] for event in events}) == MASS_BUGS


def test_a_mass_change_that_is_refused_in_the_middle_is_not_published_at_all(world: World) -> None:
    bugs = [world.new_bug() for _ in range(3)]
    world.events(6)
    # All bugs of a REST call are one transaction.
    status, _ = world.visitor.try_rest("PUT", f"bug/{bugs[0]}", {"ids": [*bugs, 999_999_999], "priority": "High"})
    assert status >= 400
    status, _ = world.visitor.try_rest("PUT", f"bug/{bugs[0]}", {"ids": bugs, "priority": "High", "dupe_of": bugs[1]})
    assert status >= 400
    world.events(0)


def test_only_administrators_see_the_state_of_the_extension(world: World) -> None:
    page = world.visitor.page("page.cgi?id=sourcepulse.html")
    assert "Rows that wait for the sidecar" in page
    assert re.search(r"bugzilla://[0-9a-f-]{36}", page)

    panel = world.visitor.page("editparams.cgi?section=sourcepulse")
    for name in ("enabled", "site_id", "secret", "tell_hidden", "hidden_fields", "restricted", "groups_as"):
        assert f'name="sourcepulse_{name}"' in panel

    check = " ".join(world.visitor.page("sanitycheck.cgi").split())
    assert "Checking whether SourcePulse writes the changes and the sidecar fetches them" in check
    stranger = Visitor(world.site, api_key="")
    assert "Rows that wait" not in stranger.page("page.cgi?id=sourcepulse.html")
