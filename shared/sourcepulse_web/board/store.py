# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Rows of the board in a SQLite connection; the caller holds the transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from sourcepulse_web.board.fact import UnreadableError
from sourcepulse_web.board.shape import INTEGER_LIMIT
from sourcepulse_web.board.tables import TABLES

Row = dict[str, Any]


class Put(NamedTuple):
    """Write a row, in place of one with the same key."""

    table: str
    key: str
    row: Row


class Delete(NamedTuple):
    """Remove a row; the board may not have it."""

    table: str
    key: str


Change = Put | Delete


class View(Protocol):
    """What the reducer may read: rows as they were before the event."""

    def get(self, table: str, key: str) -> Row | None: ...
    def find(self, table: str, column: str, value: str | int) -> list[Row]: ...
    def between(
        self, table: str, column: str, low: str, high: str, limit: int, *, descending: bool = False
    ) -> list[Row]: ...


class Store:
    """Reads and writes rows; table and column names are those of `tables.py`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._get = {table: f"SELECT body FROM board_{table} WHERE key = ?" for table in TABLES}  # noqa: S608
        self._put = {
            table: f"INSERT OR REPLACE INTO board_{table} VALUES (?, {'?, ' * len(columns)}?)"  # noqa: S608
            for table, columns in TABLES.items()
        }

    def get(self, table: str, key: str) -> Row | None:
        found = self._db.execute(self._get[table], (key,)).fetchone()
        return _row(found[0]) if found else None

    def find(self, table: str, column: str, value: str | int) -> list[Row]:
        """Return the rows with a value in a column, by key."""
        query = f"SELECT body FROM board_{table} WHERE {column} = ? ORDER BY key"  # noqa: S608
        return _rows(self._db.execute(query, (value,)))

    def find_any(self, table: str, column: str, values: Iterable[str | int]) -> list[Row]:
        """Return the rows with one of the values in a column, by column and key."""
        query = (
            f"SELECT body FROM board_{table} WHERE {column} IN (SELECT value FROM json_each(?)) "  # noqa: S608
            f"ORDER BY {column}, key"
        )
        return _rows(self._db.execute(query, (json.dumps(list(values)),)))

    def between(
        self, table: str, column: str, low: str, high: str, limit: int, *, descending: bool = False
    ) -> list[Row]:
        """Return the first rows whose column is above `low` and below `high`, in its order."""
        order = "DESC" if descending else "ASC"
        query = (
            f"SELECT body FROM board_{table} WHERE {column} > ? AND {column} < ? "  # noqa: S608
            f"ORDER BY {column} {order} LIMIT ?"
        )
        return _rows(self._db.execute(query, (low, high, limit)))

    def of_pushes(self, table: str, pushes: Sequence[int]) -> list[tuple[int, str, Row]]:
        """Return a push, one of its nodes, and a row whose revision has the same first digits."""
        query = (
            f"SELECT n.position, n.node, b.body FROM board_nodes n JOIN board_{table} b ON b.short = n.short "  # noqa: S608
            "WHERE n.position IN (SELECT value FROM json_each(?))"
        )
        found = self._db.execute(query, (json.dumps(pushes),)).fetchall()
        rows = _rows((body,) for _, _, body in found)
        return [(position, node, row) for (position, node, _), row in zip(found, rows, strict=True)]

    def whole_runs(self, builds: Iterable[str]) -> list[tuple[str, str, str]]:
        """Return build, place and name of the test runs that finished and are whole."""
        query = "SELECT build, place, run FROM board_runs WHERE whole = 1 AND build IN (SELECT value FROM json_each(?))"
        return self._db.execute(query, (json.dumps(list(builds)),)).fetchall()

    def position(self) -> int:
        """Return the position up to which all is reduced."""
        return self._state("position")

    def withdrawn(self) -> int:
        """Return the position up to which it is withdrawn what events beyond `position` withdrew."""
        return self._state("withdrawn")

    def nodes_from(self, prefix: str, limit: int) -> list[Row]:
        """Return the changesets of pushes whose node begins so, newest push first."""
        query = "SELECT body FROM board_nodes WHERE node >= ? AND node < ? ORDER BY position DESC LIMIT ?"
        return _rows(self._db.execute(query, (prefix, f"{prefix}g", limit)))

    def repos_with(self, short: str) -> set[str]:
        """Return the repositories that have a changeset."""
        return {repo for (repo,) in self._db.execute("SELECT repo FROM board_nodes WHERE short = ?", (short,))}

    def changed(self, repo: str, after: int, until: int) -> list[int]:
        """Return the pushes of a repository that were changed by positions in (after, until]."""
        query = "SELECT push FROM board_marks WHERE changed > ? AND changed <= ? AND repo = ? ORDER BY push"
        return [push for (push,) in self._db.execute(query, (after, until, repo))]

    def pushes_before(self, position: int) -> list[tuple[int, str]]:
        """Return position and repository of the pushes before a position."""
        query = (
            "SELECT p.position, m.repo FROM board_pushes p JOIN board_marks m ON m.push = p.position "
            "WHERE p.position < ? ORDER BY p.position"
        )
        return self._db.execute(query, (position,)).fetchall()

    def last_changed(self, repos: Sequence[str]) -> int:
        """Return the position that changed one of these repositories last; 0 if none is known."""
        marks = ", ".join("?" * len(repos))
        query = f"SELECT max(changed) FROM board_marks WHERE repo IN ({marks})"  # noqa: S608
        pushes = self._db.execute(query, repos).fetchone()[0] or 0
        trees = (self.get("trees", repo) for repo in repos)
        return max([int(pushes), *(int(tree["changed"]) for tree in trees if tree)])

    def all(self, table: str) -> list[Row]:
        """Return all rows by key; of tables that stay small."""
        return _rows(self._db.execute(f"SELECT body FROM board_{table} ORDER BY key"))  # noqa: S608

    def count(self, table: str, column: str, low: str, high: str) -> int:
        """Return how many rows have a column above `low` and below `high`."""
        query = f"SELECT count(*) FROM board_{table} WHERE {column} > ? AND {column} < ?"  # noqa: S608
        return int(self._db.execute(query, (low, high)).fetchone()[0])

    def write(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if isinstance(change, Put):
                values = [change.row[column] for column in TABLES[change.table]]
                body = json.dumps(change.row, separators=(",", ":"))
                self._db.execute(self._put[change.table], (change.key, *values, body))
            else:
                self._db.execute(f"DELETE FROM board_{change.table} WHERE key = ?", (change.key,))  # noqa: S608

    def _state(self, name: str) -> int:
        found = self._db.execute("SELECT value FROM board_state WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def clear(self, table: str) -> None:
        self._db.execute(f"DELETE FROM board_{table}")  # noqa: S608


def storable(changes: Sequence[Change]) -> Sequence[Change]:
    """Return changes whose keys and columns SQLite can store; UnreadableError for other types and half characters."""
    for change in changes:
        columns = [] if isinstance(change, Delete) else [change.row[each] for each in TABLES[change.table]]
        if not all(map(_is_storable, (change.key, *columns))):
            raise UnreadableError(f"a value cannot be stored in {change.table}")
    return changes


def _is_storable(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or (isinstance(value, int) and -INTEGER_LIMIT <= value < INTEGER_LIMIT)


def _rows(bodies: Iterable[tuple[str]]) -> list[Row]:
    """Return many rows; one text is decoded twice as fast as many."""
    rows: list[Row] = json.loads(f"[{','.join(body for (body,) in bodies)}]")
    return rows


def _row(body: str) -> Row:
    row: Row = json.loads(body)
    return row
