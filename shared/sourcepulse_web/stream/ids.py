# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The id of each place in a stream, `<token of the log>.<position>`: any gateway on the same log resumes by it."""

from __future__ import annotations

import re
from typing import NamedTuple

#: The largest position of SQLite's.
POSITION_MAX = (1 << 63) - 1
_ID = re.compile(r"([0-9a-f]{1,64})\.([0-9]{1,19})", re.ASCII)


class Place(NamedTuple):
    """A log, by its token, and a position in it: everything up to it was received."""

    token: str
    position: int

    def __str__(self) -> str:
        return f"{self.token}.{self.position}"


def parse_id(text: str) -> Place | None:
    """Return the place that an id names, or None if it is not an id of any log."""
    found = _ID.fullmatch(text)
    if found is None or int(found[2]) > POSITION_MAX:
        return None
    return Place(found[1], int(found[2]))
