# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Facts about a transaction, from which its events are made.

These are NamedTuples, because a dataclass takes about eight times as long to create, in every push.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

#: At most this many files of each kind, and this many copies, are listed for a changeset.
FILES_MAX = 200


class FileChanges(NamedTuple):
    """What a changeset did to its files, None if unknown; `copies` are pairs of an added file and its source."""

    added: list[bytes] | None
    modified: list[bytes] | None
    removed: list[bytes] | None
    copies: list[tuple[bytes, bytes]] | None


class Changeset(NamedTuple):
    """A changeset; `text` is its raw changelog entry, see changelog_entry.py."""

    node: str
    parents: tuple[str, ...]
    text: bytes
    phase: str
    changes: FileChanges | None = None


class Added(NamedTuple):
    """The changesets that a transaction added and that a pull can see (hg's `served` view).

    `changesets` holds the oldest ones. `heads` holds pairs of node and changelog entry; it may be cut, `heads_total`
    counts all heads. `query` is the revset that yields all the changesets.
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


class Head(NamedTuple):
    """A head of a named branch."""

    node: str
    branch: bytes


class Heads(NamedTuple):
    """The first heads, and how many there are in total."""

    total: int
    heads: Sequence[Head]


class HeadChanges(NamedTuple):
    """Heads of new branches, heads that a branch gained, and heads that close their branch."""

    of_new_branches: Heads
    gained: Heads
    closing: Heads


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


class PhaseChange(NamedTuple):
    node: str
    oldphase: str
    phase: str


class PhaseChanges(NamedTuple):
    """Phase changes of changesets that existed before, the oldest changesets first."""

    total: int
    changes: Sequence[PhaseChange]


class BookmarkChange(NamedTuple):
    """A bookmark and its target before and after, None if a pull sees no target."""

    name: bytes
    oldnode: str | None
    node: str | None


class TagChange(NamedTuple):
    """A tag and its target before and after new lines of `.hgtags`, and the changeset that adds the lines."""

    name: bytes
    oldnode: str | None
    node: str | None
    changeset: str
