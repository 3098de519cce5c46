# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What people do to a Bugzilla, at random: steps of `bugzilla_worker.pl`, each with words of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

#: What changes who may see what comes often.
KINDS = (
    *("create", "comment", "edit", "hide", "show", "toggle", "attach", "attachment", "flag", "move", "link"),
    *("hide", "show", "toggle", "attachment", "move", "mass", "rollback", "die"),
)
#: What keeps every bug, so that the tables still say at the end what was done.
KEEPING = (*KINDS, "create", "comment")

Draw = Callable[[int], int]


def random_steps(seed: int, kinds: tuple[str, ...] = KINDS) -> Iterator[dict[str, Any]]:
    """Give steps without end, the same for the same seed."""
    numbers = random.Random(seed)
    return steps_of(numbers.randrange, f"TOKEN{seed}", kinds)


def steps_of(draw: Draw, word: str, kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Give steps; `draw(n)` chooses a number below n, `word` begins all words of theirs."""
    for number in itertools.count():
        yield {
            # There is a bug to do something to.
            "do": "create" if number == 0 else kinds[draw(len(kinds))],
            "token": f"{word}x{number}x",
            "secret": (0, 0, 1, 2)[draw(4)],
            "bug": draw(1000),
            "other": draw(1000),
        }
