# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How far this extension has seen the changelog, so that it notices what an hg without it added.

The last nodes stand in a file of the store, which each transaction writes as a part of itself: with it they stay or
go, also through a crash. A strip keeps the order of what it leaves, so all that follows the youngest of these nodes
that is still there was added unseen. Where none is left, or in a repository without the file, nothing can be said.
"""

from __future__ import annotations

from typing import Any

NAME = b"sourcepulse-seen"
#: As many changesets may an hg without the extension strip, and what it adds then is noticed.
NODES_MAX = 32
_HEX_NODE_CHARACTERS = 40


def note_seen(repo: Any, tr: Any) -> None:
    """Have a transaction write what the changelog ends with now."""
    content = b"".join(node + b"\n" for node in _last_nodes(repo))
    tr.addfilegenerator(NAME, (NAME,), lambda file: file.write(content), location=b"")


def write_seen(repo: Any) -> None:
    """Write it outside of a transaction; the caller has the lock of the store."""
    with repo.svfs(NAME, b"wb", atomictemp=True) as file:
        file.write(b"".join(node + b"\n" for node in _last_nodes(repo)))


def unseen(repo: Any) -> tuple[int, int] | None:
    """Return from where to before where the changelog has revisions that nothing of ours saw; None if it has none."""
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
