# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep Python's cycle collector from walking the whole heap of a master while a large report is stored.

One walk stops all threads, including the reactor, for about a tenth of a second, and the many objects of a report
cause one walk after another. Existing objects are set aside for a while; nothing is lost or leaked, but their cycles
are collected later.
"""

from __future__ import annotations

import gc
from typing import Any

#: A smaller report does not cause a walk.
LARGE_BYTES = 1024 * 1024
#: Long enough to store and to publish the largest report.
ASIDE_SECONDS = 180.0


def set_heap_aside(reactor: Any, report_bytes: int) -> None:
    """Set the existing objects aside if the report is large."""
    if report_bytes >= LARGE_BYTES:
        # The first timer also brings back what a second report set aside since; that costs one walk.
        gc.freeze()
        reactor.callLater(ASIDE_SECONDS, gc.unfreeze)
