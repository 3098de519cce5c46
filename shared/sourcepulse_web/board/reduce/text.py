# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is found in texts: bugs, nodes, what was backed out, names of files."""

from __future__ import annotations

import re

#: As many digits of a node as Mercurial prints, and by which all is joined.
SHORT_DIGITS = 12
#: More of them in one text are not looked at.
FOUND_MAX = 50

_BUG = re.compile(r"\bbug\s+(\d{1,9})\b", re.IGNORECASE)
_NODE = re.compile(r"(?<![0-9a-zA-Z])[0-9a-f]{12,40}(?![0-9a-zA-Z])")
_BACKED_OUT = re.compile(r"\bback(?:ed|ing)?[ -]?out\b", re.IGNORECASE)
_FILE = re.compile(r"[\w.+-]*\w\.[A-Za-z]\w{0,9}(?!\w)")


def bugs_in(text: str) -> list[int]:
    """Return the bugs that a text names, each once, in its order."""
    return list(dict.fromkeys(int(found) for found in _BUG.findall(text)))[:FOUND_MAX]


def nodes_in(text: str) -> list[str]:
    """Return what looks like a node of at least 12 digits, each once."""
    return [found for found in dict.fromkeys(_NODE.findall(text)) if not found.isdecimal() or len(found) == 40][
        :FOUND_MAX
    ]


def backed_out_in(desc: str) -> list[str]:
    """Return the nodes that a description backs out."""
    return nodes_in(desc) if _BACKED_OUT.search(desc) else []


def files_in(summary: str) -> list[str]:
    """Return the names of files in a bug's summary, without their folders."""
    return list(dict.fromkeys(_FILE.findall(summary)))[:FOUND_MAX]


def file_of(test: str) -> str:
    """Return the name of the file of a test, without its folders: what a bug's summary may name."""
    return re.split(r"[/\\]", test.strip().split("::")[0])[-1]


def first_line(text: str, most: int = 500) -> str:
    return (text.strip().splitlines() or [""])[0][:most]


def known_word(value: object) -> str:
    """Return a word of `normalized`, "" if the master has no mapping for it."""
    return value if isinstance(value, str) and value != "unknown" else ""
