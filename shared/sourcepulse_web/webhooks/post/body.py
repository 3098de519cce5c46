# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The body of a POST: the event as structured CloudEvents JSON, whichever envelope the log has it in."""

from __future__ import annotations

import re

from sourcepulse.events.wire import CONTENT_TYPE, decode, encode

POST_CONTENT_TYPE = f"{CONTENT_TYPE}; charset=utf-8"
#: The beginning of what `wire.encode` writes.
_STRUCTURED = re.compile(rb'\s*\{\s*"specversion"')


def cloudevent_of(body: bytes, routing_key: str) -> bytes:
    """Return a message of the log as a CloudEvent: its own bytes, or a classic Pulse message written again.

    DecodeError if a message in another form is not an event. The bytes of an event are the same at each call, because
    they are what is signed.
    """
    if _STRUCTURED.match(body):
        return body
    return encode(decode(body, routing_key=routing_key))
