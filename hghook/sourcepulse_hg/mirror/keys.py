# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a repository lets its mirrors read: its last events, as keys of Mercurial's own protocol (`listkeys`).

The name of a key orders the events, its value is one event as it is sent, and the routing key. Only ASCII, for
Mercurial may turn texts from one encoding into another on the way.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from sourcepulse.errors import DecodeError, SourcePulseError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import last_events
from sourcepulse_hg.mapping.emitter import emitter_of
from sourcepulse_hg.settings import read_settings
from sourcepulse_hg.tell import Teller

NAMESPACE = b"sourcepulse"
#: A mirror that is further behind misses what came before.
LAST_EVENTS = 500
LAST_BYTES = 8 * 1024 * 1024
#: Whoever pulls waits for it.
LOCK_WAIT_SECONDS = 0.2


class Told(NamedTuple):
    """An event that a repository told, and its place in the order there."""

    place: int
    event: Event


def list_events(repo: Any) -> dict[bytes, bytes]:
    """Be the `listkeys` of our namespace: nothing unless `mirrors` is set, and never what is restricted."""
    settings = read_settings(repo)
    if not settings.mirrors or settings.restricted or not os.path.exists(settings.outbox):
        return {}
    try:
        with Outbox.open(os.fsdecode(settings.outbox), create=False, lock_wait_s=LOCK_WAIT_SECONDS) as outbox:
            found = last_events(outbox, emitter_of(settings).source, limit=LAST_EVENTS, limit_bytes=LAST_BYTES)
    except SourcePulseError as failure:
        Teller(repo.ui).note(f"mirrors get no events: {failure}")
        return {}
    return {
        b"%020d" % position: json.dumps([routing_key, json.loads(body)]).encode("ascii")
        for position, routing_key, body in found
    }


def read_events(keys: dict[bytes, bytes]) -> list[Told]:
    """Give the events of another repository in its order; what is none is left out."""
    told = []
    for name, value in sorted(keys.items()):
        try:
            routing_key, document = json.loads(value)
            event = decode(json.dumps(document, ensure_ascii=False).encode(), routing_key=str(routing_key))
            told.append(Told(int(name), event._replace(numbers=None, replayed=False)))
        except (ValueError, TypeError, DecodeError):
            continue
    return told
