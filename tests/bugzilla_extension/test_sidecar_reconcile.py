# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What Bugzilla recorded without an event is published once; what was published in any form is not published again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import OutboxWriteError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse_bugzilla.errors import DrainerError
from sourcepulse_bugzilla.history.marks import Marks, MarksFile
from sourcepulse_bugzilla.lifecycle.session import Session, Work, open_session
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.perl.requests import command_for
from support.bugzilla.rows import (
    ACTIVITY,
    ATTACHMENT,
    BUG_ID,
    CHANGES,
    RESTRICTED_SOURCE,
    SITE,
    SOURCE,
    attachment_update,
    bug_create,
    bug_update,
    comment,
    flag,
    row,
)
from support.bugzilla.standin import StandIn
from support.events.outbox_contents import stored_events
from support.in_process import run_command


@pytest.fixture
def bugzilla(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "bugzilla")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@contextmanager
def session(bugzilla: StandIn, outbox: Path) -> Iterator[Session]:
    work = Work(command_for(bugzilla.folder), bugzilla.folder, outbox, 256 * 1024)
    with Stop() as stop, open_session(work, stop, ServiceManager({})) as opened:
        opened.drainer.lock()
        yield opened


def compare(bugzilla: StandIn, outbox: Path) -> int:
    """Set the marks if there are none, then compare once and return how many new events were published."""
    with session(bugzilla, outbox) as opened:
        if opened.marks_file.read() is None:
            opened.reconcile()
        return opened.reconcile().published


def again(bugzilla: StandIn, outbox: Path) -> int:
    """Compare from the beginning, as after a restored backup of the marks."""
    MarksFile(outbox, SITE).write(Marks({"page": 0}, 0))
    return compare(bugzilla, outbox)


def recovered(kind: str, public: Any = None, restricted: Any = None, *, activities: list[int], **payload: Any) -> Any:
    """Return a row of a page; its activity is the last of those that it stands for."""
    last = activities[-1] if activities else None
    found = row(kind, public, restricted, number=None, activity=last, transaction=None, recovered=True, **payload)
    return found | {"activities": activities}


def names(outbox: Path) -> list[str]:
    return [event.type.removeprefix("bugzilla.").removesuffix(".v1") for event in stored_events(outbox)]


def test_the_first_time_only_sets_the_marks(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.say("pages.json", [[recovered("bug.update", bug_update(changes=CHANGES), activities=[5])]])
    with session(bugzilla, outbox) as opened:
        assert opened.reconcile().rows == 0
        kept = opened.marks_file.read()
        assert kept == Marks({"page": 0}, 0)
        assert opened.marks_file.path.stat().st_mode & 0o777 == 0o600
        assert opened.marks_file.path.parent == outbox.parent
    assert names(outbox) == []


def test_updates_without_an_event_are_published_once_as_recovered(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.say(
        "pages.json",
        [
            [recovered("bug.update", bug_update(changes=CHANGES), activities=[5, 6])],
            [recovered("bug.update", bug_update(comments=[comment(9)]), activities=[])],
        ],
    )
    assert compare(bugzilla, outbox) == 2
    assert [event.data["recovered"] for event in stored_events(outbox)] == [True, True]
    assert [event.data["change_set"] for event in stored_events(outbox)] == [None, None]
    assert again(bugzilla, outbox) == 0
    assert names(outbox) == ["bug.changed", "comment.created"]


def stored_in_second(bugzilla: StandIn, outbox: Path, live: Any, found: tuple[str, Any]) -> list[str]:
    """Store the events of a live row, put another of its second into the history, and return the former."""
    kind, view = found
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        bugzilla.add(live)
        opened.drain()
    bugzilla.say("pages.json", [[recovered(kind, view, activities=[ACTIVITY - 1, ACTIVITY, ACTIVITY + 1])]])
    return names(outbox)


@pytest.mark.parametrize(
    ("live", "found"),
    [
        # One update of the history was two in life, or the other way round.
        (row("bug.update", bug_update(changes=CHANGES)), ("bug.update", bug_update(changes=CHANGES))),
        (
            row("bug.update", {"place": ["a", "b"], "old_place": ["a", "b"], "transition": "hidden", "id": BUG_ID}),
            ("bug.update", bug_update(changes=CHANGES)),
        ),
        (row("bug.update", bug_update(transition="published")), ("bug.update", bug_update(changes=CHANGES))),
        (
            row("attachment.update", {"place": ["a", "b"], "transition": "hidden", "id": 55, "bug_id": BUG_ID}),
            ("attachment.update", attachment_update(changes=CHANGES)),
        ),
    ],
)
def test_an_update_that_was_published_in_any_form_is_not_published_again(
    bugzilla: StandIn, outbox: Path, live: Any, found: tuple[str, Any]
) -> None:
    before = stored_in_second(bugzilla, outbox, live, found)
    assert compare(bugzilla, outbox) == 0
    assert names(outbox) == before != []


@pytest.mark.parametrize(
    ("live", "found"),
    [
        (
            row("attachment.update", attachment_update(changes=CHANGES)),
            ("attachment.update", attachment_update(transition="published")),
        ),
        (
            row("bug.update", bug_update(comments_hidden=[3])),
            ("bug.update", bug_update(comments_published=[comment(3)])),
        ),
        (
            row("bug.update", bug_update(comments_published=[comment(3)])),
            ("bug.update", bug_update(comments_hidden=[3])),
        ),
        (
            row("attachment.update", attachment_update(transition="published")),
            ("attachment.update", {"place": ["a", "b"], "transition": "hidden", "id": 55, "bug_id": BUG_ID}),
        ),
    ],
)
def test_what_another_update_in_the_same_second_hid_or_made_public_is_published(
    bugzilla: StandIn, outbox: Path, live: Any, found: tuple[str, Any]
) -> None:
    before = stored_in_second(bugzilla, outbox, live, found)
    assert compare(bugzilla, outbox) == 1 == len(names(outbox)) - len(before)
    assert again(bugzilla, outbox) == 0


def test_an_update_that_is_in_the_restricted_stream_is_not_published_again(bugzilla: StandIn, outbox: Path) -> None:
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        bugzilla.add(row("bug.update", None, bug_update(changes=CHANGES)))
        opened.drain()
    bugzilla.say("pages.json", [[recovered("bug.update", bug_update(changes=CHANGES), activities=[ACTIVITY])]])
    assert compare(bugzilla, outbox) == 0
    assert [event.source for event in stored_events(outbox)] == [RESTRICTED_SOURCE]


def test_what_was_created_is_known_by_its_own_id(bugzilla: StandIn, outbox: Path) -> None:
    attached = {"place": ["a", "b"], "who": comment()["creator"], "attachment": ATTACHMENT}
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        bugzilla.add(
            row("bug.create", bug_create(comments=[comment(1, count=0)])),
            row("attachment.create", attached),
            row("bug.update", bug_update(changes=CHANGES, comments=[comment(2)])),
        )
        opened.drain()
    before = names(outbox)
    bugzilla.say(
        "pages.json",
        [
            [
                recovered("bug.create", bug_create(), activities=[]),
                recovered("attachment.create", attached, activities=[]),
                recovered("bug.update", bug_update(comments=[comment(1)]), activities=[]),
                recovered("bug.update", bug_update(comments=[comment(2)]), activities=[]),
                # The update was published, but this comment came without a row.
                recovered("bug.update", bug_update(changes=CHANGES, comments=[comment(3)]), activities=[ACTIVITY]),
            ]
        ],
    )
    assert compare(bugzilla, outbox) == 1
    assert names(outbox) == [*before, "comment.created"]


@pytest.mark.parametrize("stream", [0, 1])
def test_a_comment_that_another_update_in_the_same_second_made_public_is_published(
    bugzilla: StandIn, outbox: Path, stream: int
) -> None:
    views: list[Any] = [None, None]
    views[stream] = bug_update(changes=CHANGES)
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        bugzilla.add(row("bug.update", *views))
        opened.drain()
    before = names(outbox)
    found = bug_update(changes=CHANGES, comments_published=[comment(3)])
    bugzilla.say("pages.json", [[recovered("bug.update", found, activities=[ACTIVITY - 1, ACTIVITY])]])
    assert compare(bugzilla, outbox) == 1
    assert names(outbox) == [*before, "comment.published"]
    assert again(bugzilla, outbox) == 0


def test_pending_rows_are_stored_before_a_page_is_compared(bugzilla: StandIn, outbox: Path) -> None:
    bugzilla.say("pages.json", [[recovered("bug.update", bug_update(changes=CHANGES), activities=[ACTIVITY])]])
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        # Written after the last look at the table, as by another process.
        bugzilla.add(*[row("bug.update", bug_update(comments=[comment(n)])) for n in range(250)])
        bugzilla.add(row("bug.update", bug_update(changes=CHANGES)))
        assert opened.reconcile().published == 0
    assert [event.data["recovered"] for event in stored_events(outbox) if "changed" in event.type] == [False]


def test_a_row_of_the_history_that_cannot_be_published_is_skipped(
    bugzilla: StandIn, outbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = recovered("bug.update", bug_update(flags=[{"flag": flag(), "status": "S3CRET"}]), activities=[1])
    good = recovered("bug.update", bug_update(changes=CHANGES), activities=[2])
    bugzilla.say("pages.json", [[bad, good]])
    assert compare(bugzilla, outbox) == 1
    sentence = "no events could be made of it: KeyError (attachments_flags_comments.py, line "
    assert f"cannot be published: {sentence}" in caplog.text
    assert "S3CRET" not in caplog.text


@pytest.mark.parametrize("fault", ["recover kill", "recover database", "ack kill"])
def test_a_comparison_that_broke_off_goes_on_where_it_was(bugzilla: StandIn, outbox: Path, fault: str) -> None:
    pages = [[recovered("bug.update", bug_update(changes=CHANGES), activities=[n])] for n in (1, 2, 3)]
    bugzilla.say("pages.json", pages)
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        bugzilla.add(row("bug.update", bug_update(comments=[comment()])))
        bugzilla.say("fault", fault)
        with pytest.raises(DrainerError):
            opened.reconcile()
    assert compare(bugzilla, outbox) == 3
    assert sorted(names(outbox)) == ["bug.changed"] * 3 + ["comment.created"]
    assert again(bugzilla, outbox) == 0


def test_it_ends_between_pages_on_request(bugzilla: StandIn, outbox: Path) -> None:
    pages = [[recovered("bug.update", bug_update(changes=CHANGES), activities=[n])] for n in (1, 2, 3)]
    bugzilla.say("pages.json", pages)
    work = Work(command_for(bugzilla.folder), bugzilla.folder, outbox, 256 * 1024)
    with Stop() as stop, open_session(work, stop, ServiceManager({})) as opened:
        opened.drainer.lock()
        opened.reconcile()
        stop.set()
        assert opened.reconcile().more
    assert names(outbox) == []
    assert compare(bugzilla, outbox) == 3


def test_changes_that_bugzilla_missed_are_noticed_once_and_forgotten(bugzilla: StandIn, outbox: Path) -> None:
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        for missed in (2, 2, 1):
            assert not opened.has_missed(opened.drainer.stats().missed)
            bugzilla.say("missed", str(missed))
            assert opened.has_missed(opened.drainer.stats().missed)
            opened.reconcile()
            assert opened.drainer.stats().missed == 0


def test_a_list_of_missed_changes_that_cannot_be_shortened_is_not_looked_into_for_ever(
    bugzilla: StandIn, outbox: Path
) -> None:
    bugzilla.say("missed.kept", "")
    bugzilla.say("missed", "2")
    with session(bugzilla, outbox) as opened:
        opened.reconcile()
        opened.reconcile()
        assert not opened.has_missed(opened.drainer.stats().missed)
        bugzilla.say("missed", "3")
        assert opened.has_missed(opened.drainer.stats().missed)
        opened.reconcile()
        assert not opened.has_missed(opened.drainer.stats().missed)
        # Emptied by hand, and then filled again.
        assert not opened.has_missed(0)
        assert opened.has_missed(3)


def test_marks_that_cannot_be_read_are_logged_and_begin_from_scratch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = MarksFile(tmp_path / "outbox.db", SITE)
    assert file.read() is None
    assert caplog.text == ""
    for text in ("", "{", "[]", '{"marks": 1, "missed": 1}', '{"marks": {}}', "\xff"):
        file.path.write_bytes(text.encode("latin-1"))
        assert file.read() is None
    assert caplog.text.count("cannot be read") == 6
    file.write(Marks({"bug": 7}, 1))
    assert file.read() == Marks({"bug": 7}, 1)
    assert os.listdir(tmp_path) == [file.path.name]


def test_marks_that_cannot_be_written_leave_the_old_ones(tmp_path: Path) -> None:
    file = MarksFile(tmp_path / "outbox.db", SITE)
    file.write(Marks({"bug": 7}, 1))
    file.path.with_name(file.path.name + ".part").mkdir()
    with pytest.raises(OutboxWriteError, match="the marks cannot be written"):
        file.write(Marks({"bug": 8}, 1))
    assert file.read() == Marks({"bug": 7}, 1)


def test_a_link_in_place_of_the_marks_is_not_followed(tmp_path: Path) -> None:
    file = MarksFile(tmp_path / "outbox.db", SITE)
    target = tmp_path / "target"
    target.write_text(json.dumps({"marks": {"bug": 1}, "missed": 0}))
    file.path.symlink_to(target)
    assert file.read() is None
    file.write(Marks({"bug": 2}, 0))
    assert json.loads(target.read_text())["marks"] == {"bug": 1}
    assert not file.path.is_symlink()


def test_every_source_has_its_own_numbers(bugzilla: StandIn, outbox: Path) -> None:
    view = bug_update(changes=CHANGES)
    bugzilla.say("pages.json", [[recovered("bug.update", view, view, activities=[3])]])
    assert compare(bugzilla, outbox) == 2
    with Outbox.open(outbox) as opened:
        found = [(one["source"], one["sequence"]) for one in rows(opened, Selection())]
    assert found == [(SOURCE, 1), (RESTRICTED_SOURCE, 1)]


def test_an_outbox_that_is_restored_with_its_marks_is_filled_again_from_the_history(
    bugzilla: StandIn, outbox: Path, tmp_path: Path
) -> None:
    found = recovered("bug.update", bug_update(changes=CHANGES), activities=[5])
    bugzilla.say("pages.json", [[found]])
    MarksFile(outbox, SITE).write(Marks({"page": 0}, 0))
    Outbox.open(outbox).close()
    kept = tmp_path / "backup.db"
    assert run_command("outbox", "backup", str(kept), "--outbox", str(outbox)).returncode == 0
    assert compare(bugzilla, outbox) == 1
    published = stored_events(outbox)
    assert run_command("outbox", "restore", str(kept), "--apply", "--outbox", str(outbox)).returncode == 0
    assert stored_events(outbox) == []
    assert compare(bugzilla, outbox) == 1
    assert [event.id for event in stored_events(outbox)] == [event.id for event in published]
