# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Medians with 95 % intervals, for figures taken in interleaved pairs on a noisy machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

#: Two-sided 95 % of the standard normal distribution.
Z_95 = 1.959964


@dataclass(frozen=True)
class Figure:
    """A median and the interval that holds the true one with 95 % confidence."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Take the median; the interval is that of its order statistics (binomial, no distribution assumed)."""
        ordered = sorted(values)
        half = Z_95 * math.sqrt(len(ordered)) / 2
        low = max(0, math.floor(len(ordered) / 2 - half))
        high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))
        return cls(median(ordered), ordered[low], ordered[high])

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def row(name: str, figure: Figure, goal: str = "") -> None:
    """Print one line of the table."""
    print(f"{name:58} {figure!s:28} {goal}", flush=True)
