# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a transaction did to heads of branches, see values.py."""

from collections.abc import Sequence
from typing import NamedTuple


class Head(NamedTuple):
    """A head of a named branch."""

    node: str
    branch: bytes


class Heads(NamedTuple):
    """Heads of which the first ones are read."""

    total: int
    heads: Sequence[Head]


class HeadChanges(NamedTuple):
    """Heads of branches that are new, heads that a branch gained, heads that close their branch."""

    of_new_branches: Heads
    gained: Heads
    closing: Heads
