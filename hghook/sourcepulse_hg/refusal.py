# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Refuse a push so that its pusher learns why, over each protocol, however long the reason is and of whatever bytes.

Mercurial's reply to a push holds the message and the hint of an abort in parameters of one length byte each; a longer
one breaks the reply itself. So both are cut, and what was cut goes before them as lines of their own (`remote: ...`).
"""

from __future__ import annotations

import re
from typing import Any

from mercurial import error

#: What a parameter of bundle2 holds.
PARAMETER_MAX_BYTES = 255
_CUT = b"..."
#: Whoever reads it has a terminal, which must not obey a reason.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


def refusal(ui: Any, message: str, hint: str) -> error.Abort:
    """Return the abort to raise, after its full reason is written where the pusher sees it if that does not fit."""
    message, hint = (_CONTROL.sub("?", text) for text in (message, hint))
    short, short_hint = cut(" ".join(message.split())), cut(" ".join(hint.split()))
    if short.endswith(_CUT) or short_hint.endswith(_CUT):
        for line in (*message.splitlines(), *hint.splitlines()):
            ui.warn(line.encode("utf-8", "replace") + b"\n")
    return error.Abort(short, hint=short_hint)


def cut(text: str) -> bytes:
    """Return as many whole characters as a parameter holds."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= PARAMETER_MAX_BYTES:
        return encoded
    whole = encoded[: PARAMETER_MAX_BYTES - len(_CUT)].decode("utf-8", "ignore")
    return whole.encode() + _CUT
