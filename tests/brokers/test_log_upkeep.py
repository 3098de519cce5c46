# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An idle log is trimmed as well, and nothing of what was removed is left in its files."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.brokers.file.admin import bring_back_dead_letters, dead_letters, log_statistics, queue_statistics
from sourcepulse.brokers.file.upkeep import trim_now
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import log_url, message, publish, spec, subscribe


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


def test_an_idle_log_keeps_what_it_may_and_removes_the_rest(url: BrokerUrl) -> None:
    assert trim_now(url, keep_seconds=1) == 0, "there is no log yet"
    subscribe(url, spec(queue="q")).close()
    publish(url, [message(number, body=b"text that goes" * 10) for number in range(1_500)])
    assert trim_now(url, keep_seconds=3600) == 0
    assert trim_now(url, keep_bytes=log_statistics(url).bytes // 2) == 750
    assert trim_now(url, keep_seconds=0) == 750
    assert log_statistics(url).messages == 0
    assert log_statistics(url).bytes == 0
    assert queue_statistics(url)[0].lost == 1_500
    files = [path for path in Path(url.path).parent.glob("log.db*") if path.is_file()]
    assert not any(b"text that goes" in path.read_bytes() for path in files)


def test_a_dead_letter_that_was_brought_back_holds_up_nothing_and_goes_in_its_turn(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(queue="q"))
    publish(url, [message(1)])
    delivery = queue.receive(5)
    assert delivery is not None
    queue.reject(delivery, "no")
    queue.close()
    trim_now(url, keep_seconds=0)
    publish(url, [message(2)])
    time.sleep(0.5)
    # It counts as appended now, and was at a position before the others.
    bring_back_dead_letters(url, "q", dead_letters(url, "q"))
    assert trim_now(url, keep_seconds=0.4) == 1
    assert log_statistics(url).messages == 1
    assert trim_now(url, keep_seconds=0) == 1
    assert log_statistics(url).bytes == 0


def test_what_format_1_stored_is_looked_at_while_the_log_is_idle(url: BrokerUrl) -> None:
    publish(url, [message(number) for number in range(1_200)])
    with closing(sqlite3.connect(url.path)) as db, db:
        db.execute("DELETE FROM envelopes")
        db.execute("UPDATE log SET known_end = 0")
    assert trim_now(url) == 0
    with closing(sqlite3.connect(url.path)) as db:
        assert db.execute("SELECT count(*) FROM envelopes").fetchone() == (1_200,)
        assert db.execute("SELECT count(*) FROM unread").fetchone() == (0,)
