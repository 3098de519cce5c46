# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a look at an installation found, a line each. The hook imports this: standard library only."""

from __future__ import annotations

from typing import NamedTuple

_WHAT_WIDTH = 18


class Finding(NamedTuple):
    """What was looked at, what was found, whether that is well."""

    what: str
    found: str
    well: bool = True

    def line(self) -> str:
        """Write the finding as one line."""
        found = "".join(c if c.isprintable() else "?" for c in self.found)
        return f"{'ok' if self.well else 'no'} {self.what:{_WHAT_WIDTH}}{found}"
