# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a transaction did, as plain values: what lies between Mercurial's objects and our events.

Named tuples, here and elsewhere in this package: making a dataclass costs the hook eight times as much, and half of
the rest is spared by annotations that are no texts. Those that one kind of events needs are in modules of their own.
Where a list is long, `total` counts all and the list holds the first ones; nodes are full hexadecimal ids; what is
`bytes` may be no UTF-8.
"""

from collections.abc import Iterable
from typing import NamedTuple

#: So many files of a kind are listed of a changeset, and where so many were copied from.
FILES_MAX = 200


class FileChanges(NamedTuple):
    """What a changeset did to its files, None what is not known; `copies` are pairs of an added file and its source."""

    added: list[bytes] | None
    modified: list[bytes] | None
    removed: list[bytes] | None
    copies: list[tuple[bytes, bytes]] | None


class Changeset(NamedTuple):
    """A changeset as the changelog has it; `text` is its entry, see changelog_entry.py."""

    node: str
    parents: tuple[str, ...]
    text: bytes
    phase: str
    changes: FileChanges | None = None


class Added(NamedTuple):
    """The changesets that a transaction added and that everybody sees (hg's `served` view).

    `changesets` holds the oldest ones, `heads` pairs of node and changelog entry, the first `heads_total` of
    them as far as they are read; `query` is the revset that yields them all.
    """

    total: int
    first: str
    last: str
    heads: tuple[tuple[str, bytes], ...]
    heads_total: int
    query: str
    changesets: Iterable[Changeset]


class Act(NamedTuple):
    """Who did what and when: the time is in seconds since 1970, from the clock inside the transaction."""

    txnid: str
    time: float
    user: bytes | None
    source: bytes | None
    url: str | None


class Emitter(NamedTuple):
    """The repository that the events come from.

    `name` is its path below the root, as the file system has it; `source` the URI of the events.
    """

    name: bytes
    source: str
    repo_url: str | None
    detail: str
    max_changesets: int
