# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The hook store keeps hooks, secrets, standings, tests and troubles, for its owner alone."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sourcepulse.errors import NothingThereError
from sourcepulse_web.webhooks.errors import HookExistsError, HookStoreRefusedError, UnknownHookError
from sourcepulse_web.webhooks.hook import Attempt, Handshake, Hook, Standing, State
from sourcepulse_web.webhooks.store.records import KeptConsent, Trouble
from sourcepulse_web.webhooks.store.store import HookStore

HOOK = Hook(name="chat-room", url="https://chat.example.org/in/7", topics=("hg.tree.#", "hg.push.#"), owner="a@b.org")
NOW = 1_796_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HookStore]:
    with HookStore(tmp_path / "webhooks.db") as opened:
        yield opened


def attempt(number: int = 1, **others: object) -> Attempt:
    values: dict[str, object] = {
        "hook": HOOK.name, "at": NOW, "position": number, "webhook_id": f"msg_{number}", "source": "hg://host/repo",
        "id": f"id-{number}", "type": "hg.push.v1", "routing_key": "hg.push.repo", "tries": 1, "outcome": "delivered",
        "status": 200, "reason": "", "took_s": 0.05,
    }  # fmt: skip
    return Attempt(**(values | others))  # type: ignore[arg-type]


def test_a_hook_is_kept_as_it_was_added_changed_and_removed(store: HookStore) -> None:
    store.add(HOOK, "whsec_first", NOW)
    with pytest.raises(HookExistsError, match="choose another name"):
        store.add(HOOK, "whsec_second", NOW)
    assert (store.hooks(), store.hook(HOOK.name), store.added_at(HOOK.name)) == ([HOOK], HOOK, NOW)
    assert store.standing(HOOK.name) == Standing(since=NOW)
    store.set_consent(HOOK.name, KeptConsent(HOOK.url, granted=True, asked_at=NOW, rate="120"))
    edited = dataclasses.replace(HOOK, topics=("#",), handshake=Handshake.TRY)
    store.change(edited)
    assert store.hook(HOOK.name) == edited
    assert store.consent(HOOK.name) == KeptConsent(HOOK.url, granted=True, asked_at=NOW, rate="120")
    store.change(dataclasses.replace(HOOK, url="https://other.example.org/"))
    assert store.consent(HOOK.name) is None, "another address did not consent"
    assert store.remove(HOOK.name)
    assert not store.remove(HOOK.name)
    assert store.hooks() == []
    for ask in (store.standing, store.secrets, store.added_at, store.consent):
        with pytest.raises(UnknownHookError):
            ask(HOOK.name)


def test_a_store_of_the_first_format_keeps_its_hooks_and_a_consent_of_an_unknown_origin(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.db"
    with HookStore(path) as store:
        store.add(HOOK, "whsec_first", NOW)
        store.set_consent(HOOK.name, KeptConsent(HOOK.url, granted=True, asked_at=NOW, origin="tree.example.org"))
    with closing(sqlite3.connect(path)) as db:
        db.executescript("ALTER TABLE consents DROP COLUMN origin; PRAGMA user_version = 1;")
    with HookStore(path) as store:
        assert store.hooks() == [HOOK]
        assert store.consent(HOOK.name) == KeptConsent(HOOK.url, granted=True, asked_at=NOW)


def test_a_former_secret_signs_until_its_end_and_no_byte_of_it_is_left(store: HookStore) -> None:
    store.add(HOOK, "whsec_first", NOW)
    store.rotate(HOOK.name, "whsec_second", old_until=NOW + 60, now=NOW)
    assert [(each.value, each.until) for each in store.secrets(HOOK.name)] == [
        ("whsec_second", None),
        ("whsec_first", NOW + 60),
    ]
    assert "whsec" not in repr(store.secrets(HOOK.name))
    store.trim(NOW + 61)
    assert [each.value for each in store.secrets(HOOK.name)] == ["whsec_second"]
    store.rotate(HOOK.name, "whsec_third", old_until=NOW, now=NOW + 62)
    assert [each.value for each in store.secrets(HOOK.name)] == ["whsec_third"]
    store.remove(HOOK.name)
    left = b"".join(each.read_bytes() for each in store.path.parent.iterdir())
    assert b"whsec_" not in left


def test_two_processes_that_change_a_standing_lose_nothing(store: HookStore) -> None:
    store.add(HOOK, "whsec_first", NOW)
    with HookStore(store.path) as other:
        version = store.data_version()
        other.update_standing(HOOK.name, lambda was: dataclasses.replace(was, state=State.PAUSED, reason="by a@b.org"))
        assert store.data_version() != version
        found = store.update_standing(HOOK.name, lambda was: dataclasses.replace(was, delivered=was.delivered + 7))
        assert found == Standing(state=State.PAUSED, reason="by a@b.org", since=NOW, delivered=7)
        assert other.standings() == {HOOK.name: found}


def test_a_test_is_asked_by_one_process_and_answered_by_another(store: HookStore) -> None:
    store.add(HOOK, "whsec_first", NOW)
    with HookStore(store.path) as sender:
        assert store.sender_seen_at() is None
        sender.touch_sender(NOW + 1)
        assert store.sender_seen_at() == NOW + 1
        number = store.ask_test(HOOK.name, NOW)
        assert store.test_result(number) is None
        assert [(each.number, each.hook) for each in sender.tests()] == [(number, HOOK.name)]
        sender.end_test(number, attempt(status=204))
    assert store.tests() == []
    found = store.test_result(number)
    assert found is not None
    assert (found.status, found.position) == (204, 0)
    with pytest.raises(NothingThereError, match="ask for another one"):
        store.test_result(number + 1)


def test_troubles_outlive_the_process_and_go_with_their_hook(store: HookStore) -> None:
    store.add(HOOK, "whsec_first", NOW)
    first, second = Trouble(1, NOW, NOW + 5, 503, "retry"), Trouble(4, NOW, NOW + 300, None, "retry")
    with store.batch():
        store.troubles.put(HOOK.name, {17: first, 4: second})
        store.troubles.put("removed-meanwhile", {1: first})
    with HookStore(store.path) as other:
        assert other.troubles.all() == {HOOK.name: {4: second, 17: first}}
        other.troubles.remove(HOOK.name, [4, 99])
    assert store.troubles.of(HOOK.name) == {17: first}
    store.remove(HOOK.name)
    assert store.troubles.all() == {}


def test_an_error_in_a_batch_undoes_all_of_it(store: HookStore) -> None:
    store.add(HOOK, "whsec_first", NOW)

    def record_and_fail() -> None:
        with store.batch():
            store.attempts.record([attempt()])
            store.set_standing("no-such-hook", Standing())

    with pytest.raises(UnknownHookError):
        record_and_fail()
    assert store.attempts.of_hook(HOOK.name, 10) == []


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "remedy"),
    [(0o777, 0o600, "chmod go-w"), (0o770, 0o600, "chmod go-w"), (0o700, 0o640, "chmod 600")],
)
def test_a_store_that_others_can_read_or_replace_is_refused(
    tmp_path: Path, folder_mode: int, file_mode: int, remedy: str
) -> None:
    path = tmp_path / "webhooks.db"
    HookStore(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(file_mode)
    tmp_path.chmod(folder_mode)
    with pytest.raises(HookStoreRefusedError, match=remedy):
        HookStore(path)
    tmp_path.chmod(0o700)
    with pytest.raises(NothingThereError, match="webhook add"):
        HookStore(tmp_path / "missing.db", create=False)


#: Of the user `nobody`.
OTHER_USER = 65_534


@contextmanager
def as_other_user() -> Iterator[None]:
    os.seteuid(OTHER_USER)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_what_root_creates_is_the_gateways_and_another_user_hears_which_user_may_use_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "webhooks.db")
        os.chown(folder, OTHER_USER, OTHER_USER)
        with HookStore(path) as store:
            store.add(HOOK, "whsec_first", NOW)
            for each in Path(folder).iterdir():
                assert (each.stat().st_uid, each.stat().st_mode & 0o777) == (OTHER_USER, 0o600), each
        with as_other_user(), HookStore(path) as store:
            store.rotate(HOOK.name, "whsec_second", old_until=NOW, now=NOW)
        with HookStore(path) as store:
            assert [each.value for each in store.secrets(HOOK.name)] == ["whsec_second"]
        os.chown(folder, 0, 0)
        Path(folder).chmod(0o755)
        os.chown(path, 0, 0)
        with as_other_user(), pytest.raises(HookStoreRefusedError, match=r"belongs to root.*as root"):
            HookStore(path)


def test_many_threads_use_one_store(store: HookStore) -> None:
    store.add(HOOK, "whsec_first", NOW)

    def work(number: int) -> None:
        for _ in range(20):
            with store.batch():
                store.attempts.record([attempt(number)])
                store.update_standing(HOOK.name, lambda was: dataclasses.replace(was, delivered=was.delivered + 1))
            store.attempts.of_hook(HOOK.name, 5)

    with ThreadPoolExecutor(5) as threads:
        assert list(threads.map(work, range(5), timeout=60)) == [None] * 5
    assert store.standing(HOOK.name).delivered == 100
