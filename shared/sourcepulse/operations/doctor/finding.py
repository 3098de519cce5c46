# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a check found: well, broken, doubtful, or not checked and why."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from sourcepulse.brokers.url import hide_passwords
from sourcepulse.events.safe_text import plain, short
from sourcepulse.operations.doctor.table import Entry, table

#: How much of a sentence is kept, which may repeat the words of a broker.
FOUND_MAX_CHARACTERS = 600
#: Ours, if it is not on PATH.
PROGRAM = "sourcepulse"


class State(Enum):
    """How bad a finding is; the order is that of the output."""

    BROKEN = "broken"
    WARNING = "warning"
    UNCHECKED = "not checked"
    OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report.

    `about` names the thing: a file, a broker, a repository. `found` is a sentence. `commands` repair it, in order.
    """

    id: str
    state: State
    about: str
    found: str
    advice: str = ""
    commands: tuple[str, ...] = ()
    #: Whether the exit code depends on it; not if a setting would be needed that most sites do not have, and not if
    #: others must mend it.
    counts: bool = True

    def __post_init__(self) -> None:
        # Here, so that no check can forget it: a command line or a damaged file may have any text.
        for name in ("about", "found", "advice"):
            object.__setattr__(self, name, hide_passwords(getattr(self, name)))
        object.__setattr__(self, "commands", tuple(map(hide_passwords, self.commands)))

    @property
    def entry(self) -> Entry:
        """What the table has under the id."""
        return table()[self.id]

    def document(self) -> dict[str, Any]:
        """Return the finding as `--json` prints it."""
        is_bad = self.state in (State.BROKEN, State.WARNING)
        return {
            "id": self.id,
            "state": self.state.value,
            "title": self.entry.title,
            "about": self.about,
            "found": self.found,
            "cause": self.entry.cause if is_bad else None,
            "consequence": self.entry.consequence if is_bad else None,
            "advice": self.advice or None,
            "repair": list(self.commands),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Checks that run together in one thread; `id` stands for them if they take too long or fail."""

    id: str
    about: str
    run: Callable[[], Iterable[Finding]]


def broken(id_: str, about: object, found: str, **values: object) -> Finding:
    """Return a finding that keeps events from arriving; `values` are those that its commands need."""
    return _bad(State.BROKEN, id_, about, found, values)


def warning(id_: str, about: object, found: str, **values: object) -> Finding:
    """Return a finding that delays or endangers events."""
    return _bad(State.WARNING, id_, about, found, values)


def note(id_: str, about: object, found: str, **values: object) -> Finding:
    """Return a doubt about what is not ours, such as a receiver of a webhook; the exit code does not depend on it."""
    return replace(_bad(State.WARNING, id_, about, found, values), counts=False)


def unchecked(id_: str, about: object, why: str, *, counts: bool = True) -> Finding:
    """Return that something could not be checked, and why; if it `counts`, the exit code says so."""
    return Finding(id=id_, state=State.UNCHECKED, about=_line(about), found=_line(why), counts=counts)


def well(id_: str, about: object, found: str) -> Finding:
    """Return that something is as it should be; the id is the first of those that were checked."""
    return Finding(id=id_, state=State.OK, about=_line(about), found=_line(found))


def program() -> str:
    """Return the name of our program if a shell finds it, else its path."""
    beside = Path(sys.executable).with_name(PROGRAM)
    return PROGRAM if shutil.which(PROGRAM) or not beside.exists() else str(beside)


def _bad(state: State, id_: str, about: object, found: str, values: dict[str, object]) -> Finding:
    entry = table()[id_]
    values = {"sourcepulse": program(), **values}
    advice = entry.advice.format_map({name: str(value) for name, value in values.items()}) if entry.advice else ""
    if values.get("broker_host") and any("rabbitmq" in command for command in entry.repair):
        advice = f"{advice} Run rabbitmqctl at {values['broker_host']}.".lstrip()
    commands: Sequence[str] = entry.commands(values)
    return Finding(id=id_, state=state, about=_line(about), found=_line(found), advice=advice, commands=tuple(commands))


def _line(text: object) -> str:
    # Before it is cut, because what is left of a URL may not look like one.
    return short(plain(hide_passwords(str(text))), FOUND_MAX_CHARACTERS)
