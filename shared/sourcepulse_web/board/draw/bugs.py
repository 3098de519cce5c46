# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Bugs as far as events within the log describe them."""

from __future__ import annotations

from sourcepulse_web.board.documents import BugDoc
from sourcepulse_web.board.store import Row, Store


class Bugs:
    """Looks bugs up, each once for a document; `bugzilla` is the address of the tree's Bugzilla."""

    def __init__(self, store: Store, bugzilla: str | None) -> None:
        self._store = store
        self._bugzilla = bugzilla
        self._rows: dict[int, Row | None] = {}
        self._guesses: dict[str, BugDoc | None] = {}

    def row(self, bug: int) -> Row | None:
        """Return what is known of a bug; with several Bugzillas, of the one that changed last."""
        if bug not in self._rows:
            found = [row for row in self._store.find("bugs", "bug", bug) if not row["hidden"]]
            self._rows[bug] = max(found, key=lambda row: (str(row["changed_at"]), str(row["owner"])), default=None)
        return self._rows[bug]

    def document(self, bug: int) -> BugDoc:
        row = self.row(bug)
        return BugDoc(
            id=bug,
            url=f"{self._bugzilla}/show_bug.cgi?id={bug}" if self._bugzilla else None,
            open=row["open"] if row else None,
            summary=row["summary"] if row else None,
        )

    def guess(self, file: str) -> BugDoc | None:
        """Return the oldest open bug whose summary has the name of a test's file."""
        if not file:
            return None
        if file not in self._guesses:
            bugs = [row["bug"] for row in self._store.find("files", "file", file)]
            self._guesses[file] = self.document(min(bugs)) if bugs else None
        return self._guesses[file]
