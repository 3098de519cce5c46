# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a transaction did, as plain values: what lies between Mercurial's objects and our events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Changeset:
    """A changeset as the changelog has it; `text` is its entry, see changelog_entry.py."""

    node: str
    parents: tuple[str, ...]
    text: bytes
    phase: str


@dataclass(frozen=True)
class Added:
    """The changesets that a transaction added and that everybody sees (hg's `served` view).

    `changesets` holds the oldest ones, `heads` pairs of node and changelog entry, the first `heads_total` of
    them as far as they are read; `query` is the revset that yields them all.
    """

    count: int
    first: str
    last: str
    heads: tuple[tuple[str, bytes], ...]
    heads_total: int
    query: str
    changesets: Iterable[Changeset]


@dataclass(frozen=True)
class Act:
    """Who did what and when: the time is in seconds since 1970, from the clock inside the transaction."""

    txnid: str
    time: float
    user: bytes | None
    source: bytes | None
    url: str | None


@dataclass(frozen=True)
class Emitter:
    """The repository that the events come from.

    `name` is its path below the root, as the file system has it; `source` the URI of the events.
    """

    name: bytes
    source: str
    repo_url: str | None
    detail: str
    max_changesets: int
