# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a consumer knows an event by: its source and id, and a digest of what it says.

An id is deterministic and public, so that a stranger can use it before the genuine event does, from another source
or with other content. By the source the two are told apart, by the digest the second is found.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b

from sourcepulse.errors import EventError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import CONTENT_TYPE, encode

#: Stands between the two; neither holds it.
MARK = "~"
_FACT_BYTES = 16
_DIGEST_BYTES = 8


def name_of(event: Event, body: bytes, content_type: str) -> str:
    """Return the name under which an event is remembered, the same for each repeat of the same content.

    A replay is marked, and a message of Pulse tells when it was sent: both are taken as first written.
    """
    fact = blake2b(f"{event.source} {event.id}".encode(), digest_size=_FACT_BYTES)
    if event.replayed or content_type != CONTENT_TYPE:
        # What cannot be written cannot be replayed either.
        with suppress(EventError):
            body = encode(event._replace(replayed=False))
    return f"{fact.hexdigest()}{MARK}{blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()}"


def fact_of(name: str) -> str:
    """Return the part of a name that stands for source and id."""
    return name.partition(MARK)[0]
