# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Record how far this extension has seen the changelog, to notice changesets that an hg without it added.

A file in the store has the last nodes. Each transaction writes it as part of itself, so it is committed or rolled back
with the transaction, even in a crash. A strip keeps the order of the remaining changesets, so all that follow the
newest of these nodes that still exists were added unseen. If none exists, or without the file, nothing is known.
"""

from __future__ import annotations

from typing import Any

NAME = b"sourcepulse-seen"
#: If an hg without the extension strips fewer changesets than this, what it then adds is still noticed.
NODES_MAX = 32
_HEX_NODE_CHARACTERS = 40


def note_seen(repo: Any, tr: Any) -> None:
    """Make a transaction write the nodes that the changelog ends with now."""
    content = b"".join(node + b"\n" for node in _last_nodes(repo))
    tr.addfilegenerator(NAME, (NAME,), lambda file: file.write(content), location=b"")


def write_seen(repo: Any) -> None:
    """Write the file outside a transaction; the caller holds the lock of the store."""
    with repo.svfs(NAME, b"wb", atomictemp=True) as file:
        file.write(b"".join(node + b"\n" for node in _last_nodes(repo)))


def unseen(repo: Any) -> tuple[int, int] | None:
    """Return start and stop of the revisions that the extension has not seen; None if there are none."""
    changelog = repo.changelog
    stop = len(changelog)
    start = _seen_revisions(changelog, repo.svfs.tryread(NAME))
    return None if start is None or start >= stop else (start, stop)


def _seen_revisions(changelog: Any, content: bytes) -> int | None:
    revision_of = changelog.index.get_rev
    for line in content.split(b"\n")[:NODES_MAX]:
        if len(line) != _HEX_NODE_CHARACTERS:
            return None
        revision = revision_of(bytes.fromhex(line.decode("ascii")))
        if revision is not None:
            return int(revision) + 1
    return None


def _last_nodes(repo: Any) -> list[bytes]:
    changelog = repo.changelog
    last = len(changelog) - 1
    return [changelog.node(revision).hex().encode() for revision in range(last, max(last - NODES_MAX, -1), -1)]
