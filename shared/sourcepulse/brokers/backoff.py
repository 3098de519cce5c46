# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How long to wait before the next attempt at what failed."""

from __future__ import annotations

#: No wait grows that far, and a float has room for a thousand only.
_DOUBLINGS_MOST = 30


def backoff_seconds(failures: int, *, first: float, most: float) -> float:
    """Return the wait after so many failures in a row before this one: `first`, doubled for each, at most `most`."""
    return min(most, first * 2.0 ** min(failures, _DOUBLINGS_MOST))
