# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Compare two states of `.hgtags`.

A line is a node, a space and a name, as `mercurial/tags.py` has it. The last line of a
tag counts; the null id says that the tag is deleted. Lines that are none of ours to understand are passed over, as
Mercurial does with a warning.
"""

import re
from collections import Counter
from collections.abc import Iterable, MutableMapping
from typing import NamedTuple

_NODE = re.compile(rb"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


class TagLine(NamedTuple):
    """A line of `.hgtags`."""

    name: bytes
    node: bytes


class TagMove(NamedTuple):
    """A tag and its nodes before and after, None where it does not exist."""

    name: bytes
    oldnode: bytes | None
    node: bytes | None


def parse_lines(content: bytes) -> list[TagLine]:
    """Read the lines of a tag file; broken ones are left out."""
    lines = []
    for line in content.splitlines():
        node, _, name = line.partition(b" ")
        name = name.strip()
        if name and _NODE.fullmatch(node):
            lines.append(TagLine(name, node.lower()))
    return lines


def appended(old: bytes, new: bytes) -> bytes | None:
    """Give what was appended to a tag file, None if something else was done to it."""
    if not new.startswith(old):
        return None
    rest = new[len(old) :]
    whole_lines = not old or old.endswith(b"\n") or rest.startswith(b"\n")
    return rest if whole_lines else None


def targets_of(lines: Iterable[TagLine]) -> dict[bytes, bytes]:
    """Give the last node of each tag."""
    return {line.name: line.node for line in lines}


def add_lines(targets: MutableMapping[bytes, bytes], lines: Iterable[TagLine]) -> list[TagMove]:
    """Bring the last node of each tag up to date with appended lines, and tell what they changed."""
    before: dict[bytes, bytes | None] = {}
    for line in lines:
        before.setdefault(line.name, targets.get(line.name))
        targets[line.name] = line.node
    return _moves((name, old, targets[name]) for name, old in before.items())


def changed_tags(old: bytes, new: bytes) -> list[TagMove]:
    """Tell what the lines of the new state that the old one has not, or not as often, did to their tags."""
    old_lines, new_lines = parse_lines(old), parse_lines(new)
    unmatched = Counter(old_lines)
    touched: dict[bytes, None] = {}
    for line in new_lines:
        if unmatched[line] > 0:
            unmatched[line] -= 1
        else:
            touched[line.name] = None
    old_targets, new_targets = targets_of(old_lines), targets_of(new_lines)
    return _moves((name, old_targets.get(name), new_targets[name]) for name in touched)


def _moves(candidates: Iterable[tuple[bytes, bytes | None, bytes]]) -> list[TagMove]:
    moves = (TagMove(name, _existing(old), _existing(new)) for name, old, new in candidates)
    return [move for move in moves if move.oldnode != move.node]


def _existing(node: bytes | None) -> bytes | None:
    return node if node is not None and node.strip(b"0") else None
