# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What Bugzilla must say of an event's bug, and of all that the event names, before it may be published."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourcepulse.errors import VisibilityUnknownError
from sourcepulse.outbox import Claimed, Outbox
from sourcepulse.serialize import encode
from sourcepulse_bugzilla.drainer import SCRIPT, Visible
from sourcepulse_bugzilla.emitter import Emitter
from sourcepulse_bugzilla.folders import known_folders, remember_folder
from sourcepulse_bugzilla.mentions import Needs, needs_of
from sourcepulse_bugzilla.row_events import events_of
from sourcepulse_bugzilla.rows import read_row
from sourcepulse_bugzilla.visibility import Check, open_check
from support.bugzilla_rows import (
    ATTACHMENT,
    BUG,
    BUG_ID,
    CHANGES,
    SOURCE,
    attachment_update,
    bug_create,
    bug_update,
    changed,
    comment,
    flag,
    row,
    rows,
)
from support.bugzilla_standin import StandIn

OTHER_SITE = "11111111-2222-4333-8444-555555555555"
PLACE = {"place": ["a", "b"]}


def claimed(*raws: Any, source: str = SOURCE) -> list[Claimed]:
    """Give the public events of rows as the relay holds them."""
    events = [event for raw in raws for event in events_of(read_row(raw), Emitter(source))]
    return [
        Claimed(
            position=place,
            id=event.id,
            source=event.source,
            type=event.type,
            time=event.time,
            routing_key=event.routing_key,
            body=encode(event),
        )
        for place, event in enumerate(events)
        if event.stream == "public"
    ]


def needs(raw: Any, **hello: Any) -> Needs | None:
    (event,) = claimed(raw)
    return needs_of(event.type, json.loads(event.body)["data"], **hello)


def wants(bugs: Any = (), comments: Any = (), attachments: Any = (), gone: Any = ()) -> Needs:
    return Needs(frozenset(bugs), frozenset(comments), frozenset(attachments), frozenset(gone))


LINKED = changed(BUG, depends_on=[1, 2], blocks=[3], dupe_of=4)


@pytest.mark.parametrize(
    ("raw", "needed"),
    [
        (row("bug.create", bug_create(bug=LINKED)), wants([BUG_ID, 1, 2, 3, 4])),
        (row("bug.update", bug_update(transition="published", bug=LINKED)), wants([BUG_ID, 1, 2, 3, 4])),
        (
            row(
                "bug.update",
                bug_update(
                    bug=changed(BUG, blocks=[]),
                    changes=[
                        {"field_name": "blocks", "removed": [5], "added": [6]},
                        {"field_name": "depends_on", "removed": [], "added": [7]},
                        {"field_name": "dupe_of", "removed": None, "added": 8},
                        {"field_name": "cf_size", "removed": 9, "added": 10},
                    ],
                ),
            ),
            wants([BUG_ID, 5, 6, 7, 8]),
        ),
        (
            row("bug.update", {**PLACE, "old_place": ["a", "b"], "transition": "hidden", "id": BUG_ID}),
            wants(),
        ),
        (row("bug.delete", {**PLACE, "id": BUG_ID, "creation_time": BUG["creation_time"]}), wants(gone=[BUG_ID])),
        (row("bug.update", bug_update(comments=[comment(5)])), wants([BUG_ID], [5])),
        (row("bug.update", bug_update(comments=[comment(5, attachment_id=6)])), wants([BUG_ID], [5], [6])),
        (row("bug.update", bug_update(comments_published=[comment(5)])), wants([BUG_ID], [5])),
        (row("bug.update", bug_update(comments_hidden=[5])), wants([BUG_ID])),
        (row("bug.update", bug_update(flags=[{"flag": flag(), "status": "?"}])), wants([BUG_ID])),
        (
            row("attachment.create", {**PLACE, "who": BUG["creator"], "attachment": ATTACHMENT}),
            wants([BUG_ID], attachments=[55]),
        ),
        (row("attachment.update", attachment_update(transition="published")), wants([BUG_ID], attachments=[55])),
        (
            row("attachment.update", attachment_update(flags=[{"flag": flag(), "status": "+"}])),
            wants([BUG_ID], attachments=[55]),
        ),
        (
            row("attachment.update", {**PLACE, "transition": "hidden", "id": 55, "bug_id": BUG_ID}),
            wants([BUG_ID]),
        ),
    ],
)
def test_an_event_needs_its_bug_and_all_that_it_names(raw: Any, needed: Needs) -> None:
    assert needs(raw) == needed


def test_fields_and_urls_that_name_bugs_of_this_bugzilla_count_when_it_says_which() -> None:
    bug = changed(
        BUG,
        blocks=[],
        cf_parent=20,
        cf_size=21,
        see_also=["https://b.example/show_bug.cgi?id=22", "https://x.example/show_bug.cgi?id=23"],
    )
    changes = [
        {"field_name": "cf_parent", "removed": 24, "added": 20},
        {"field_name": "see_also", "removed": ["https://b.example/show_bug.cgi?a=1&id=25"], "added": []},
        {"field_name": "see_also", "removed": [], "added": ["https://b.example/ticket/26"]},
    ]
    raw = row("bug.update", bug_update(bug=bug, changes=changes))
    assert needs(raw) == wants([BUG_ID])
    assert needs(raw, bug_fields=["cf_parent"], urlbase="https://b.example/") == wants([BUG_ID, 20, 22, 24, 25])


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("bugzilla.bug.changed.v1", {}),
        ("bugzilla.bug.changed.v1", {"bug": {"id": "1"}}),
        ("bugzilla.bug.changed.v1", {"bug": BUG | {"blocks": [None, "5"]}, "changes": []}),
        ("bugzilla.bug.changed.v1", {"bug": BUG, "changes": 7}),
        ("bugzilla.comment.created.v1", {"comment": []}),
        ("bugzilla.user.created.v1", {"id": 1}),
        ("bugzilla.flag", {}),
        ("", {}),
    ],
)
def test_what_cannot_be_judged_is_never_published(type_: str, data: Any) -> None:
    assert needs_of(type_, data) is None


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows(), st.data())
def test_nothing_is_published_if_any_one_thing_that_it_names_is_not_public(raw: Any, data: st.DataObject) -> None:
    for event in claimed(raw):
        found = needs_of(event.type, json.loads(event.body)["data"])
        assert found is not None
        answer = [
            {str(number): "public" for number in found.bugs} | {str(number): "gone" for number in found.gone},
            {str(number): "public" for number in found.comments},
            {str(number): "public" for number in found.attachments},
        ]
        assert found.are_met(Visible(*answer))
        kinds = [kind for kind in answer if kind]
        if kinds:
            kind = data.draw(st.sampled_from(kinds))
            # Small steps: a bug may depend on a thousand others.
            kind[data.draw(st.sampled_from(sorted(kind)[:5]))] = "private"
            assert not found.are_met(Visible(*answer))


# -- asking


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


@pytest.fixture
def outbox(tmp_path: Path, bugzilla: StandIn) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db") as opened:
        remember_folder(opened, bugzilla.folder, "perl")
        yield opened


@pytest.fixture
def check(outbox: Outbox) -> Iterator[Check]:
    with closing(open_check(outbox)) as opened:
        yield opened


ROWS = [
    row("bug.create", bug_create(bug=changed(BUG, blocks=[1200]), comments=[comment(5), comment(6, attachment_id=7)])),
    row("bug.update", {**PLACE, "old_place": ["a", "b"], "transition": "hidden", "id": BUG_ID}),
]


def test_all_events_of_a_batch_are_one_question(bugzilla: StandIn, check: Check) -> None:
    bugzilla.say("visible.json", {
        "bugs": {"1234": "public", "1200": "public"},
        "comments": {"5": "public", "6": "public"},
        "attachments": {"7": "private"},
    })  # fmt: skip
    assert check.ask(claimed(*ROWS)) == [True, True, False, True]
    assert bugzilla.asked() == ["hello", "visible"]
    # Asked again each time, of the same process.
    bugzilla.say("visible.json", {"bugs": {"1234": "public"}, "comments": {"5": "public"}})
    assert check.ask(claimed(*ROWS)) == [False, True, False, True]
    bugzilla.say("visible.json", {"bugs": {"1234": "private"}, "comments": {"5": "public"}})
    assert check.ask(claimed(*ROWS)) == [False, False, False, True]
    assert check.ask([]) == []


def test_only_a_bug_that_is_gone_is_told_to_be_deleted(bugzilla: StandIn, check: Check) -> None:
    deleted = claimed(row("bug.delete", {**PLACE, "id": BUG_ID, "creation_time": BUG["creation_time"]}))
    for state, allowed in (("gone", True), ("private", False), ("public", False)):
        bugzilla.say("visible.json", {"bugs": {"1234": state}})
        assert check.ask(deleted) == [allowed]


def test_bytes_that_are_no_event_are_never_published(check: Check) -> None:
    (event,) = claimed(ROWS[1])
    assert check.ask([event._replace(body=event.body[:-5]), event]) == [False, True]


@pytest.mark.parametrize(
    "fault", ["hello die", "visible die", "visible kill", "visible paused", "visible database", "visible sense"]
)
def test_no_answer_is_no_permission_and_the_next_question_is_answered(
    bugzilla: StandIn, check: Check, fault: str
) -> None:
    bugzilla.say("visible.json", {"bugs": {"1234": "public"}})
    bugzilla.say("fault", fault)
    event = claimed(row("bug.update", bug_update(flags=[{"flag": flag(), "status": "?"}])))
    with pytest.raises(
        VisibilityUnknownError, match="nobody can say now whether the public may see events of bugzilla"
    ):
        check.ask(event)
    assert check.ask(event) == [True]


def test_an_answer_that_leaves_something_out_is_none(bugzilla: StandIn, check: Check) -> None:
    (bugzilla.folder / SCRIPT).write_text(
        (bugzilla.folder / SCRIPT).read_text().replace("foreach @{$request->{$kind}}", "foreach ()")
        .replace("} @{$request->{$kind}}", "} ()")
    )  # fmt: skip
    with pytest.raises(VisibilityUnknownError, match="does not answer all of the question"):
        check.ask(claimed(ROWS[0]))


def test_maintenance_is_no_permission(bugzilla: StandIn, check: Check) -> None:
    bugzilla.say("shutdown", "<html>later</html>")
    with pytest.raises(VisibilityUnknownError, match="paused"):
        check.ask(claimed(*ROWS))


def test_a_bugzilla_that_is_not_known_or_not_there_is_no_permission(
    bugzilla: StandIn, check: Check, outbox: Outbox
) -> None:
    with pytest.raises(VisibilityUnknownError, match="no Bugzilla of this outbox has this id"):
        check.ask(claimed(*ROWS, source=f"bugzilla://{OTHER_SITE}"))
    (bugzilla.folder / SCRIPT).unlink()
    check.close()
    with pytest.raises(VisibilityUnknownError, match="the extension is not in this Bugzilla"):
        check.ask(claimed(*ROWS))
    outbox.forget_origin("bugzilla", str(bugzilla.folder))
    with pytest.raises(VisibilityUnknownError, match="no Bugzilla of this outbox"):
        check.ask(claimed(*ROWS))


@pytest.mark.parametrize("mode", [0o660, 0o602])
def test_an_outbox_that_others_can_write_cannot_have_programs_started(
    bugzilla: StandIn, check: Check, outbox: Outbox, mode: int
) -> None:
    outbox.path.chmod(mode)
    with pytest.raises(VisibilityUnknownError, match="can be written by others; chmod 600"):
        check.ask(claimed(*ROWS))
    assert bugzilla.asked() == ()
    outbox.path.chmod(0o644)
    assert check.ask(claimed(ROWS[1])) == [True]


@pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")
def test_an_outbox_of_another_user_cannot_have_programs_started(
    bugzilla: StandIn, check: Check, outbox: Outbox
) -> None:
    os.chown(outbox.path, 12345, -1)
    with pytest.raises(VisibilityUnknownError, match="run the relay as its owner"):
        check.ask(claimed(*ROWS))
    assert bugzilla.asked() == ()


def test_each_bugzilla_of_an_outbox_is_asked_for_its_own(
    bugzilla: StandIn, check: Check, outbox: Outbox, tmp_path: Path
) -> None:
    other = StandIn(tmp_path / "other", site=OTHER_SITE)
    remember_folder(outbox, other.folder, "perl")
    bugzilla.say("visible.json", {"bugs": {"1234": "public"}})
    other.say("visible.json", {"bugs": {"1234": "private"}})
    raw = row("bug.update", bug_update(flags=[{"flag": flag(), "status": "?"}]))
    events = [*claimed(raw), *claimed(raw, source=f"bugzilla://{OTHER_SITE}"), *claimed(raw)]
    assert check.ask(events) == [True, False, True]


def test_the_same_perl_is_asked_as_by_the_sidecar(outbox: Outbox, bugzilla: StandIn) -> None:
    remember_folder(outbox, bugzilla.folder, "/opt/perl/bin/perl")
    assert known_folders(outbox) == [(bugzilla.folder, "/opt/perl/bin/perl")]


def test_whatever_was_started_ends(bugzilla: StandIn, outbox: Outbox) -> None:
    check = open_check(outbox)
    bugzilla.say("visible.json", {"bugs": {"1234": "public"}})
    check.ask(claimed(row("bug.update", bug_update(changes=CHANGES, bug=changed(BUG, blocks=[])))))
    check.close()
    check.close()
    running = [
        process
        for process in Path("/proc").glob("[0-9]*/cmdline")
        if str(bugzilla.folder).encode() in process.read_bytes()
    ]
    assert running == []
