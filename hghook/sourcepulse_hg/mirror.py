# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Republish the events of the repository that a mirror pulls from, with the same ids, once it has the changesets.

After a pull the mirror reads the last events of the other repository and writes the first copy of those it has not
published. An event that names a changeset which is not here yet waits for the next pull, together with all later
events, unless the other repository has since stripped that changeset or made it obsolete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from mercurial import error

from sourcepulse.errors import DecodeError, SourcePulseError
from sourcepulse.events.event import Event
from sourcepulse.events.record import Record
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import last_events
from sourcepulse_hg.mapping.events import emitter_of
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.pending.first_copy import FOLDER, ensure_folder, replace_file
from sourcepulse_hg.pending.write import HandOver, write_outside_transaction
from sourcepulse_hg.settings import read_settings
from sourcepulse_hg.strip.candidates import STRIPPED

#: The file with the id of the last event that this mirror published.
NAME = b"mirrored"
_FAMILY = "hg."
_NODE = re.compile("[0-9a-f]{40}")
#: Members that name changesets which must be here. `nodes` of a strip is not one: it names removed changesets.
_NODE_MEMBERS = frozenset({"node", "first", "last", "changeset"})


def publish_mirrored(repo: Any, remote: Any) -> None:
    """Publish the events that a pull made publishable; never raises."""
    repo = repo.unfiltered()
    messages = Messages(repo.ui)
    try:
        settings = read_settings(repo)
        if not settings.mirror:
            return
        listed = read_events(remote.listkeys(NAMESPACE))
        if not listed:
            messages.note("the other repository offers no events to mirrors; set 'mirrors = yes' there")
            return
        with repo.lock(wait=False):
            events = _new(repo, listed, emitter_of(settings).source, messages)
            if not events:
                return
            write_outside_transaction(repo, _txnid(events), events)
            _remember(repo.sharedpath, events[-1].id)
    except error.LockError:
        messages.note("another process holds the lock; the next pull publishes the events")
        return
    except Exception as failure:  # noqa: BLE001 - the pull is committed; we must not break it
        messages.warn(f"the pulled events will be published with the next pull: {failure!r}")
        return
    HandOver.of(repo, settings, messages).run()


def _new(repo: Any, listed: list[ListedEvent], source: str, messages: Messages) -> list[Event]:
    last = _last(repo.sharedpath)
    # The other repository may not publish events in the name of a different source.
    events = [each.event for each in listed if each.event.source == source and each.event.type.startswith(_FAMILY)]
    if len(events) < len(listed):
        messages.warn(f"skipped events from {listed[-1].event.source}: 'source' here says {source}")
    ids = [event.id for event in events]
    # If the last published event is not listed, all are written again; the outbox drops repeats by id.
    events = events[ids.index(last) + 1 :] if last in ids else events
    gone = {node for event in events for node in _gone(event)}
    present: list[Event] = []
    for event in events:
        awaited = (node for node in _nodes(event.data) if node not in gone)
        if not all(repo.changelog.hasnode(bytes.fromhex(node)) for node in awaited):
            break
        present.append(event)
    return present


def _gone(event: Event) -> list[str]:
    """Return the changesets that can no longer be pulled."""
    nodes = list(event.data["nodes"]) if event.type == STRIPPED else []
    return nodes + [marker["prednode"] for marker in event.data.get("markers", ())]


def _nodes(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)
    elif isinstance(value, dict):
        for name, member in value.items():
            if isinstance(member, str):
                if name in _NODE_MEMBERS and _NODE.fullmatch(member):
                    yield member
            else:
                yield from _nodes(member)


def _txnid(events: list[Event]) -> str:
    """Return a transaction id for a first copy that no transaction of this repository made."""
    digest = hashlib.sha1(" ".join(event.id for event in events).encode("ascii"), usedforsecurity=False)
    return f"TXN:{digest.hexdigest()}"


def _path(dot_hg: bytes) -> bytes:
    return os.path.join(dot_hg, FOLDER, NAME)


def _last(dot_hg: bytes) -> str | None:
    with suppress(OSError, UnicodeDecodeError), open(_path(dot_hg), encoding="ascii") as file:
        return file.read().strip()
    return None


def _remember(dot_hg: bytes, event_id: str) -> None:
    ensure_folder(os.path.dirname(_path(dot_hg)), like=dot_hg)
    replace_file(_path(dot_hg), f"{event_id}\n".encode("ascii"), like=dot_hg)


NAMESPACE = b"sourcepulse"
#: A mirror that is further behind misses the older events.
LAST_EVENTS = 500
LAST_BYTES = 8 * 1024 * 1024
#: The pulling client waits for this.
LOCK_WAIT_SECONDS = 0.2


class ListedEvent(Record):
    """An event that a repository published, and its position in the outbox there."""

    place: int
    event: Event


def list_events(repo: Any) -> dict[bytes, bytes]:
    """Implement `listkeys` of our namespace: empty unless `mirrors` is set, and never restricted events."""
    settings = read_settings(repo)
    if not settings.mirrors or settings.restricted or not os.path.exists(settings.outbox):
        return {}
    try:
        with Outbox.open(os.fsdecode(settings.outbox), create=False, lock_wait_s=LOCK_WAIT_SECONDS) as outbox:
            found = last_events(outbox, emitter_of(settings).source, limit=LAST_EVENTS, limit_bytes=LAST_BYTES)
    except SourcePulseError as failure:
        Messages(repo.ui).note(f"mirrors cannot read events: {failure}")
        return {}
    return {
        b"%020d" % position: json.dumps([routing_key, json.loads(body)]).encode("ascii")
        for position, routing_key, body in found
    }


def read_events(keys: dict[bytes, bytes]) -> list[ListedEvent]:
    """Return the events of another repository in its order; entries that are not events are skipped."""
    listed = []
    for name, value in sorted(keys.items()):
        try:
            routing_key, document = json.loads(value)
            event = decode(json.dumps(document, ensure_ascii=False).encode(), routing_key=str(routing_key))
            listed.append(ListedEvent(int(name), event._replace(numbers=None, replayed=False)))
        except (ValueError, TypeError, DecodeError):
            continue
    return listed
