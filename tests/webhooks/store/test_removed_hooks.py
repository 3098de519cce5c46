# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Of a hook that was removed, and of a text that was withdrawn, no byte stays in the store, the log, or beside them."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse_web.webhooks.hook import Attempt, Hook
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.send.upkeep import Upkeep
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import KeptConsent, Trouble
from sourcepulse_web.webhooks.store.store import HookStore
from support.webhooks.log import EXCHANGE, all_of, send_pushes

NOW = time.time()
SECRET = new_secret()


def refused(hook: str, id_: str, number: int, texts: random.Random) -> Attempt:
    """Return an attempt whose texts are of many lengths, each with a mark of the hook and the event."""
    mark = f"<{hook}.{id_}>"
    return Attempt(
        hook=hook, at=NOW - 3_600 * texts.random(), position=number, webhook_id=f"msg_{number:032x}",
        source="hg://host/repo", id=id_, type="hg.push.v1", routing_key="hg.push.repo", tries=1, outcome="refused",
        status=422, reason=f"{mark}reason", took_s=0.1, headers=mark * texts.randint(1, 60),
        excerpt=mark * texts.randint(1, 60),
    )  # fmt: skip


def left_in(folder: Path, *words: str) -> list[tuple[str, str]]:
    """Return each file that has one of the words, with the word."""
    files = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    return [(name, word) for name, raw in files.items() for word in words if word.encode() in raw]


# Where rows are removed between others, SQLite moves the others, and leaves bytes of them that no later removal finds:
# with each of these seeds.
@pytest.mark.parametrize("seed", [6, 11, 27, 28])
def test_of_removed_hooks_no_byte_stays_while_another_process_uses_the_store(tmp_path: Path, seed: int) -> None:
    texts, names = random.Random(seed), [f"hook{number:03}" for number in range(20)]
    with HookStore(tmp_path / "webhooks.db") as store, HookStore(tmp_path / "webhooks.db") as sender:
        for name in names:
            hook = Hook(name=name, url=f"https://chat.example.org/<{name}.", topics=("#",), owner=f"<{name}.")
            store.add(hook, SECRET, NOW)
            store.rotate(name, f"{SECRET}{name}", NOW + 60, NOW)
            sender.set_consent(name, KeptConsent(hook.url, granted=False, asked_at=NOW, reason=f"<{name}."))
            sender.troubles.put(name, {1: Trouble(1, NOW, NOW, 422, f"<{name}.")})
            sender.end_test(store.ask_test(name, NOW), refused(name, "test", 0, texts))
        sender.attempts.record([refused(texts.choice(names), "push", number, texts) for number in range(600)])
        texts.shuffle(names)
        for name in names[4:]:
            store.remove(name)
            assert sender.hook(name) is None
        marks = [f"<{name}." for name in names[4:]]
        assert left_in(tmp_path, *marks, *[f"{SECRET}{name}" for name in names[4:]]) == []
        assert sender.problems() == []
        assert all(sender.attempts.of_hook(name, 5) and len(sender.secrets(name)) == 2 for name in names[:4])


@pytest.mark.parametrize("cause", ["a reader", "a kill"])
def test_what_a_removal_could_not_empty_leaves_the_write_ahead_log_a_second_after_the_reader_or_the_kill(
    tmp_path: Path, cause: str
) -> None:
    url, seconds = "https://chat.example.org/a-secret-path", 0.0
    with (
        HookStore(tmp_path / "webhooks.db") as store,
        HookStore(tmp_path / "webhooks.db") as sender,
        HookQueues(tmp_path / "log.db", EXCHANGE) as queues,
        closing(sqlite3.connect(tmp_path / "webhooks.db", isolation_level=None)) as reader,
    ):
        upkeep = Upkeep(sender, queues, lambda: NOW, lambda: seconds)
        upkeep.trim()
        store.add(Hook(name="room", url=url, topics=("#",)), SECRET, NOW)
        if cause == "a reader":
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM hooks").fetchone()
            store.remove("room")
            seconds += 1.0
            upkeep.trim()
        else:
            with store.batch():
                # What comes after the commit is not reached.
                store.remove("room")
        assert left_in(tmp_path, "a-secret-path") == [("webhooks.db-wal", "a-secret-path")]
        if reader.in_transaction:
            reader.execute("COMMIT")
        seconds += 1.0
        upkeep.trim()
        assert left_in(tmp_path, "a-secret-path") == []


@pytest.mark.parametrize("seed", [1, 6, 12, 15])
def test_of_texts_about_withdrawn_events_no_byte_stays_once_the_sender_removed_what_is_old(
    tmp_path: Path, seed: int
) -> None:
    texts, events = random.Random(seed), [f"event{number:03}" for number in range(30)]
    with HookStore(tmp_path / "webhooks.db") as store:
        store.add(Hook(name="room", url="https://chat.example.org/", topics=("#",)), SECRET, NOW)
        # So often that the oldest attempts of an event are removed between those of others.
        made = [refused("room", id_, number, texts) for number, id_ in enumerate(texts.choices(events, k=1_200))]
        for number in range(0, len(made), 50):
            store.attempts.record(made[number : number + 50])
        texts.shuffle(events)
        for id_ in events:
            store.attempts.forget([("hg://host/repo", id_)], NOW)
        store.trim(NOW)
        assert left_in(tmp_path, *[f"<room.{id_}>" for id_ in events]) == []
        assert len(store.attempts.of_event("hg://host/repo", events[0])) > 10


def test_of_a_removed_queue_and_what_was_set_aside_nothing_stays_in_the_bytes_of_the_log(tmp_path: Path) -> None:
    with (
        HookQueues(tmp_path / "log.db", EXCHANGE, private=True) as sender,
        HookQueues(tmp_path / "log.db", EXCHANGE) as desk,
    ):
        for name in ("gone-from-here", "stays"):
            sender.declare(Hook(name=name, url="https://chat.example.org/", topics=("hg.#", f"hg.{name}")))
        send_pushes(tmp_path, range(1, 9))
        for name in ("gone-from-here", "stays"):
            for held in all_of(sender, name)[:4]:
                assert sender.set_aside(name, held.position, f"refused 5 times: of {name}")
        assert left_in(tmp_path, "of gone-from-here")
        desk.remove("gone-from-here")
        assert left_in(tmp_path, "gone-from-here") == []
        assert [each.reason for each in sender.set_aside_list("stays")] == ["refused 5 times: of stays"] * 4
        assert sender.figures("stays").waiting == 4
