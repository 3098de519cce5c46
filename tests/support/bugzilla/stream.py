# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The stream as it was published, judged event by event by what a visitor sees and has seen."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import WITHHELD_TYPE
from support.bugzilla.judge import FACT, Expected, names, numbers, says, text, thing_of, words_of
from support.bugzilla.steps import Params

#: After these a mirror fetches all of the bug.
_FETCHED_AFTER = ("bugzilla.bug.created.v1", "bugzilla.bug.published.v1")


class Sight(NamedTuple):
    """What an anonymous visitor sees at one moment: the numbers of `bugs`, `comments` and `attachments`."""

    visible: Mapping[str, set[int]]
    params: Params
    is_open: bool


class Sent(NamedTuple):
    """An event as it was sent, and as it was stored first if it was withheld."""

    published: int
    event: Event
    stored: Event | None


class PublishedStream:
    """All that was sent; `fault` is called for what should not have been.

    `seen` is what a visitor ever saw, and grows elsewhere; bugs below `first_bug` do not count.
    """

    def __init__(self, first_bug: int, seen: set[str], fault: Callable[[str, str], None]) -> None:
        self._first_bug = first_bug
        self._seen = seen
        self._fault = fault
        self._by_subject: defaultdict[str, list[Sent]] = defaultdict(list)
        #: What the stream shows by now, and what it ever showed, as `comment 7`.
        self._shown: set[str] = set()
        self._ever_shown: set[str] = set()
        #: What it would show if that had not been withheld.
        self._withheld: set[str] = set()
        self._sent_ids: set[str] = set()

    def add(self, sent: Sent, stored: Event, sight: Sight, *, is_replay: bool) -> None:
        """Judge an event that arrived; `stored` is what the outbox had first."""
        if sent.event.subject and not is_replay:
            self._by_subject[sent.event.subject].append(sent)
        self._judge(sent.event, stored, sight)
        self._sent_ids.add(sent.event.id)

    def of(self, subject: str, published: int = 0) -> list[Sent]:
        """Return what was sent of a subject since it was published for the n-th time."""
        return [sent for sent in self._by_subject[subject] if sent.published > published]

    def shows(self, name: str) -> bool:
        """Return whether a consumer believes now that a thing is public."""
        return name in self._shown

    def is_published(self, expected: Expected) -> bool:
        """Return whether something was said, or its bug was named for a mirror to fetch it."""
        part, what = expected.what.split(".")
        subject = f"bug/{expected.bug}" if expected.bug is not None else f"{part}/{expected.id}"
        events = self.of(subject, expected.published)
        if expected.bug is not None:
            if any(sent.stored is not None for sent in events):
                return True
            if any(sent.event.type in _FETCHED_AFTER for sent in events):
                return True
        if what == "linked" and self._is_linked_by_other(expected):
            return True
        return any(says(sent.event, part, what, expected) for sent in events if sent.stored is None)

    def _is_linked_by_other(self, expected: Expected) -> bool:
        """Return whether the bug at the other end was published since, with this one among its links.

        It was hidden when the link was to be published, so its number was left out there.
        """
        field, other = expected.more
        other_end = {"depends_on": "blocks", "blocks": "depends_on"}[field]
        return any(
            sent.event.type in _FETCHED_AFTER and expected.bug in sent.event.data["bug"][other_end]
            for sent in self.of(f"bug/{other}", expected.published)
        )

    def judge_words(self, event: Event) -> None:
        words = words_of(event)
        if words - self._seen:
            self._fault("leak of a word", f"{event.type} {event.subject} {sorted(words - self._seen)} {text(event)}")
        if any(word.endswith("never") for word in words):
            self._fault("what was rolled back", text(event))
        for number in numbers(event.data):
            if number >= self._first_bug and f"bug:{number}" not in self._seen:
                self._fault("leak of a number", f"{number} {text(event)}")

    def _judge(self, event: Event, stored: Event, sight: Sight) -> None:
        """Check what arrived against what a visitor sees at this moment."""
        self.judge_words(event)
        visible, params = sight.visible, sight.params
        fact = FACT.fullmatch(stored.type)
        assert fact, stored.type
        part, what = fact.groups()
        thing = thing_of(part, stored.data)
        if event.type == WITHHELD_TYPE:
            number = int(event.subject.partition("/")[2]) if event.subject else None
            # One that is replayed names what was public when it was withheld.
            if number is not None and f"bug:{number}" not in self._seen:
                self._fault("withheld names a private bug", text(event))
            if what in ("created", "published"):
                self._withheld.add(f"{part} {thing}")
            return
        if not sight.is_open:
            self._fault("sent while the site is closed", text(event))
            return
        if what == "hidden" or stored.type == "bugzilla.bug.deleted.v1":
            if what == "hidden" and not params.sourcepulse_tell_hidden:
                self._fault("hidden was sent though that must not be published", text(event))
            name = f"{part} {thing}"
            # What was created while nothing was published was never an event, and a visitor saw it.
            never_published = name not in self._withheld and f"{part}:{thing}" in self._seen
            # What was sent once says nothing new when it is replayed, whatever was withheld since.
            is_known = name in self._ever_shown or event.id in self._sent_ids
            if not is_known and not never_published:
                self._fault("hidden of what was never shown", text(event))
            self._shown.discard(name)
            return
        bug = int(event.subject.partition("/")[2]) if event.subject and event.subject.startswith("bug/") else None
        if bug is not None and bug not in visible["bugs"]:
            self._fault("sent of a private bug", text(event))
        if part in ("comment", "attachment") and thing not in visible[f"{part}s"]:
            self._fault(f"sent of a private {part}", text(event))
        file = event.data.get("attachment_id")
        if file is not None and file not in visible["attachments"]:
            self._fault("sent of a flag of a private attachment", text(event))
        hidden_numbers = [
            number for number in numbers(event.data) if number >= self._first_bug and number not in visible["bugs"]
        ]
        if hidden_numbers:
            self._fault("sent with the number of a private bug", f"{hidden_numbers} {text(event)}")
        if params.usevisibilitygroups and (named := list(names(event.data))):
            self._fault("sent with names", f"{named} {text(event)}")
        if params.sourcepulse_hidden_fields and "cf_text" in json.dumps(dict(event.data)):
            self._fault("sent with a hidden field", text(event))
        shown = {f"{part} {thing}", *([f"bug {bug}"] if bug is not None else [])}
        self._shown |= shown
        self._ever_shown |= shown
        if what in ("created", "published"):
            self._withheld.discard(f"{part} {thing}")
