# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board in the log's file: what was reduced so far, and the documents that pages draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sourcepulse_web.board import configured
from sourcepulse_web.board.documents import NOTHING_SEEN, BoardDoc, BoardUpdate, Seen, TreeDoc
from sourcepulse_web.board.story_documents import StoryDoc


class Board:
    """Reduces rows of the log to `board_*` tables of the same file; one thread."""

    def __init__(
        self, path: Path, trees: Callable[[], Mapping[str, configured.Tree]], clock: Callable[[], float]
    ) -> None:
        self._path = path
        self._trees = trees
        self._clock = clock

    def apply(self, rows: Sequence[Any]) -> None:
        """Reduce rows, in one transaction; rows that were reduced already are ignored."""
        raise NotImplementedError

    def rebuild(self) -> None:
        """Make the tables again from what the log has; states of trees and places older than the log are kept."""
        raise NotImplementedError

    def trees(self) -> list[TreeDoc]:
        """Return all trees by name."""
        raise NotImplementedError

    def page(self, repo: str, *, limit: int = 50, before: int | None = None) -> BoardDoc | None:
        """Return the newest pushes, or those before the push `before`; None for a tree that nothing is known of."""
        raise NotImplementedError

    def changed(self, repo: str, after: int, until: int) -> BoardUpdate | None:
        """Return what positions in (after, until] changed, or None if nothing."""
        raise NotImplementedError

    def story(self, prefix: str) -> list[StoryDoc]:
        """Return a story for each push of each changeset that begins so, newest first."""
        raise NotImplementedError

    def seen(self, event: Mapping[str, Any]) -> Seen:
        """Return what the board knows of an event, as decoded JSON."""
        del event
        return NOTHING_SEEN

    def close(self) -> None:
        """Close the file."""
