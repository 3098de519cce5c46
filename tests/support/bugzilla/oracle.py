# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What must, and what must never, be published of a Bugzilla, computed from its tables alone."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sourcepulse.events.event import Event, event_id
from support.bugzilla.tree import BugzillaTree
from support.events.outbox_contents import stored_events

RESTRICTED = "?restricted"
_WORD = re.compile(r"TOKEN\w+")
#: Groups change what may be seen; a bug that never had a line of this was always what it is.
_GROUPS = "bug_group"


def events_by_stream(outbox: Path) -> tuple[list[Event], list[Event]]:
    """Return all events of an outbox, the public and the restricted ones, checked by their schemas."""
    events = stored_events(outbox)
    return (
        [event for event in events if not event.source.endswith(RESTRICTED)],
        [event for event in events if event.source.endswith(RESTRICTED)],
    )


def words_of(event: Event) -> set[str]:
    """Return the words in an event that the steps have made up."""
    return set(_WORD.findall(json.dumps(dict(event.data))))


def assert_nothing_leaked(tree: BugzillaTree, public: Sequence[Event]) -> None:
    """Check that the public events hold only what a visitor could see at some moment."""
    seen = tree.seen()
    for event in public:
        assert words_of(event) <= seen, (event.type, event.subject, words_of(event) - seen)
        for number in _numbers_of_bugs(event):
            assert number < tree.first_bug or f"bug:{number}" in seen, (event.type, event.subject, number)


def assert_nothing_invented(tree: BugzillaTree, events: Sequence[Event]) -> None:
    """Check that no event is about what was rolled back, and none is there twice."""
    for event in events:
        assert not any(word.endswith("never") for word in words_of(event)), (event.type, event.subject)
    assert Counter(event.id for event in events).most_common(1)[0][1] == 1 if events else True


def assert_complete(
    facts: Mapping[str, Any], public: Sequence[Event], restricted: Sequence[Event], secret: str
) -> None:
    """Check that the restricted stream has all that stands in the tables, and the public one what was always public.

    `secret` is that of the site, which is in the ids.
    """
    assert facts["missed"] == 0
    if not facts["bugs"]:
        return
    source = restricted[0].source
    ids = {event.id for event in restricted}
    missing = [what for what in _created(facts) if event_id(source, *what, secret) not in ids]
    assert not missing, f"{len(missing)} are missing, the first is {missing[0]}"

    ever_grouped = {line["bug_id"] for line in facts["history"] if line["name"] == _GROUPS} | set(facts["in_groups"])
    toggled = {line["comment_id"] for line in facts["history"] if line["name"] == "longdescs.isprivate"}
    toggled_files = {line["attach_id"] for line in facts["history"] if line["name"] == "attachments.isprivate"}
    always = {
        "bugs": [row for row in facts["bugs"] if row["bug_id"] not in ever_grouped],
        "comments": [
            row
            for row in facts["comments"]
            if row["bug_id"] not in ever_grouped and not row["isprivate"] and row["comment_id"] not in toggled
        ],
        "attachments": [
            row
            for row in facts["attachments"]
            if row["bug_id"] not in ever_grouped and not row["isprivate"] and row["attach_id"] not in toggled_files
        ],
    }
    public_source = source.removesuffix(RESTRICTED)
    public_ids = {event.id for event in public}
    missing = [what for what in _created(always) if event_id(public_source, *what, secret) not in public_ids]
    assert not missing, f"{len(missing)} public ones are missing, the first is {missing[0]}"

    changed = [event for event in restricted if event.type == "bugzilla.bug.changed.v1"]
    by_bug = Counter(event.data["bug"]["id"] for event in changed)
    for (bug_id, at), lines in sorted(_updates(facts).items()):
        keys = [(str(bug_id), str(line), str(at), secret) for line in lines]
        known = {event_id(source, "bugzilla.bug.changed.v1", *key) for key in keys}
        assert known & ids, f"bug {bug_id} was changed at {at}, which is not published ({by_bug[bug_id]} changes are)"


def assert_events_stand_for_something(facts: Mapping[str, Any], restricted: Sequence[Event]) -> None:
    """Check that each event that something was made names what is there, if its bug is there."""
    bugs = {row["bug_id"] for row in facts["bugs"]}
    comments = {row["comment_id"] for row in facts["comments"]}
    files = {row["attach_id"] for row in facts["attachments"]}
    deleted = {event.data["id"] for event in restricted if event.type == "bugzilla.bug.deleted.v1"}
    for event in restricted:
        bug_id = bug_of(event)
        if bug_id is None or bug_id in deleted:
            continue
        assert bug_id in bugs, (event.type, bug_id)
        if event.type == "bugzilla.comment.created.v1":
            assert event.data["comment"]["id"] in comments, event.type
        if event.type == "bugzilla.attachment.created.v1":
            assert event.data["attachment"]["id"] in files, event.type


def bug_of(event: Event) -> int | None:
    """Return the number of the bug that an event is about; None if it is about a product or the like, or unnamed."""
    kind, _, number = (event.subject or "").partition("/")
    return int(number) if kind == "bug" else None


def assert_no_secret(secret: str, events: Sequence[Event]) -> None:
    """Check that no event holds the secret of the site."""
    assert len(secret) >= 32
    for event in events:
        assert secret not in repr(event), event.type


def _created(facts: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for row in facts["bugs"]:
        yield "bugzilla.bug.created.v1", str(row["bug_id"]), str(row["at"])
    for row in facts["comments"]:
        yield "bugzilla.comment.created.v1", str(row["comment_id"]), str(row["at"])
    for row in facts["attachments"]:
        yield "bugzilla.attachment.created.v1", str(row["attach_id"]), str(row["at"])


def _updates(facts: Mapping[str, Any]) -> Mapping[tuple[int, int], list[int]]:
    """Return the lines of the history of each update of a bug; updates of one second are one here."""
    updates = defaultdict(list)
    for line in facts["history"]:
        if line["attach_id"] is None and line["name"] != "longdescs.isprivate":
            updates[line["bug_id"], line["at"]].append(line["id"])
    return updates


def _numbers_of_bugs(event: Event) -> Iterator[int]:
    bug = event.data.get("bug")
    if isinstance(bug, Mapping):
        yield from [bug["id"], *bug["depends_on"], *bug["blocks"], *filter(None, [bug["dupe_of"], bug.get("cf_bug")])]
    for change in event.data.get("changes", ()):
        if change["field_name"] in ("depends_on", "blocks", "dupe_of", "cf_bug"):
            for value in (change["removed"], change["added"]):
                yield from value if isinstance(value, (list, tuple)) else filter(None, [value])
    comment = event.data.get("comment")
    if isinstance(comment, Mapping) and comment["dupe_bug_id"] is not None:
        yield comment["dupe_bug_id"]
