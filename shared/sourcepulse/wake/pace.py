# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How often to poll beside the wakes: seldom while they arrive, often where they do not."""

from __future__ import annotations


class Pace:
    """Learns from what the polls find whether the writers send wakes.

    Writers may run an older version, or may not be allowed to write to the socket; then a poll finds work that no wake
    announced.
    """

    def __init__(self) -> None:
        #: Whether wakes announce the work.
        self.is_announced = True
        self._was_woken = True

    def waited(self, *, woken: bool) -> None:
        """Record how the last wait ended."""
        self._was_woken = woken

    def found_work(self) -> None:
        """Record that the look after that wait found work."""
        self.is_announced = self._was_woken
        self._was_woken = True
