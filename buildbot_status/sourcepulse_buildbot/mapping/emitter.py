# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What all events of one master have in common: their source and how large they may be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse.events.event import EVENT_MAX_BYTES, Event
from sourcepulse.events.limits import Limits, bound, envelope_bytes
from sourcepulse_buildbot.mapping.redaction import PLAIN, Redactor

#: Members whose values outsiders cannot choose; redacting a short secret must not make them unreadable.
_OURS = frozenset(
    {
        "raw_url",
        "testid",
        "url",
        "claimed_at",
        "complete_at",
        "last_connection",
        "outcome",
        "started_at",
        "submitted_at",
        "when_timestamp",
    }
)
#: The part of a subject that is a name.
_SUBJECT = re.compile(r"((?:builder|worker|master)/)(.*?)(/builds/[0-9]+)?", re.DOTALL)
#: The members of `normalized` in every build event.
NORMALIZED_NAMES = ("tree", "product", "platform", "buildtype", "revision")


class Emitter(NamedTuple):
    """Where events come from, and what they may contain of a build.

    `scope` stands for the source in ids: masters that share a database report the same facts. `normalized` maps each
    member to the properties to try, in this order. `url` is Buildbot's own, with a slash at its end.
    """

    source: str
    scope: str
    url: str
    redactor: Redactor
    properties: frozenset[str] = frozenset()
    normalized: Mapping[str, Sequence[str]] = {}
    max_bytes: int = EVENT_MAX_BYTES

    def page(self, path: str) -> str | None:
        """Return the URL of a page of Buildbot's web interface; None if Buildbot has no URL."""
        return f"{self.url}#/{path}" if self.url else None

    def file(self, path: str) -> str | None:
        """Return the URL of something that Buildbot's web interface serves; None if Buildbot has no URL."""
        return f"{self.url}{path}" if self.url else None


def _subject(redactor: Redactor, subject: str) -> str:
    """Return the subject with secrets removed from the part that users chose."""
    match = _SUBJECT.fullmatch(subject)
    return f"{match[1]}{redactor.text(match[2])}{match[3] or ''}" if match else subject


def make_event(
    emitter: Emitter,
    type_: str,
    members: Mapping[str, Any],
    *,
    key: Sequence[str],
    subject: str,
    time: float,
    words: Sequence[str],
    recovered: bool,
    cut: Mapping[str, int] | None = None,
) -> Event:
    """Make an event of one fact; every text in it is redacted, and long values are cut and marked as cut.

    `key`, `words` and `time` are as in Event.of; `cut` is as in limits.bound. EventError if it cannot be made.
    """
    redactor = emitter.redactor
    subject = _subject(redactor, subject)
    data = {
        name: value if name in _OURS or type(value) in PLAIN else redactor.value(value)
        for name, value in members.items()
    }
    data["recovered"], data["truncated"], data["raw"] = recovered, [], []
    limits = Limits(max_bytes=emitter.max_bytes, envelope_bytes=envelope_bytes(type_, emitter.source, subject))
    return Event.of(
        type_,
        source=emitter.source,
        scope=emitter.scope,
        key=key,
        subject=subject,
        time=time,
        data=bound(data, cut=cut, limits=limits),
        words=[word if word == members.get("outcome") else redactor.text(word) for word in words],
    )
