# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What administrators do on a real Bugzilla's pages and no hook sees is found in its history, without what was private.

What is secret has SECRET in it. `support.bugzilla.world` says which Bugzilla that is.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import escape

import pytest

from sourcepulse.events.event import Event
from support.bugzilla.world import HOME, Desk, open_desk

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not HOME, reason="BUGZILLA_HOME names no folder of a Bugzilla"),
]

_BEGIN = "use lib qw(. lib local/lib/perl5); use Bugzilla; use Bugzilla::User; "
_NEW_USER = (
    _BEGIN + "my $l = shift; my $u = Bugzilla::User->create({login_name => $l, realname => 'A Guest', cryptpassword => "
    "'Passw0rd-guest', Bugzilla::User->can('check_email') ? (email => $l) : ()}); print $u->id"
)
_PERIODS = (
    _BEGIN
    + "print scalar @{Bugzilla->dbh->selectcol_arrayref(q{SELECT id FROM sourcepulse_private WHERE kind = 'site' "
    "AND since_ts IS NOT NULL AND until_ts IS NOT NULL})}"
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("bugzilla")) as desk:
        yield desk


@contextmanager
def _login_required(desk: Desk) -> Iterator[None]:
    desk.set_params("auth", requirelogin="1")
    try:
        yield
    finally:
        desk.set_params("auth", requirelogin="0")


def _found(desk: Desk) -> list[Event]:
    """Return what is published now, with what the history has."""
    events = desk.published("--reconcile")
    assert "SECRET" not in json.dumps([dict(event.data) for event in events])
    return events


def test_a_user_who_is_deleted_leaves_the_bugs(desk: Desk) -> None:
    desk.set_params("admin", allowuserdeletion="1")
    desk.set_params("bugfields", useqacontact="1")
    name = f"guest{uuid.uuid4().hex[:8]}"
    login = f"{name}@example.org"
    number = int(desk.run_perl("-e", _NEW_USER, login))
    watched = desk.new_bug(cc=[login])
    checked = desk.new_bug(qa_contact=login)
    desk.new_bug(cc=[login], qa_contact=login, groups=[desk.made["group"]], summary="SECRET")
    desk.published()

    page = desk.visitor.fill_in(f"editusers.cgi?action=del&userid={number}", action="delete")
    assert "has been deleted" in page, page[-3000:]
    events = _found(desk)
    assert [event.type for event in events] == ["bugzilla.bug.changed.v1"] * 2
    found = {event.data["bug"]["id"]: event.data["changes"] for event in events}
    assert set(found) == {watched, checked}
    assert [change["field_name"] for change in found[watched]] == ["cc"]
    assert found[watched][0]["removed"] == [{"id": number, "name": name}]
    assert [change["field_name"] for change in found[checked]] == ["qa_contact"]
    assert found[checked][0]["removed"] == {"id": number, "name": name}
    assert {event.data["recovered"] for event in events} == {True}
    assert "example.org" not in json.dumps([dict(event.data) for event in events])


def test_requirelogin_that_is_turned_on_and_off_on_the_page_hides_what_was_done_meanwhile(desk: Desk) -> None:
    bug = desk.new_bug()
    desk.published()
    desk.put(bug, priority="High")
    before = int(desk.run_perl("-e", _PERIODS))

    # No sidecar runs while it is on.
    with _login_required(desk):
        desk.put(bug, summary="SECRET", comment={"body": "SECRET"})
        desk.put(bug, summary="harmless")
        desk.new_bug(summary="SECRET", description="SECRET")

    assert int(desk.run_perl("-e", _PERIODS)) == before + 1
    events = _found(desk)
    # What waited before is of the time before.
    assert [(event.type, event.data["bug"]["id"]) for event in events] == [("bugzilla.bug.changed.v1", bug)]
    assert [change["field_name"] for change in events[0].data["changes"]] == ["priority"]


def test_the_page_alone_records_when_requirelogin_was_on(desk: Desk) -> None:
    before = int(desk.run_perl("-e", _PERIODS))
    for _ in range(2):
        with _login_required(desk):
            pass
    assert int(desk.run_perl("-e", _PERIODS)) == before + 2
    assert desk.published() == []


def test_what_waits_while_requirelogin_is_on_is_not_sent_before_it_is_off(desk: Desk) -> None:
    bug = desk.new_bug()
    gone = desk.new_bug()
    desk.published()
    desk.put(bug, groups={"add": [desk.made["group"]]})
    desk.put(bug, summary="SECRET")
    desk.put(gone, priority="High")
    with _login_required(desk):
        assert desk.published("--reconcile", fails=True) == []
    events = _found(desk)
    assert sorted(event.type for event in events) == ["bugzilla.bug.changed.v1", "bugzilla.bug.hidden.v1"]


def _import(desk: Desk, summary: str) -> None:
    login = escape(desk.made["login"])
    when = "2019-01-02 03:04:05 +0000"
    comments = "".join(
        f'<long_desc isprivate="{int(is_private)}"><who>{login}</who><bug_when>{when}</bug_when>'
        f"<thetext>{text}</thetext></long_desc>"
        for is_private, text in ((False, "imported text"), (True, "SECRET"))
    )
    fields = {
        "bug_id": "12",
        "creation_ts": when,
        "short_desc": summary,
        "delta_ts": when,
        "product": desk.product,
        "component": "One",
        "version": "unspecified",
        "rep_platform": "All",
        "op_sys": "All",
        "bug_status": "CONFIRMED",
        "priority": "---",
        "bug_severity": "normal",
        "target_milestone": "---",
        "reporter": login,
        "assigned_to": login,
    }
    content = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items()) + comments
    head = f'version="1" urlbase="http://other.example.org/" maintainer="m@example.org" exporter="{login}"'
    xml = f'<?xml version="1.0" encoding="UTF-8"?><bugzilla {head}><bug>{content}</bug></bugzilla>'
    desk.run_perl("importxml.pl", text=xml)


def test_an_import_is_found_though_a_group_was_deleted_and_requirelogin_was_on_before(desk: Desk) -> None:
    name = f"g{uuid.uuid4().hex[:8]}"
    desk.visitor.fill_in("editgroups.cgi?action=add", name=name, desc="x")
    link = re.search(rf'action=changeform&amp;group=(\d+)"[^>]*>\s*{name}\s*<', desk.visitor.page("editgroups.cgi"))
    assert link is not None
    page = desk.visitor.fill_in(f"editgroups.cgi?action=del&group={link[1]}", action="delete")
    assert "deleted" in page, page[-3000:]
    with _login_required(desk):
        pass
    _found(desk)

    _import(desk, "an imported bug")
    events = _found(desk)
    types = [event.type for event in events]
    assert types.count("bugzilla.bug.created.v1") == 1, types
    (created,) = [event for event in events if event.type == "bugzilla.bug.created.v1"]
    assert created.data["bug"]["summary"] == "an imported bug"
    texts = [event.data["comment"]["text"] for event in events if event.type == "bugzilla.comment.created.v1"]
    assert "imported text" in texts
    assert any("imported by" in text for text in texts)


def test_an_import_while_requirelogin_is_on_is_not_found_later(desk: Desk) -> None:
    with _login_required(desk):
        _import(desk, "SECRET")
    assert [event.type for event in _found(desk)] == []
