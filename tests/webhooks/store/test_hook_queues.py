# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The queue of a hook in the log: leased in order by one process, kept over its end, counted when something is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.brokers.file.tables import LogBusyError
from sourcepulse.brokers.file.upkeep import trim_now
from sourcepulse.cli.main import main
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse_web.webhooks.errors import QueueMissingError
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Figures
from support.brokers.embedded_log import log_url, wait_until
from support.webhooks.log import EXCHANGE, HOLDER, all_of, child, hook, positions, send_pushes

NAME = hook().name
#: Publishes pushes one by one in a process of its own.
PUBLISHER = """
import sys
from pathlib import Path
from support.webhooks.log import send_pushes
folder, repo, count = sys.argv[1:]
for number in range(1, int(count) + 1):
    send_pushes(Path(folder), [number], repo=repo)
"""


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[HookQueues]:
    with HookQueues(tmp_path / "log.db", EXCHANGE, private=True) as opened:
        yield opened


def test_a_hook_gets_what_comes_after_it_in_order_as_far_as_there_is_room(tmp_path: Path, queues: HookQueues) -> None:
    send_pushes(tmp_path, [1, 2])
    queues.declare(hook())
    send_pushes(tmp_path, [3, 4, 5, 6])
    assert positions(queues.look(NAME, 2)) == [3, 4]
    assert positions(queues.look(NAME, 0)) == []
    assert positions(queues.look(NAME, 10)) == [5, 6]
    assert queues.look(NAME, 10) == []
    assert queues.held(NAME) == 4
    loaded = queues.load(4)
    assert loaded is not None
    assert (json.loads(loaded.body)["data"], loaded.type, loaded.withdrawn) == ({"number": 4}, "hg.push.v1", False)
    with queues.batch():
        queues.settle(NAME, [3, 4, 99])
        assert queues.set_aside(NAME, 5, "answered 422 five times")
    (letter,) = queues.set_aside_list(NAME)
    assert (letter.position, letter.source, letter.reason) == (5, "hg://host/repo", "answered 422 five times")
    found = queues.figures(NAME)
    assert found == Figures(waiting=1, oldest_at=found.oldest_at, set_aside=1, oldest=6)
    assert found.oldest_at is not None
    assert abs(found.oldest_at - time.time()) < 60


def test_a_new_hook_gets_nothing_of_a_former_one_of_its_name(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    send_pushes(tmp_path, [1, 2, 3])
    all_of(queues, NAME)
    queues.set_aside(NAME, 1, "refused")
    with HookQueues(queues.path, EXCHANGE) as desk:
        desk.remove(NAME)
        assert desk.figures(NAME) == Figures(is_declared=False)
        with pytest.raises(QueueMissingError):
            queues.look(NAME, 10)
        queues.settle(NAME, [2])
        desk.declare(hook())
    send_pushes(tmp_path, [4])
    assert positions(all_of(queues, NAME)) == [4]
    assert queues.set_aside_list(NAME) == []
    assert not queues.ensure(hook(), 0.0)


def test_other_topics_count_for_what_comes_later(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook(NAME, "hg.push.a"))
    assert queues.look(NAME, 10) == []
    send_pushes(tmp_path, [1], repo="a")
    send_pushes(tmp_path, [2], repo="b")
    queues.rebind(hook(NAME, "hg.push.b"))
    send_pushes(tmp_path, [3], repo="a")
    send_pushes(tmp_path, [4], repo="b")
    assert positions(all_of(queues, NAME)) == [1, 4]


def test_what_a_killed_process_held_comes_again_in_order_and_no_file_of_it_stays(
    tmp_path: Path, queues: HookQueues
) -> None:
    queues.declare(hook())
    queues.declare(hook("other"))
    send_pushes(tmp_path, range(1, 11))
    for _ in range(3):
        with child(HOLDER, str(queues.path), NAME, "5") as holder:
            assert holder.stdout is not None
            held = [int(word) for word in holder.stdout.readline().split()]
            assert held[-4:] == [2, 3, 4, 5] or held == [2, 3, 4, 5, 6]
            assert holder.stdout.readline() == "settled\n"
            holder.kill()
    assert positions(all_of(queues, NAME)) == list(range(2, 11))
    assert positions(all_of(queues, "other")) == list(range(1, 11))
    queues.close()
    assert list(tmp_path.glob("*consumer*")) == []


def test_only_one_process_gets_events_and_the_next_one_when_it_ends(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    assert queues.look(NAME, 10) == []
    with HookQueues(queues.path, EXCHANGE) as other:
        assert other.look(NAME, 10) == []
        send_pushes(tmp_path, [1, 2])
        assert other.look(NAME, 10) == []
        assert positions(queues.look(NAME, 1)) == [1]
        queues.close()
        found: list[int] = []
        wait_until(lambda: found.extend(positions(other.look(NAME, 10))) or len(found) == 2, 30)
        assert found == [1, 2]


def test_events_of_many_publishers_are_leased_once_each_and_in_order(tmp_path: Path, queues: HookQueues) -> None:
    names = [f"hook-{number}" for number in range(4)]
    for number, name in enumerate(names):
        queues.declare(hook(name, *([f"hg.push.{number}"] if number < 3 else ["#"])))
    publishers = [child(PUBLISHER, str(tmp_path), str(number), "40") for number in range(3)]
    got: dict[str, list[int]] = {name: [] for name in names}

    def look_and_settle() -> bool:
        queues.wait(0.5)
        for name in names:
            held = positions(queues.look(name, 7))
            got[name] += held
            with queues.batch():
                queues.settle(name, held)
        return len(got["hook-3"]) >= 120 and all(queues.figures(name).waiting == 0 for name in names)

    wait_until(look_and_settle, 90)
    assert [publisher.wait(30) for publisher in publishers] == [0, 0, 0]
    assert [len(got[name]) for name in names] == [40, 40, 40, 120]
    assert all(each == sorted(set(each)) for each in got.values())


def test_what_the_log_removes_while_it_is_held_is_counted_and_is_no_error(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    send_pushes(tmp_path, [1, 2, 3])
    assert positions(queues.look(NAME, 2)) == [1, 2]
    trim_now(log_url(tmp_path), keep_seconds=0.0)
    assert queues.load(1) is None
    queues.settle(NAME, [1])
    assert queues.set_aside(NAME, 2, "late")
    assert queues.look(NAME, 10) == []
    assert queues.figures(NAME) == Figures(lost=3)
    send_pushes(tmp_path, [4])
    assert positions(all_of(queues, NAME)) == [4]


def test_a_queue_lasts_and_its_list_shows_no_limit(
    tmp_path: Path, queues: HookQueues, capsys: pytest.CaptureFixture[str]
) -> None:
    queues.declare(hook())
    with closing(sqlite3.connect(queues.path)) as db, db:
        db.execute("UPDATE queues SET used_at = 0")
        db.execute("UPDATE log SET swept_at = 0")
    send_pushes(tmp_path, [1])
    assert positions(queues.look(NAME, 10)) == [1]
    assert main(["queues", "--json", "--broker", f"file://{queues.path}"]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {key: row[key] for key in ("name", "depth", "limit", "dropped", "consumers", "patterns")} == {
        "name": "webhook.chat-room", "depth": 1, "limit": None, "dropped": 0, "consumers": 1, "patterns": ["hg.push.#"],
    }  # fmt: skip


def test_a_locked_log_is_named_and_what_was_leased_stays_leased(
    tmp_path: Path, queues: HookQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse.brokers.file.tables.LOCK_WAIT_SECONDS", 0.3)
    queues.declare(hook())
    send_pushes(tmp_path, [1, 2])
    assert positions(queues.look(NAME, 1)) == [1]
    opening = queues.openings
    with closing(sqlite3.connect(queues.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogBusyError):
            queues.settle(NAME, [1])
        with pytest.raises(LogBusyError):
            queues.look(NAME, 10)
        db.execute("ROLLBACK")
    assert (queues.openings, queues.held(NAME)) == (opening, 1)
    queues.settle(NAME, [1])
    assert positions(queues.look(NAME, 10)) == [2]


def test_after_the_log_was_replaced_the_queue_is_declared_again_and_the_owner_can_hear_of_it(
    tmp_path: Path, queues: HookQueues
) -> None:
    added_at = time.time()
    queues.declare(hook())
    send_pushes(tmp_path, [1, 2])
    assert positions(queues.look(NAME, 1)) == [1]
    opening = queues.openings
    for path in tmp_path.glob("log.db*"):
        if "consumer" not in path.name:
            path.unlink()
    send_pushes(tmp_path, [7])
    with pytest.raises(BrokerUnavailableError, match="replaced"):
        wait_until(lambda: queues.look(NAME, 10) and False)
    with pytest.raises(QueueMissingError):
        queues.look(NAME, 10)
    assert queues.openings > opening
    assert queues.ensure(hook(), added_at), "it was missing"
    assert positions(all_of(queues, NAME)) == [1], "what the new log has since the hook was added"


def test_a_log_restored_from_a_backup_is_delivered_from_there(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    send_pushes(tmp_path, [1, 2, 3])
    queues.settle(NAME, positions(queues.look(NAME, 1)))
    queues.close()
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(queues.path)) as db, closing(sqlite3.connect(backup)) as copy:
        db.backup(copy)
    send_pushes(tmp_path, [4, 5])
    with HookQueues(queues.path, EXCHANGE) as sender:
        assert len(all_of(sender, NAME)) == 4
        for path in tmp_path.glob("log.db-*"):
            path.unlink()
        shutil.move(backup, queues.path)
        send_pushes(tmp_path, [6])
        with pytest.raises(BrokerUnavailableError, match="replaced"):
            wait_until(lambda: sender.look(NAME, 10) and False)
        loaded = [sender.load(each.position) for each in all_of(sender, NAME)]
        assert [json.loads(each.body)["data"]["number"] for each in loaded if each] == [2, 3, 6]


def test_a_wait_ends_when_something_is_published_or_a_thread_rings(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    queues.look(NAME, 1)
    queues.wait(0.0)
    for act in (queues.interrupt, lambda: send_pushes(tmp_path, [1])):
        timer = threading.Timer(0.1, act)
        timer.start()
        began = time.monotonic()
        assert queues.wait(60.0)
        assert time.monotonic() - began < 30
        timer.join()
    assert not queues.wait(0.0)


def test_figures_of_200_hooks_are_those_of_each(tmp_path: Path, queues: HookQueues) -> None:
    names = [f"hook-{number}" for number in range(200)]
    for number, name in enumerate(names):
        queues.declare(dataclasses.replace(hook(name), topics=(f"hg.push.{number % 2}",)))
    send_pushes(tmp_path, range(1, 31), repo="0")
    with HookQueues(queues.path, EXCHANGE) as desk:
        found = desk.figures_of(names)
        assert {(each.waiting, each.lost) for each in found.values()} == {(30, 0), (0, 0)}
        assert [found[name].waiting for name in names[:4]] == [30, 0, 30, 0]
        all_of(queues, "hook-0")
        queues.settle("hook-0", range(1, 21))
        again = desk.figures_of(names)
        assert again["hook-0"].waiting == 10
        assert again["hook-2"] == found["hook-2"]
        assert desk.matches(["hg.push.0"], 0.0).count == 30
        assert desk.matches(["hg.push.1"], 0.0).count == 0
        assert desk.matches(["#"], time.time() + 60).count == 0
