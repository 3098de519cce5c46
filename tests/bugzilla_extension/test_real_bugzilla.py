# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What people do with a real Bugzilla's web forms and REST arrives at a real RabbitMQ consumer, exactly.

Bugzilla is neither here nor downloaded: the environment variable BUGZILLA_HOME names the folder of one that is made for
tests, with the extension linked and checksetup.pl run. Its parameters are changed, and whatever is done gets new names.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.consumer import Consumer
from sourcepulse.event import Event
from support.bugzilla_web import BugzillaSite, Visitor, hidden_fields
from support.event_schema import check_data
from support.rabbitmq import RabbitNode
from support.spine import receive

_HOME = os.environ.get("BUGZILLA_HOME", "")
_PREPARE = Path(__file__).parents[1] / "support" / "bugzilla_prepare.pl"
ARRIVAL_LIMIT_SECONDS = 20.0
#: After so long without an event there is none.
QUIET_SECONDS = 3.0
MASS_BUGS = 50

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not _HOME, reason="BUGZILLA_HOME names no folder of a Bugzilla"),
]


@dataclass
class World:
    """A served Bugzilla with somebody in it who may do everything, and a consumer of all that is public."""

    site: BugzillaSite
    visitor: Visitor
    made: dict[str, Any]
    consumer: Consumer

    @property
    def product(self) -> str:
        return min(self.made["products"])

    @property
    def other_product(self) -> str:
        return max(self.made["products"])

    def new_bug(self, **fields: Any) -> int:
        """File a bug by REST."""
        answer = self.visitor.rest("POST", "bug", self.fields() | fields)
        return int(answer["id"])

    def fields(self) -> dict[str, Any]:
        """Give what a new bug must have."""
        return {
            "product": self.product,
            "component": "One",
            "version": "unspecified",
            "summary": "a bug",
            "description": "its description",
            "op_sys": "All",
            "platform": "All",
            "priority": "---",
            "severity": "normal",
        }

    def put(self, bug: int, **content: Any) -> None:
        """Change a bug by REST."""
        self.visitor.rest("PUT", f"bug/{bug}", content)

    def edit(self, bug: int, **form: str) -> str:
        """Change a bug by its form."""
        hidden = hidden_fields(self.visitor.page(f"show_bug.cgi?id={bug}"))
        kept = {name: hidden[name] for name in ("token", "delta_ts") if name in hidden}
        return self.visitor.submit("process_bug.cgi", kept | {"id": str(bug)} | form)

    def arrived(self, count: int) -> list[tuple[str, str | None]]:
        """Give type and subject of so many events, and see that no more come."""
        return [(event.type, event.subject) for event in self.events(count)]

    def events(self, count: int) -> list[Event]:
        """Give so many events, and see that no more come."""
        events = receive(self.consumer, count, ARRIVAL_LIMIT_SECONDS)
        events += receive(self.consumer, 1, QUIET_SECONDS)
        for event in events:
            check_data(event)
        assert len(events) == count, [(event.type, event.subject) for event in events]
        return events


@pytest.fixture(scope="module")
def world(rabbitmq: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bugzilla")
    site = BugzillaSite(Path(_HOME))
    sidecar = None
    try:
        done = subprocess.run(
            ["perl", str(_PREPARE), uuid.uuid4().hex[:8], site.url],
            cwd=_HOME,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout.splitlines()[-1])
        command = [sys.executable, "-m", "sourcepulse.cli", "bugzilla-sidecar", "--bugzilla", _HOME]
        command += ["--outbox", str(folder / "outbox.db")]
        environment = os.environ | {"SOURCEPULSE_BROKER": rabbitmq.url()}
        # What earlier tests left belongs to nobody.
        subprocess.run([*command, "--once", "--no-relay"], env=environment, check=True, timeout=120)
        consumer = Consumer(rabbitmq.url(), ["bugzilla.#"], state=folder / "consumer.state")
        consumer.open()
        with (folder / "sidecar.log").open("w", encoding="utf-8") as log:
            sidecar = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        visitor = Visitor(site, api_key=made["api_key"])
        visitor.log_in(made["login"], made["password"])
        with consumer:
            while receive(consumer, 1, QUIET_SECONDS):
                pass
            yield World(site, visitor, made, consumer)
        sidecar.terminate()
        assert sidecar.wait(30) == 0, (folder / "sidecar.log").read_text()
        assert not [error for error in site.errors if "SourcePulse" in error]
    finally:
        if sidecar is not None and sidecar.poll() is None:
            sidecar.kill()
            sidecar.wait()
        site.close()


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
    _attach(world, bug, is_private=True)

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

    attachment = _attach(world, bug)
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
    # Whoever is asked is put on the list of those who are told, in an update of the bug.
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
    # Whoever is asked is put on the list of those who are told.
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


def test_what_is_refused_in_the_middle_of_a_mass_change_is_not_told_at_all(world: World) -> None:
    bugs = [world.new_bug() for _ in range(3)]
    world.events(6)
    # All bugs of a REST call are one transaction.
    status, _ = world.visitor.try_rest("PUT", f"bug/{bugs[0]}", {"ids": [*bugs, 999_999_999], "priority": "High"})
    assert status >= 400
    status, _ = world.visitor.try_rest("PUT", f"bug/{bugs[0]}", {"ids": bugs, "priority": "High", "dupe_of": bugs[1]})
    assert status >= 400
    world.events(0)


def _attach(world: World, bug: int, **more: Any) -> int:
    content = {"ids": [bug], "data": base64.b64encode(b"hello").decode(), "file_name": "a.txt", "summary": "a file"}
    answer = world.visitor.rest("POST", f"bug/{bug}/attachment", content | {"content_type": "text/plain"} | more)
    return int(answer["ids"][0])


def test_administrators_see_how_it_is_and_nobody_else_does(world: World) -> None:
    page = world.visitor.page("page.cgi?id=sourcepulse.html")
    assert "Rows that wait for the sidecar" in page
    assert re.search(r"bugzilla://[0-9a-f-]{36}", page)

    panel = world.visitor.page("editparams.cgi?section=sourcepulse")
    for name in ("enabled", "site_id", "tell_hidden", "hidden_fields", "restricted", "groups_as"):
        assert f'name="sourcepulse_{name}"' in panel

    assert "Checking whether the changes that SourcePulse wrote are taken" in world.visitor.page("sanitycheck.cgi")
    stranger = Visitor(world.site, api_key="")
    assert "Rows that wait" not in stranger.page("page.cgi?id=sourcepulse.html")
