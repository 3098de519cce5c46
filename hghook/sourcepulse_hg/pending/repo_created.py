# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publish `hg.repo.created` with a repository's first event, exactly once even if the first attempts fail.

A small file beside the first copies holds a random id, from which the id of the event is derived. Until a first copy
with the event is committed, each one contains it, always with that id, so the outbox recognises a repeat.

The file also has the inode of `.hg`, as a first copy does. A different inode under the same name is a restored backup,
which is not a new repository; under a different name it is a copy, which is.
"""

from __future__ import annotations

import json
import os
from typing import Any

from sourcepulse.events.event import RESTRICTED_SUFFIX, Event
from sourcepulse.events.record import Record
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.pending.first_copy import FOLDER, Identity, ensure_folder, replace_file
from sourcepulse_hg.settings import Settings

CREATED = "hg.repo.created.v1"
NAME = b"repository"

_FORMAT = 1
_ID_BYTES = 16
#: The members that this event shares with the other events of its transaction.
_COMMON = ("repo", "repo_url", "user", "source", "url")
_COMMON_POINTERS = frozenset(f"/{name}" for name in _COMMON)


class Seen(Record):
    """What is known of a repository: its id, the inode of its `.hg`, its source, whether its creation is published."""

    id: str
    inode: int
    source: str
    announced: bool


def with_creation(repo: Any, events: list[Event], settings: Settings, messages: Messages) -> list[Event]:
    """Return the events of a transaction, preceded by `hg.repo.created` if that was never published."""
    if not events:
        return events
    try:
        seen = _see(repo.sharedpath, events[0].source.removesuffix(RESTRICTED_SUFFIX))
    except OSError as failure:
        messages.note(f"the creation of this repository will be published later: {failure}")
        return events
    return events if seen.announced else [creation_event(events[0], seen.id, settings.name), *events]


def has_creation(events: list[Event]) -> bool:
    """Return whether these events begin with `hg.repo.created`."""
    return bool(events) and events[0].type == CREATED


def note_announced(dot_hg: bytes) -> None:
    """Record that the event is committed; raises OSError, and then the next first copy contains it again."""
    seen = _read(dot_hg)
    if seen is not None and not seen.announced:
        _write(dot_hg, seen._replace(announced=True))


def creation_event(like: Event, id_: str, name: bytes) -> Event:
    """Return `hg.repo.created` for a repository of this name, made from another event of the transaction."""
    data: dict[str, Any] = {member: like.data[member] for member in _COMMON}
    data |= {"change_set": None, "recovered": like.data["recovered"], "truncated": []}
    data["raw"] = [note for note in like.data["raw"] if note["field"] in _COMMON_POINTERS]
    words = name.decode("utf-8", "surrogateescape").split("/")
    made = Event.of(CREATED, source=like.source, key=[id_], subject=like.subject, time=0.0, data=data, words=words)
    return made._replace(time=like.time)


def _see(dot_hg: bytes, source: str) -> Seen:
    inode = Identity.of(dot_hg).inode
    known = _read(dot_hg)
    if known is None or (known.inode != inode and known.source != source):
        seen = Seen(os.urandom(_ID_BYTES).hex(), inode, source, announced=False)
    else:
        seen = known._replace(inode=inode, source=source)
    if seen != known:
        _write(dot_hg, seen)
    return seen


def _path(dot_hg: bytes) -> bytes:
    return os.path.join(dot_hg, FOLDER, NAME)


def _read(dot_hg: bytes) -> Seen | None:
    try:
        with open(_path(dot_hg), "rb") as file:
            fields = json.load(file)
        return Seen(str(fields["id"]), int(fields["inode"]), str(fields["source"]), bool(fields["announced"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        # A power failure cut it off; publishing the creation twice is better than never.
        return None


def _write(dot_hg: bytes, seen: Seen) -> None:
    path = _path(dot_hg)
    ensure_folder(os.path.dirname(path), like=dot_hg)
    content = json.dumps({"sourcepulse": _FORMAT, **seen._asdict()}) + "\n"
    replace_file(path, content.encode("ascii"), like=dot_hg)
