# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Boards for the tests of its pages: the examples, text that means harm, and as many pushes as a page may have."""

from __future__ import annotations

from typing import Any, cast

from sourcepulse_web.board.documents import BoardDoc, PushDoc, TreeDoc
from support.web import board_examples as examples

PATH = f"/trees/{examples.REPO}"
SCRIPT = "<script>document.title='harmed'</script><img src=x onerror=\"document.title='harmed'\">"
#: Each of them would run, leave its attribute, or turn the text around, if it were more than text.
HOSTILE = (
    SCRIPT,
    '" onfocus="document.title=\'harmed\'" autofocus x="',
    "{{ 7 * 7 }}{% raw %}",
    "\u202etxt.exe\u2066 \x00\x1b[31m \ud800 \u2028 &amp;#60; </bdi></a></li>",
)
SCHEME = "javascript:document.title='harmed'"


def with_tree(board: BoardDoc, tree: TreeDoc) -> BoardDoc:
    """Return the board with another tree."""
    return {**board, "tree": tree}


def hostile_board() -> BoardDoc:
    """Return the example with harm in each text that a stranger may choose."""
    board = examples.board()
    bad = "".join(HOSTILE)
    tree = cast(TreeDoc, _harmed(board["tree"], bad))
    pushes = [cast(PushDoc, _harmed(push, bad)) for push in board["pushes"]]
    return {**board, "tree": {**tree, "repo": board["tree"]["repo"]}, "pushes": pushes}


#: What the board itself writes, or what a parser has checked.
_TIMES = {"time", "since", "until", "started_at", "complete_at", "stripped_at", "last_build_at"}
_OWN = {"state", "verdict", "repo", "node"} | _TIMES
_ADDRESSES = {"url", "link", "hg_web", "bugzilla"}


def _harmed(value: Any, bad: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _harmed(each, bad, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_harmed(each, bad, key) for each in value]
    if not isinstance(value, str) or key in _OWN:
        return value
    return SCHEME if key in _ADDRESSES else f"{value} {bad}"


def large_board(count: int = 200) -> BoardDoc:
    """Return pushes of 40 builds each."""
    board = examples.board()
    shapes = [push for push in board["pushes"] if push["lines"]]
    pushes = [
        cast(PushDoc, {**shapes[index % len(shapes)], "id": 10_000 - index * 10, "changed": 10_001 - index * 10})
        for index in range(count)
    ]
    return {**board, "pushes": pushes, "older": None}
