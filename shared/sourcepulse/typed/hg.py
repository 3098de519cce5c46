# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The data of the hg events; made by `sourcepulse.typed.generate`, change the schemas instead."""

from __future__ import annotations

from typing import TypedDict

from sourcepulse.typed.common import (
    Changeset,
    HgBookmarks,
    HgHeads,
    HgTags,
    HgTree,
    Marker,
    PhaseChange,
    PushHead,
    RawItem,
    TruncatedItem,
)


class HgBookmarkCreated(HgBookmarks):
    """Bookmarks were created."""


class HgBookmarkDeleted(HgBookmarks):
    """Bookmarks were deleted."""


class HgBookmarkMoved(HgBookmarks):
    """Bookmarks were moved."""


class HgBranchCreated(HgHeads):
    """Named branches were created."""


class HgHeadClosed(HgHeads):
    """Branch heads were closed."""


class HgHeadCreated(HgHeads):
    """A branch gained heads."""


class HgObsoleteCreated(TypedDict):
    """Obsolescence markers were created."""

    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    count: int
    markers: list[Marker]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgPhaseChanged(TypedDict):
    """Phases changed."""

    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    count: int
    changes: list[PhaseChange]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgPush(TypedDict):
    """Changesets were added."""

    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    count: int
    first: str
    last: str
    heads: list[PushHead]
    query: str | None
    changesets: list[Changeset]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgRepoCreated(TypedDict):
    """A repository was seen first."""

    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgRepoStripped(TypedDict):
    """Changesets were removed."""

    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    operation: str
    count: int
    nodes: list[str]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgTagCreated(HgTags):
    """Tags were created."""


class HgTagDeleted(HgTags):
    """Tags were deleted."""


class HgTagMoved(HgTags):
    """Tags were moved."""


class HgTreeApproval(HgTree):
    """A tree requires approval."""


class HgTreeClosed(HgTree):
    """A tree was closed."""


class HgTreeOpened(HgTree):
    """A tree was opened."""


class HgTreeRefused(TypedDict):
    """A push was refused."""

    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    state: str
    reason: str
    count: int
    first: str | None
    last: str | None
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]
