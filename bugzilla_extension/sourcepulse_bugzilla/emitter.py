# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What all events of one row in one stream have in common: source, time, change set, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse.bounds import EVENT_MAX_BYTES, Limits, bound, envelope_bytes
from sourcepulse.errors import EventError
from sourcepulse.event import RESTRICTED, Event, event_id
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.links import without_credentials
from sourcepulse_bugzilla.rows import Row

#: What the source of the restricted stream has behind that of the public one.
RESTRICTED_SUFFIX = "?restricted"


class Emitter(NamedTuple):
    """Where events come from, `bugzilla://<site uuid>`, and how large they may be."""

    source: str
    max_bytes: int = EVENT_MAX_BYTES

    def source_of(self, stream: str) -> str:
        """Give the source of a stream: the restricted one has ids and numbers of its own."""
        return self.source + RESTRICTED_SUFFIX if stream == RESTRICTED else self.source


class RowTeller:
    """Makes the events of one row in one stream."""

    def __init__(self, emitter: Emitter, row: Row, stream: str) -> None:
        self.row = row
        self._source = emitter.source_of(stream)
        self._max_bytes = emitter.max_bytes
        self.change_set = None
        if row.first is not None:
            self.change_set = event_id(self._source, "change_set", *map(str, row.first))

    def activity(self) -> list[str]:
        """Give the two elements of a natural key that stand for an update; RowError if nothing is known of it."""
        if self.row.activity is not None:
            return [str(self.row.activity), str(self.row.at)]
        if self.row.id is None:
            raise RowError("it was found in the history without an activity")
        return [f"row {self.row.id}", str(self.row.at)]

    def event(
        self,
        type_: str,
        members: Mapping[str, Any],
        *,
        key: Sequence[str],
        words: Sequence[str],
        cut: Mapping[str, int] | None = None,
    ) -> Event:
        """Make an event with the members that all of them have; what is too long is cut and told.

        RowError if it is too large, whatever is cut.
        """
        common = {"recovered": self.row.recovered, "truncated": [], "raw": []}
        subject = f"bug/{self.row.bug_id}"
        limits = Limits(max_bytes=self._max_bytes, envelope_bytes=envelope_bytes(type_, self._source, subject))
        try:
            data = bound(
                {"change_set": self.change_set, **without_credentials(members), **common}, cut=cut, limits=limits
            )
        except EventError:
            raise RowError(f"no {type_} can be made of it: it is too large, whatever is cut") from None
        return self._event(type_, data, key, words)

    def bare_event(self, type_: str, members: Mapping[str, Any], *, key: Sequence[str], words: Sequence[str]) -> Event:
        """Make an event that has these members and no other."""
        return self._event(type_, members, key, words)

    def _event(self, type_: str, data: Mapping[str, Any], key: Sequence[str], words: Sequence[str]) -> Event:
        try:
            return Event.of(
                type_,
                source=self._source,
                key=key,
                subject=f"bug/{self.row.bug_id}",
                time=self.row.at,
                data=data,
                words=words,
            )
        except EventError:
            raise RowError(f"no {type_} can be made of it: its time or its place cannot be written") from None
