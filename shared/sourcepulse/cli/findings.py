# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Findings of an installation check, one line each. The hook imports this: standard library only."""

from __future__ import annotations

from typing import NamedTuple

_WHAT_WIDTH = 18


class Finding(NamedTuple):
    """What was checked, what was found, and whether that is as it should be."""

    what: str
    found: str
    well: bool = True

    def line(self) -> str:
        """Write the finding as one line, which begins with `ok` or `!!`."""
        found = "".join(c if c.isprintable() else "?" for c in self.found)
        return f"{'ok' if self.well else '!!'} {self.what:{_WHAT_WIDTH}}{found}"
