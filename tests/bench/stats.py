# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Medians with 95 % intervals, for figures taken in interleaved pairs on a noisy machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
        """Return the median; the interval is that of its order statistics (binomial, no distribution assumed)."""
        ordered = sorted(values)
        half = Z_95 * math.sqrt(len(ordered)) / 2
        low = max(0, math.floor(len(ordered) / 2 - half))
        high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + half))
        return cls(median(ordered), ordered[low], ordered[high])

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class AtLeast:
    """A goal that a median reaches from below."""

    value: float

    def is_met(self, figure: Figure) -> bool:
        """Return whether the median is there."""
        return figure.median >= self.value

    def __str__(self) -> str:
        return f"at least {self.value:g}"


@dataclass(frozen=True)
class AtMost:
    """A goal that a median must not pass."""

    value: float

    def is_met(self, figure: Figure) -> bool:
        """Return whether the median is within."""
        return figure.median <= self.value

    def __str__(self) -> str:
        return f"at most {self.value:g}"


def interleaved(ways: Sequence[Callable[[], float]], rounds: int) -> list[tuple[float, ...]]:
    """Measure each way's figure once a round, forwards and backwards in turn, after one that does not count.

    What else the machine does in a round then falls upon all ways alike, and their ratios stand.
    """
    taken: list[tuple[float, ...]] = []
    for turn in range(rounds + 1):
        figures = {way: way() for way in (ways if turn % 2 else ways[::-1])}
        taken.append(tuple(figures[way] for way in ways))
    return taken[1:]


def row(name: str, figure: Figure, goal: AtLeast | AtMost | None = None) -> None:
    """Print one line of the table."""
    verdict = "" if goal is None else f"{goal!s:14} {'met' if goal.is_met(figure) else 'NOT MET'}"
    print(f"{name:66} {figure!s:30} {verdict}".rstrip(), flush=True)


def head() -> None:
    """Print the line above the table."""
    print(f"{'figure':66} {'median [95 % interval]':30} goal", flush=True)
