# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep Python's collector of cycles from walking the whole heap of a master while a large report is stored.

One walk stops all threads, the reactor as well, for about a tenth of a second, and the many objects of a report cause
one after the other. What is there before is set aside for a while; nothing in it is lost or leaked, its cycles are
only collected later.
"""

from __future__ import annotations

import gc
from typing import Any

#: A smaller report causes no walk of its own.
LARGE_BYTES = 1024 * 1024
#: Long enough to store and to publish the largest report.
ASIDE_SECONDS = 180.0


def set_heap_aside(reactor: Any, report_bytes: int) -> None:
    """Set aside what is in the heap if the report is large."""
    if report_bytes >= LARGE_BYTES:
        # The first timer brings everything back, also what a second report set aside since: that costs one walk.
        gc.freeze()
        reactor.callLater(ASIDE_SECONDS, gc.unfreeze)
