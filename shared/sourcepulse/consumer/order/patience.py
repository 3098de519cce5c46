# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When an overdue event is given up: not while it may still wait at the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sourcepulse.consumer.order.ordering import Ordering


class Patience:
    """Counts the reads since an event was overdue.

    It may be waiting in the connection after a slow handler, or at the broker because the prefetch was used up. It is
    given up only when the broker sends nothing, or a whole prefetch of others.
    """

    def __init__(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self._reads = 0

    def read(self, ordering: Ordering[Any], *, came: bool, full: bool) -> None:
        """Note a read, and make the ordering give up what is overdue."""
        if full or ordering.due_in() != 0.0:
            self._reads = 0
            return
        self._reads += 1
        if not came or self._reads > self._prefetch:
            ordering.give_up()
            self._reads = 0
