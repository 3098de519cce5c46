# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How often an event may be handed over: one that kills its consumer each time goes to the dead letters.

The consumer counts for itself, because not every broker counts deliveries, and those that do also count events that
were never handed over. It counts redelivered events only, and presumes that their first delivery was handed over.
"""

from __future__ import annotations

from sourcepulse.consumer.memory.state import ConsumerState

#: With a limit of deliveries up to this, the attempts of all events are counted, not only of those redelivered.
SMALL_LIMIT = 2


class Attempts:
    """Counts the attempts of events in the memory; at most `most` are allowed."""

    def __init__(self, state: ConsumerState, most: int) -> None:
        self.counts_all = most <= SMALL_LIMIT
        self._state = state
        self._most = most if self.counts_all else most - 1

    def count(self, name: str) -> bool:
        """Record that an event is about to be handed over; False if it was too often."""
        return self._state.count_attempt(name, self._most)
