# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The events that all ways carry: about 1 KiB each as they are sent, of one source."""

from __future__ import annotations

import time

from sourcepulse.events.event import PUBLIC, Event
from sourcepulse.outbox.outbox import Outbox

BODY_BYTES = 1024
#: The rest of an event's bytes beside its padding.
ENVELOPE_BYTES = 384
ROUTING_KEY = "hg.push.bench"
#: What others than we send: as many bytes, JSON as well.
PLAIN_BODY = b'{"padding":"%s"}' % (b"x" * (BODY_BYTES - 14))

assert len(PLAIN_BODY) == BODY_BYTES


def sample(number: int) -> Event:
    """Make an event whose id and key say its number."""
    return Event.of(
        "hg.push.v1",
        source="hg://bench/try",
        key=[str(number)],
        subject="try",
        time=time.time(),
        data={"padding": "x" * (BODY_BYTES - ENVELOPE_BYTES)},
        words=["bench"],
    )


def check_size(outbox: Outbox) -> None:
    """Make sure that the event that waits in an outbox has about the promised size."""
    (event,) = outbox.claim(PUBLIC)
    assert abs(len(event.body) - BODY_BYTES) < BODY_BYTES / 20, len(event.body)
