# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events of a Bugzilla, with just what the log looks at, and a text that must not be found once it is withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse.events.event import Event, Numbers
from sourcepulse.outbox.outbox import WITHHELD_TYPE

SITE = "bugzilla://3f0b7a52-6c1e-4d0b-9a37-1d2f5e8c4b60"


class Site:
    """Makes the events of one source, numbered."""

    def __init__(self, source: str = SITE) -> None:
        self.source = source
        self._count = 0
        self._of_type: dict[str, int] = {}

    def event(self, type_: str, bug: int, data: Mapping[str, Any]) -> Event:
        self._count += 1
        self._of_type[type_] = self._of_type.get(type_, 0) + 1
        return Event.of(
            type_,
            source=self.source,
            key=[str(bug), str(self._count)],
            subject=f"bug/{bug}",
            time=1_795_345_161.0 + self._count,
            data=data,
            words=["Core", "DOM"],
        ).numbered(Numbers(epoch="one", sequence=self._count, typesequence=self._of_type[type_]))

    def changed(self, bug: int, text: str, **members: Any) -> Event:
        changes = [{"field_name": "summary", "removed": f"before {text}", "added": text}]
        return self.event(
            "bugzilla.bug.changed.v1",
            bug,
            {"bug": {"id": bug, "summary": text, **members}, "changes": changes, "truncated": [], "raw": []},
        )

    def comment(self, bug: int, number: int, text: str, *, attachment: int | None = None) -> Event:
        comment = {"id": number, "bug_id": bug, "attachment_id": attachment, "text": text, "dupe_bug_id": None}
        return self.event("bugzilla.comment.created.v1", bug, {"comment": comment})

    def attachment(self, bug: int, number: int, text: str) -> Event:
        attachment = {"id": number, "bug_id": bug, "summary": text, "file_name": text}
        return self.event("bugzilla.attachment.created.v1", bug, {"attachment": attachment})

    def flag(self, bug: int, text: str, *, attachment: int | None) -> Event:
        data = {"bug_id": bug, "attachment_id": attachment, "flag": {"name": text}}
        return self.event("bugzilla.flag.requested.v1", bug, data)

    def bug_hidden(self, bug: int, fact: str = "hidden") -> Event:
        return self.event(f"bugzilla.bug.{fact}.v1", bug, {"id": bug})

    def part_hidden(self, part: str, bug: int, number: int) -> Event:
        return self.event(f"bugzilla.{part}.hidden.v1", bug, {"id": number, "bug_id": bug})


def withheld(event: Event, *, subject: str | None = None) -> Event:
    """Return the stand-in that a relay sends."""
    return event._replace(type=WITHHELD_TYPE, subject=subject, data={"type": event.type})
