# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The obsolescence markers of a transaction, see values.py."""

from collections.abc import Sequence
from typing import NamedTuple


class Marker(NamedTuple):
    """An obsolescence marker; the date is seconds since 1970 and the offset west of UTC."""

    prednode: str
    succnodes: tuple[str, ...]
    date: tuple[int, int]
    user: bytes | None
    operation: bytes | None


class Markers(NamedTuple):
    """New obsolescence markers, the oldest first."""

    total: int
    markers: Sequence[Marker]
