# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a reader does with a page of installation, in order: run a block of commands, or write a block into a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from support.fenced_blocks import ROOT, Block

#: A fence with the line before it, which may name a file.
_STEP = re.compile(r"([^\n]*)\n\n( *)```(\w+)\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(Write|Append) this (?:in)?to `([/~][^`]+)`")
_HEADING = re.compile(r"^(#+ .*)$", re.MULTILINE)


class Step(NamedTuple):
    """One block: what to do with it, and the heading that it stands under."""

    heading: str
    #: `run`, `write`, `append`, or `read` for what is only shown.
    action: str
    path: str
    block: Block

    @property
    def begins(self) -> str:
        """Return the first line."""
        return self.block.text.splitlines()[0]


def steps(page: str) -> Iterator[Step]:
    """Yield what a page asks for."""
    text = (ROOT / page).read_text(encoding="utf-8")
    headings = [
        (found.start(), found[1]) for found in _HEADING.finditer(re.sub(r"```.*?```", _blank, text, flags=re.S))
    ]
    for found in _STEP.finditer(text):
        before, indent, language, body = found.groups()
        block = Block(page, language, "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True)))
        heading = [name for at, name in headings if at < found.start(3)][-1].lstrip("# ")
        file = _FILE.search(_paragraph(text, found.start(3)))
        if file is not None:
            yield Step(heading, file[1].lower(), file[2], block)
        elif language in ("sh", "console"):
            yield Step(heading, "run", "", block)
        else:
            yield Step(heading, "read", "", block)
        assert before is not None


def _paragraph(text: str, end: int) -> str:
    """Return the paragraph before a fence."""
    return text[:end].rstrip(" `\n").rpartition("\n\n")[2].replace("\n", " ")


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
