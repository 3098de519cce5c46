# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The patterns of a site's schemas: refused, or the time of a match is known before it begins.

Python's `re` tries one way after another to match, and `^(a+)+$` has 2 to the power of n ways for a text of n
characters. Without a repetition inside a repetition the ways can be counted: n characters are divided among the
repetitions.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import NamedTuple

from sourcepulse.events.validator import Effort

#: What the check of one event may cost, in steps of `re`; this many take about a second.
EFFORT_MAX = 100_000_000
#: What a step of our own costs in these.
STEP_COST = 200
#: Of one pattern: repetitions without an upper limit, and parts with each repetition written out.
FREE_MAX = 20
SIZE_MAX = 10_000
#: A repeated character or set is compared in a loop that is faster than other steps.
CHARACTERS_PER_STEP = 8
#: A pattern for which a text of this length is already too long is of no use.
SHORT_TEXT_CHARACTERS = 16
#: So that no high number is computed for nothing.
WAYS_MAX_BITS = 40

_QUANTIFIER = re.compile(r"(?:(?P<sign>[*+?])|\{(?P<least>[0-9]*)(?P<open>,(?P<most>[0-9]*))?\})[?+]?")
_SIGNS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_GROUP = "(?:"


class TooCostlyError(Exception):
    """The check of an event was ended."""


class Shape(NamedTuple):
    """How a part of a pattern can match: its repetitions without limit, in how many other ways, and its size.

    `bounded` are its repetitions with a limit, which are among the `ways`; `fixed` are the ways without these.
    """

    free: int
    ways: int
    bounded: int
    fixed: int
    size: int

    def cost(self, characters: int) -> int:
        """Return how many steps a search in a text takes at most."""
        all_free = self.free + self.bounded
        ways = min(
            math.comb(characters + self.free, self.free) * self.ways,
            math.comb(characters + all_free, all_free) * self.fixed,
        )
        return ways * self.size


#: A character or a set of them.
_ONE = Shape(free=0, ways=1, bounded=0, fixed=1, size=1)


class LimitedEffort(Effort):
    """The effort for one event: TooCostlyError before a step would exceed it."""

    def __init__(self) -> None:
        self._left = EFFORT_MAX

    def spend(self, steps: int) -> None:
        """Count steps of our own."""
        self._spend(steps * STEP_COST)

    def search(self, pattern: str, text: str) -> bool:
        """Search only if that ends in time."""
        compiled, shape = _prepared(pattern)
        self._spend(shape.cost(len(text)))
        return compiled.search(text) is not None

    def _spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise TooCostlyError


def shape_of(pattern: str) -> Shape:
    """Return the shape of a pattern that `re` can compile; ValueError says why its time cannot be limited."""
    shape, branches, _ = _alternatives(pattern, 0)
    if not (pattern.startswith("^") and branches == 1):
        # Where a match begins is free as well.
        shape = shape._replace(free=shape.free + 1)
    if shape.free > FREE_MAX or shape.size > SIZE_MAX or shape.cost(SHORT_TEXT_CHARACTERS) > EFFORT_MAX:
        raise ValueError("can match in too many ways, or is too long; make it simpler, or leave it out")
    return shape


@lru_cache(maxsize=4_096)
def _prepared(pattern: str) -> tuple[re.Pattern[str], Shape]:
    return re.compile(pattern), shape_of(pattern)


def _alternatives(text: str, at: int) -> tuple[Shape, int, int]:
    """Read as far as the end of the group; return its shape, how many alternatives it has, and where it ends."""
    whole, branches = Shape(0, 1, 0, 1, 1), 1
    while at < len(text) and text[at] != ")":
        if text[at] == "|":
            branches += 1
            at += 1
            continue
        part, at = _atom(text, at)
        part, at = _repeated(part, text, at)
        whole = Shape(
            free=whole.free + part.free,
            ways=_limited(whole.ways * part.ways),
            bounded=whole.bounded + part.bounded,
            fixed=_limited(whole.fixed * part.fixed),
            size=whole.size + part.size,
        )
    ways, fixed = _limited(whole.ways * branches), _limited(whole.fixed * branches)
    return whole._replace(ways=ways, fixed=fixed), branches, at


def _atom(text: str, at: int) -> tuple[Shape, int]:
    if text[at] == "(":
        if text.startswith("(?", at) and not text.startswith(_GROUP, at):
            raise ValueError("has a group that begins with (? and not with (?:, which is not supported")
        shape, _, at = _alternatives(text, at + (len(_GROUP) if text.startswith(_GROUP, at) else 1))
        return shape._replace(size=shape.size + 1), at + 1
    if text[at] == "[":
        return _ONE, _end_of_set(text, at)
    if text[at] == "\\":
        if text[at + 1] in "123456789":
            raise ValueError("refers back to a group, which is not supported")
        return _ONE, at + 2
    return _ONE, at + 1


def _end_of_set(text: str, at: int) -> int:
    at += 2 if text.startswith("[^", at) else 1
    first = at
    while text[at] != "]" or at == first:
        at += 2 if text[at] == "\\" else 1
    return at + 1


def _repeated(part: Shape, text: str, at: int) -> tuple[Shape, int]:
    found = _QUANTIFIER.match(text, at)
    if found is None or found[0].startswith("{}"):
        return part, at
    least, most = _bounds(found)
    if most is None:
        if part.free or part.ways > 1:
            raise ValueError(
                "repeats, without an upper limit, a part that itself repeats or has alternatives, which can take for "
                "ever; write it as one set, such as [a-z.]+, or with an upper limit"
            )
        return Shape(free=1, ways=1, bounded=0, fixed=1, size=_size(part, least)), found.end()
    if most > SIZE_MAX:
        raise ValueError(f"repeats a part {most} times, of at most {SIZE_MAX}")
    if most * (part.ways.bit_length() - 1) > WAYS_MAX_BITS:
        raise ValueError("can match in too many ways")
    is_plain = part.ways == 1 and not part.free
    lengths = most - least + 1
    repeated = Shape(
        free=part.free * most,
        ways=_limited(part.ways**most * lengths),
        bounded=part.bounded * most + (1 if is_plain and lengths > 1 else 0),
        fixed=_limited(part.fixed**most * (1 if is_plain else lengths)),
        size=_size(part, most),
    )
    return repeated, found.end()


def _size(part: Shape, times: int) -> int:
    """Return the size of a part that is repeated."""
    return 1 + times // CHARACTERS_PER_STEP if part == _ONE else part.size * max(1, times)


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    if found["sign"]:
        return _SIGNS[found["sign"]]
    least = int(found["least"] or 0)
    if least > SIZE_MAX:
        raise ValueError(f"repeats a part {least} times, of at most {SIZE_MAX}")
    if found["open"] is None:
        return least, least
    return least, int(found["most"]) if found["most"] else None


def _limited(ways: int) -> int:
    return min(ways, 1 << WAYS_MAX_BITS)
