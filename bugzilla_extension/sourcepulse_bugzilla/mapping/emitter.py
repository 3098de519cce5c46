# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What all events of one row in one stream have in common: source, secret, time, change set, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sourcepulse.errors import EventError
from sourcepulse.events.event import EVENT_MAX_BYTES, PUBLIC, RESTRICTED, RESTRICTED_SUFFIX, Event, event_id
from sourcepulse.events.limits import Limits, bound, envelope_bytes
from sourcepulse.events.redaction import redact_urls
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.rows import Row

#: Fields of a bug, and of changes, that are URLs.
_URL_FIELDS = ("url", "see_also")


class Emitter:
    """The source of events, `bugzilla://<site uuid>`, the secret in their ids, and their maximum size."""

    def __init__(self, source: str, secret: str, max_bytes: int = EVENT_MAX_BYTES) -> None:
        self.source = source
        self.max_bytes = max_bytes
        self._secret = secret

    def __repr__(self) -> str:
        return f"Emitter({self.source!r}, max_bytes={self.max_bytes})"

    def source_of(self, stream: str) -> str:
        """Return the source of a stream: the restricted one has ids and sequence numbers of its own."""
        return self.source + RESTRICTED_SUFFIX if stream == RESTRICTED else self.source

    def keyed(self, key: Sequence[str]) -> list[str]:
        """Return a natural key with the secret as its last element.

        Without it, a consumer could try small numbers until an id matches, and count what is private.
        """
        return [*key, self._secret]

    def id_of(self, stream: str, type_: str, *key: str) -> str:
        """Return the id of a fact in a stream."""
        return event_id(self.source_of(stream), type_, *self.keyed(key))


class RowEmitter:
    """Makes the events of one row in one stream."""

    def __init__(self, emitter: Emitter, row: Row, stream: str) -> None:
        self.row = row
        self.is_public = stream == PUBLIC
        self._emitter = emitter
        self._source = emitter.source_of(stream)
        self.change_set = None
        if row.transaction is not None:
            self.change_set = emitter.id_of(stream, "change_set", row.transaction)

    def activity(self) -> list[str]:
        """Return the two elements of a natural key that identify an update; RowError if its activity is unknown."""
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
        subject: str | None = None,
    ) -> Event:
        """Make an event with the members that all of them have; long values are cut and listed in `truncated`.

        Its subject is the bug of the row unless another is passed. RowError if it is too large even after cutting.
        """
        common = {"recovered": self.row.recovered, "truncated": [], "raw": []}
        about = subject or self._bug
        limits = Limits(max_bytes=self._emitter.max_bytes, envelope_bytes=envelope_bytes(type_, self._source, about))
        try:
            data = bound(
                {"change_set": self.change_set, **_without_credentials(members), **common}, cut=cut, limits=limits
            )
        except EventError:
            raise RowError(f"no {type_} can be made of it: it is too large even after cutting") from None
        return self._event(type_, data, key, words, about)

    def bare_event(self, type_: str, members: Mapping[str, Any], *, key: Sequence[str], words: Sequence[str]) -> Event:
        """Make an event that has exactly these members."""
        return self._event(type_, members, key, words, self._bug)

    @property
    def _bug(self) -> str:
        return f"bug/{self.row.bug_id}"

    def _event(
        self, type_: str, data: Mapping[str, Any], key: Sequence[str], words: Sequence[str], subject: str
    ) -> Event:
        try:
            return Event.of(
                type_,
                source=self._source,
                key=self._emitter.keyed(key),
                subject=subject,
                time=self.row.at,
                data=data,
                words=words,
            )
        except EventError:
            raise RowError(f"no {type_} can be made of it: its time or its place cannot be written") from None


def _without_credentials(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an event, the URLs of its bug and of its changes redacted; the text of comments is kept."""
    kept = dict(members)
    if "bug" in kept:
        kept["bug"] = {**kept["bug"], **{name: _redacted(kept["bug"][name]) for name in _URL_FIELDS}}
    if "changes" in kept:
        kept["changes"] = [_of_change(change) for change in kept["changes"]]
    return kept


def _of_change(change: Mapping[str, Any]) -> Mapping[str, Any]:
    if change["field_name"] not in _URL_FIELDS:
        return change
    return {**change, "removed": _redacted(change["removed"]), "added": _redacted(change["added"])}


def _redacted(value: Any) -> Any:
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return redact_urls(value) if isinstance(value, str) else value
