# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the board asks of the configuration's `[trees]` table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Builder(Protocol):
    """A builder of a tree, in its place; `label` "" is made of the name."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def tier(self) -> int: ...


class Tree(Protocol):
    """A tree. `repository` is its path as `hg.push` has it, `repository_urls` where builds fetch it from."""

    @property
    def name(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def repository_urls(self) -> Sequence[str]: ...
    @property
    def hg_web(self) -> str | None: ...
    @property
    def bugzilla(self) -> str | None: ...
    @property
    def builders(self) -> Sequence[Builder]: ...
