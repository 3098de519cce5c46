# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make one name of a test's name, its class and the suites around it: complete, without repeats, stable across runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

#: The separator of the parts, as in TAP.
SEPARATOR = " > "

#: The class that node writes for every test.
_NODE_CLASS = "test"
_NOT_WORD = re.compile(r"[^0-9A-Za-z\u0080-\U0010ffff]+")


def case_name(
    case: Mapping[str, str], suites: Sequence[Mapping[str, str]], cases: Sequence[Mapping[str, str]] = ()
) -> str:
    """Return the name of a test case; `suites` are the attributes of the elements around it, the outermost first.

    Some writers nest cases in cases: `cases` are those around it, whose names precede its own. The class is left out if
    the name repeats it. Suites precede it if the class does not distinguish them: it is missing, it is the one word
    that node writes, or suites are nested and the class names none of them.
    """
    name, class_name = case.get("name", "").strip(), case.get("classname", "").strip()
    if cases:
        *outer, last = cases
        above = case_name(last, suites, outer)
        own = _joined("" if class_name == last.get("classname", "").strip() else class_name, name)
        return own if own.startswith(above) else SEPARATOR.join([each for each in (above, own) if each])
    names = [suite.get("name", "").strip() for suite in suites]
    if class_name == _NODE_CLASS and all("disabled" in suite and "hostname" in suite for suite in suites):
        class_name = ""
    own = _joined(class_name, name)
    if not class_name:
        return SEPARATOR.join([each for each in names if each and not own.startswith(each)] + ([own] if own else []))
    if len(names) > 1 and not any(_names(class_name, each) or _names(name, each) for each in names if each):
        return SEPARATOR.join([each for each in names if each] + [own])
    return own


def _joined(class_name: str, name: str) -> str:
    """Return class and name joined by a dot, or only the name if it contains the class."""
    if not class_name or name == class_name:
        return name or class_name
    if name.startswith((f"{class_name}.", f"{class_name} ", f"{class_name}::", f"{class_name}/")):
        return name
    if name.endswith(f" {class_name}"):
        return name
    return f"{class_name}.{name}" if name else class_name


def _names(text: str, suite: str) -> bool:
    """Return whether a text names a suite, or the suite is named after it."""
    words, of_suite = _words(text), _words(suite)
    return bool(words) and (of_suite in words or words in of_suite)


def _words(text: str) -> str:
    return f" {_NOT_WORD.sub(' ', text).strip().lower()} " if text else ""
