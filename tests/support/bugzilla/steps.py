# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What people do to a Bugzilla, at random: steps of `worker.pl`, each with words of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

#: What changes who may see what comes often.
KINDS = (
    *("create", "comment", "edit", "hide", "show", "toggle", "attach", "attachment", "flag", "move", "link"),
    *("hide", "show", "toggle", "attachment", "move", "mass", "rollback", "die"),
)
#: What keeps every bug, so that the tables still say at the end what was done.
KEEPING = (*KINDS, "create", "comment")

#: What a walk does besides, each with how often.
WALK_KINDS: dict[str, int] = {
    **dict.fromkeys(("create", "comment", "edit", "hide", "show", "toggle", "attached", "attachment"), 8),
    **dict.fromkeys(("about", "core_flag", "bug_flag", "go", "move", "status", "links", "link", "see", "alias"), 4),
    **dict.fromkeys(("attach", "flag", "empty", "sql_hide", "sql_show", "import", "keyword", "flag_type"), 2),
    **dict.fromkeys(("user", "group", "drop_group", "rollback", "die", "thing", "delete"), 2),
    **dict.fromkeys(("drop_keyword", "drop_flag_type", "drop_user", "rename", "mass"), 1),
}
#: Rows of these can be filled later, or be found in the history.
FILLED_LATER = frozenset(
    {"create", "comment", "edit", "hide", "show", "toggle", "attached", "attachment", "core_flag", "go", "status"}
)
MOST_BUGS = 14
#: The seconds between two steps of a walk; what lies far back is settled for the comparison with the history.
TICKS = (0, 0, 0, 1, 1, 1, 2, 4)
LONG_TICK = 4_000

Draw = Callable[[int], int]
Step = dict[str, Any]


def random_steps(seed: int, kinds: tuple[str, ...] = KINDS) -> Iterator[Step]:
    """Return steps without end, the same for the same seed."""
    numbers = random.Random(seed)
    return steps_of(numbers.randrange, f"TOKEN{seed}", kinds)


def steps_of(draw: Draw, word: str, kinds: tuple[str, ...]) -> Iterator[Step]:
    """Yield steps; `draw(n)` chooses a number below n, `word` begins all words of theirs."""
    for number in itertools.count():
        yield {
            # There is a bug to do something to.
            "do": "create" if number == 0 else kinds[draw(len(kinds))],
            "token": f"{word}x{number}x",
            "secret": (0, 0, 1, 2)[draw(4)],
            "bug": draw(1000),
            "other": draw(1000),
        }


class Params(NamedTuple):
    """The parameters that decide what is public, as the steps so far have set them."""

    requirelogin: int = 0
    usevisibilitygroups: int = 0
    sourcepulse_tell_hidden: int = 1
    sourcepulse_hidden_fields: str = ""


class WalkSteps:
    """Steps without end, the same for the same seed, with the parameters that are in force behind each."""

    def __init__(self, seed: int, word: str) -> None:
        self.params = Params()
        self._numbers = random.Random(seed)
        self._word = word
        self._kinds = [kind for kind, often in WALK_KINDS.items() for _ in range(often)]
        self._count = 0
        self._closed_for = 0

    def take(self, count: int) -> list[Step]:
        """Return about that many steps; what belongs together is not torn."""
        steps: list[Step] = []
        while len(steps) < count:
            steps.extend(self._some())
        return steps

    def open_site(self) -> Step:
        """Return the step that shows everything again without a login."""
        return self._set(requirelogin=0)

    def _some(self) -> Iterator[Step]:
        draw = self._numbers.randrange
        if self.params.requirelogin:
            self._closed_for -= 1
            if self._closed_for <= 0:
                yield self._set(requirelogin=0)
        elif draw(60) == 0:
            self._closed_for = 1 + draw(12)
            by_hand = draw(3) == 0
            yield self._set(requirelogin=1) | {"hand": by_hand}
            if by_hand:
                # Without a hook, and before drain.pl looks, the time of the file is all there is to know it by.
                yield self._step("edit") | {"tick": 0}
        elif draw(60) == 0:
            names = ("usevisibilitygroups", "sourcepulse_tell_hidden", "sourcepulse_hidden_fields")
            name = names[draw(len(names))]
            old = getattr(self.params, name)
            yield self._set(**{name: ("" if old else "cf_text") if isinstance(old, str) else 1 - old})
        if draw(25) == 0:
            yield from self._one_second()
            return
        yield self._step(self._kinds[draw(len(self._kinds))])

    def _one_second(self) -> Iterator[Step]:
        """Return several updates of one bug by one person in one second, the last of them seldom as it should be."""
        draw = self._numbers.randrange
        kinds = ("edit", "hide", "edit", "show", "edit", "status", "go", "toggle", "attachment", "comment")
        bug = draw(1000)
        yield self._step("hide") | {"bug": bug}
        for _ in range(1 + draw(4)):
            yield self._step(kinds[draw(len(kinds))]) | {"bug": bug, "tick": 0}
        yield self._step("show") | {"bug": bug, "tick": 0}
        yield self._step(kinds[draw(len(kinds))]) | {
            "bug": bug,
            "tick": 0,
            "how": (None, "thin", "thin", "missed")[draw(4)],
        }

    def _step(self, kind: str) -> Step:
        draw = self._numbers.randrange
        self._count += 1
        how = ("thin", "thin", "blind", "missed")[draw(4)] if kind in FILLED_LATER and draw(8) == 0 else None
        return {
            "do": "create" if self._count < 3 else kind,
            "token": f"{self._word}x{self._count}x",
            "secret": (0, 0, 1, 2)[draw(4)],
            "bug": draw(1000),
            "other": draw(1000),
            "tick": LONG_TICK if draw(60) == 0 else TICKS[draw(len(TICKS))],
            "how": how,
            "most_bugs": MOST_BUGS,
            "params": self.params,
        }

    def _set(self, **new: Any) -> Step:
        self.params = self.params._replace(**new)
        return {"do": "params", "set": new, "tick": 1, "params": self.params}
