# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What was found out about a transaction, of which its events are made.

These are NamedTuples, because a dataclass takes about eight times as long to create, in every push.
"""

from collections.abc import Iterable, Sequence
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


class Head(NamedTuple):
    """A head of a named branch."""

    node: str
    branch: bytes


class Heads(NamedTuple):
    """Heads of which the first ones are read."""

    total: int
    heads: Sequence[Head]


class HeadChanges(NamedTuple):
    """Heads of branches that are new, heads that a branch gained, heads that close their branch."""

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
    """The phases of a changeset before and after."""

    node: str
    oldphase: str
    phase: str


class PhaseChanges(NamedTuple):
    """Phase changes of changesets that existed before, the oldest changesets first."""

    total: int
    changes: Sequence[PhaseChange]


class BookmarkChange(NamedTuple):
    """A bookmark and its target before and after, None where there is none that a pull can see."""

    name: bytes
    oldnode: str | None
    node: str | None


class TagChange(NamedTuple):
    """A tag and its target before and after new lines of `.hgtags`, and the changeset that has them."""

    name: bytes
    oldnode: str | None
    node: str | None
    changeset: str
