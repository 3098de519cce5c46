# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How fast receivers answer: times are counted in steps, so that a median costs no look at each attempt."""

from __future__ import annotations

import math
from collections.abc import Sequence

HOUR_SECONDS = 3600.0
#: For how many hours it is counted what was delivered.
HOURS = 24
#: The longest time of the first step; each further step is longer by a fifth, so that a median is right to a tenth.
FIRST_STEP_SECONDS = 0.001
STEP_FACTOR = 1.2
STEPS_MAX = 80


def step_of(took_s: float) -> int:
    """Return the step of a time.

    >>> step_of(0.0), step_of(0.05), step_of(1e9)
    (0, 22, 80)
    """
    if took_s <= FIRST_STEP_SECONDS:
        return 0
    return min(STEPS_MAX, math.ceil(math.log(took_s / FIRST_STEP_SECONDS, STEP_FACTOR)))


def median_of(steps: Sequence[tuple[int, int]]) -> float | None:
    """Return the median of times that were counted by step, lowest first; None for none."""
    total = sum(count for _, count in steps)
    seen = 0
    for step, count in steps:
        seen += count
        if 2 * seen >= total and total:
            # The middle of the step.
            return float(FIRST_STEP_SECONDS * STEP_FACTOR ** (step - 0.5))
    return None
