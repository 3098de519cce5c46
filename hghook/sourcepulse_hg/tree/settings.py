# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The keys `tree_*` of `[sourcepulse]` as checked values; a bad one is reported and never opens a tree."""

import re
from typing import Any, NamedTuple

from sourcepulse_hg.settings import SECTION

EVERYBODY = "*"
_WORDS = ("closed", "open")


class TreeSettings(NamedTuple):
    """Who may close the tree, which users and descriptions a closed tree accepts, and the service to ask instead.

    Patterns are searched in the description of the last changeset of a push. `problems` are sentences about bad
    values.
    """

    admins: tuple[str, ...]
    users: tuple[str, ...]
    closed_words: tuple[re.Pattern[str], ...]
    approval_words: tuple[re.Pattern[str], ...]
    command: bytes | None
    unreachable_is_open: bool
    problems: tuple[str, ...]


def read_tree_settings(ui: Any) -> TreeSettings:
    problems: list[str] = []
    return TreeSettings(
        admins=_names(ui, b"tree_admins") or (EVERYBODY,),
        users=_names(ui, b"tree_users"),
        closed_words=_patterns(ui, b"tree_closed_words", problems),
        approval_words=_patterns(ui, b"tree_approval_words", problems),
        command=ui.config(SECTION, b"tree_command") or None,
        unreachable_is_open=_unreachable(ui, problems) == "open",
        problems=tuple(problems),
    )


def is_listed(user: str | None, names: tuple[str, ...]) -> bool:
    """Return whether a user is in a list; an anonymous user (None) matches only `*`."""
    return EVERYBODY in names or (user is not None and user in names)


def _names(ui: Any, key: bytes) -> tuple[str, ...]:
    return tuple(name.decode("utf-8", "surrogateescape") for name in ui.configlist(SECTION, key))


def _patterns(ui: Any, key: bytes, problems: list[str]) -> tuple[re.Pattern[str], ...]:
    """Return the regular expressions of a key, one per line."""
    found = []
    for line in (ui.config(SECTION, key) or b"").decode("utf-8", "replace").splitlines():
        if line.strip():
            try:
                found.append(re.compile(line.strip()))
            except (re.error, RecursionError, OverflowError) as error:
                _problem(ui, key, f"has {line.strip()!r}, not a regular expression: {error}; ignored", problems)
    return tuple(found)


def _unreachable(ui: Any, problems: list[str]) -> str:
    value = (ui.config(SECTION, b"tree_unreachable") or b"closed").decode("utf-8", "replace")
    if value in _WORDS:
        return value
    _problem(ui, b"tree_unreachable", f"is {value!r}, must be closed or open; using closed", problems)
    return "closed"


def _problem(ui: Any, key: bytes, what: str, problems: list[str]) -> None:
    place = ui.configsource(SECTION, key).decode("utf-8", "replace")
    problems.append(f"{place}: [sourcepulse] {key.decode('ascii')} {what}")
