# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tables of the board and what they are searched by.

A row is a JSON object under a key; the columns are members of it. Rows with a `position` (of the event they come from)
leave the board when the log trims that event, or when the event is withdrawn.
"""

from __future__ import annotations

#: Another number makes every board again from its log. Raise it with each change of what a row has.
REDUCER_VERSION = 3

#: Table -> the members that are columns with an index.
TABLES: dict[str, tuple[str, ...]] = {
    # The state of a tree and what its repository is called; outlives the log.
    "trees": (),
    # `rank` sorts the pushes of a tree by its source's own numbers.
    "pushes": ("position", "event", "rank"),
    # Beside each push, because it changes often: when its document changed last, and what failed.
    "marks": ("push", "repo", "changed"),
    # Changesets; `short` has the first 12 digits, by which all is joined.
    "nodes": ("position", "node", "short", "repo"),
    "backouts": ("position", "short"),
    # Which push, or which tree's reason, names a bug.
    "named": ("position", "bug"),
    "builds": ("position", "short", "request"),
    # Only those of which no build is known, and those that ended while they waited to start again.
    "requests": ("position", "short"),
    "runs": ("position", "build", "place", "run", "whole"),
    "tests": ("position", "build", "file"),
    # Builders by what they build; outlives the log.
    "places": (),
    "bugs": ("position", "bug"),
    "files": ("position", "file", "owner"),
    "mentions": ("position", "short", "owner"),
    "bugfacts": ("position", "owner"),
    "treefacts": ("position", "repo"),
}

#: Columns that are read without the row, and by which nothing is searched.
WITHOUT_INDEX = ("place", "run", "whole")


def scripts() -> list[str]:
    """Return the statements that create what is missing."""
    made = ["CREATE TABLE IF NOT EXISTS board_state (name TEXT PRIMARY KEY, value) WITHOUT ROWID"]
    for table, columns in TABLES.items():
        listed = "".join(f"{column}, " for column in columns)
        made.append(f"CREATE TABLE IF NOT EXISTS board_{table} (key TEXT PRIMARY KEY, {listed}body TEXT NOT NULL)")
        made += [
            f"CREATE INDEX IF NOT EXISTS board_{table}_{column} ON board_{table} ({column})"
            for column in columns
            if column not in WITHOUT_INDEX
        ]
    return made
