# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The name by which a consumer remembers an event: source and id, and a digest of the content.

Ids are deterministic and public, so a stranger can use one before the genuine event does, from another source or with
other content. The source distinguishes the two events, and the digest reveals the second one.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b

from sourcepulse.errors import EventError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import CONTENT_TYPE, encode

#: Separates fact and digest; neither contains it.
MARK = "~"
_FACT_BYTES = 16
_DIGEST_BYTES = 8


def name_of(event: Event, body: bytes, content_type: str) -> str:
    """Return the name under which an event is remembered, the same for every repeat of the same content.

    A replay is marked as such, and a Pulse message contains the time at which it was sent; neither changes the name.
    """
    fact = blake2b(f"{event.source} {event.id}".encode(), digest_size=_FACT_BYTES)
    if event.replayed or content_type != CONTENT_TYPE:
        # An event that cannot be encoded cannot have been replayed either.
        with suppress(EventError):
            body = encode(event._replace(replayed=False))
    return f"{fact.hexdigest()}{MARK}{blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()}"


def fact_of(name: str) -> str:
    """Return the part of a name that represents source and id."""
    return name.partition(MARK)[0]
