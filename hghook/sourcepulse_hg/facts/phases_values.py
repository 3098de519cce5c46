# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a transaction did to phases, see values.py."""

from collections.abc import Sequence
from typing import NamedTuple


class PhaseChange(NamedTuple):
    """The phases of a changeset before and after."""

    node: str
    oldphase: str
    phase: str


class PhaseChanges(NamedTuple):
    """Phase changes of changesets that existed before, the oldest changesets first."""

    total: int
    changes: Sequence[PhaseChange]
