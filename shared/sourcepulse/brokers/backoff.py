# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How long to wait before the next attempt after failures."""

from __future__ import annotations

#: No wait grows this far; more than about a thousand doublings would overflow a float.
_DOUBLINGS_MOST = 30


def backoff_seconds(failures: int, *, first: float, most: float) -> float:
    """Return the wait after a failure: `first`, doubled for each of the `failures` before it, at most `most`."""
    return min(most, first * 2.0 ** min(failures, _DOUBLINGS_MOST))
