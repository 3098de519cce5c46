# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The ids that were handled, as several processes at one file see them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.consumer.memory.handled import SEEN_SLACK, HandledNames
from sourcepulse.consumer.memory.state import ConsumerState

WINDOW = 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ConsumerState(tmp_path / "state.db").close()
    return tmp_path / "state.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def test_an_id_counts_when_its_transaction_is_committed(db: sqlite3.Connection) -> None:
    seen = HandledNames(WINDOW)
    db.execute("BEGIN IMMEDIATE")
    seen.add(db, ["one"])
    db.execute("ROLLBACK")
    seen.catch_up(db)
    assert not seen.has("one")
    db.execute("BEGIN IMMEDIATE")
    seen.add(db, ["one", "two"])
    db.execute("COMMIT")
    seen.catch_up(db)
    assert seen.has("one")
    db.execute("BEGIN IMMEDIATE")
    seen.add(db, ["two", "three"])
    db.execute("COMMIT")
    seen.catch_up(db)
    assert seen.has("three")
    assert [row[0] for row in db.execute("SELECT id FROM seen ORDER BY position")] == ["one", "two", "three"]


def test_what_one_process_recorded_the_others_know_and_none_keeps_more_than_the_window(path: Path) -> None:
    first, second = ConsumerState(path, window=WINDOW), ConsumerState(path, window=WINDOW)
    total = 2 * SEEN_SLACK + 50
    for number in range(total):
        state = (first, second)[number % 2]
        assert not state.is_handled(str(number))
        state.record([(str(number), None, 0)])
    third = ConsumerState(path, window=WINDOW)
    for state in (first, second, third):
        assert all(state.is_handled(str(number)) for number in range(total - WINDOW, total))
        assert not state.is_handled(str(2 * SEEN_SLACK - WINDOW - 2))
        state.close()


def test_a_file_whose_ids_have_an_index_from_earlier_days_goes_on_to_serve(path: Path, db: sqlite3.Connection) -> None:
    db.execute("DROP TABLE seen")
    db.execute("CREATE TABLE seen (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)")
    db.execute("INSERT INTO seen (id) VALUES ('old')")
    state = ConsumerState(path)
    assert state.is_handled("old")
    state.record([("old", None, 0), ("new", None, 0)])
    assert state.is_handled("new")
    state.close()
