# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an owner cannot do with webhooks: go beyond the limits, undo what an admin did, get what an admin configured."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.desk.card import Look
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.desk.opening import open_desk
from sourcepulse_web.webhooks.hook import State
from sourcepulse_web.webhooks.place import Place
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore

URL, LOCAL = "http://127.0.0.1:9/in", "http://localhost:9/in"
ALICE = "alice@example.org"
LIMIT_SECONDS = 60.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    settings = WebhookSettings(allow=("127.0.0.1:9", "localhost:9"), owner_hooks_max=3)
    return Place(settings=settings, log=tmp_path / "log.db", exchange="sourcepulse", store=tmp_path / "webhooks.db")


@pytest.fixture
def desk(place: Place) -> Iterator[Desk]:
    with open_desk(place) as desk:
        yield desk


def test_requests_at_the_same_time_do_not_pass_a_limit_together(place: Place) -> None:
    both = threading.Barrier(2, timeout=LIMIT_SECONDS)

    def lookup(host: str, port: int, _: float) -> list[tuple[int, Any]]:
        # Both counted the hooks before any of them adds one.
        both.wait()
        return [(socket.AF_INET, ("127.0.0.1", port))]

    def add(name: str) -> str:
        with HookStore(place.store) as store, HookQueues(place.log, place.exchange) as queues:
            try:
                Desk(store, queues, place.settings, lookup=lookup).add(name, LOCAL, ["#"], owner=ALICE)
            except ConfigError as error:
                return str(error)
        return ""

    with open_desk(place) as desk, ThreadPoolExecutor(2) as pool:
        for name in ("a", "b"):
            desk.add(name, URL, ["#"], owner=ALICE)
        answers = sorted(pool.map(add, ("c", "d"), timeout=LIMIT_SECONDS))
        assert answers[0] == ""
        assert "alice@example.org may have 3 webhooks" in answers[1]
        assert len(desk.list(ALICE)) == 3


def test_an_owner_cannot_resume_what_an_admin_paused(desk: Desk, place: Place) -> None:
    desk.add("chat", URL, ["#"], owner=ALICE)

    def off() -> None:
        with HookStore(place.store) as store:
            store.update_standing("chat", lambda was: replace(was, state=State.OFF, reason="410"))

    for before in (lambda: None, lambda: desk.pause("chat", owner=ALICE), off):
        before()
        desk.pause("chat")
        with pytest.raises(ConfigError, match="an admin paused the webhook chat, so only an admin can resume it"):
            desk.resume("chat", owner=ALICE)
        desk.pause("chat", owner=ALICE)
        desk.edit("chat", topics=["hg.#"], owner=ALICE)
        assert (desk.show("chat").look, desk.show("chat").standing.reason) == (Look.PAUSED, "an admin paused it")
        desk.resume("chat")
        assert desk.show("chat").look is Look.NOT_TRIED


def test_an_owner_cannot_get_round_the_pause_of_an_admin_but_an_admin_can(desk: Desk) -> None:
    desk.add("chat", URL, ["#"], owner=ALICE)
    desk.add("other", f"{URL}/other", ["#"], owner=ALICE)
    desk.pause("chat")
    for call in (
        lambda: desk.remove("chat", owner=ALICE),
        lambda: desk.test("chat", owner=ALICE),
        lambda: desk.resume("chat", owner=ALICE),
        lambda: desk.edit("chat", url=f"{URL}/moved", owner=ALICE),
        lambda: desk.edit("other", url=URL, owner=ALICE),
        lambda: desk.add("chat-again", URL, ["#"], owner=ALICE),
    ):
        with pytest.raises(ConfigError, match=r"an admin paused the webhook chat.*until.*ask one"):
            call()
    assert {card.hook.name: card.hook.url for card in desk.list()} == {"chat": URL, "other": f"{URL}/other"}
    assert desk.show("chat").look is Look.PAUSED
    # Another user, and another receiver, have nothing to do with it.
    desk.add("bobs", URL, ["#"], owner="bob@example.org")
    desk.test("other", owner=ALICE)
    desk.edit("other", url=f"{URL}/moved", owner=ALICE)
    assert desk.test("chat") > 0
    desk.edit("chat", url=f"{URL}/new")
    desk.remove("chat")
    desk.add("chat", URL, ["#"], owner=ALICE)
    assert desk.show("chat", owner=ALICE).look is Look.NOT_TRIED


def test_an_owner_tests_moves_and_removes_what_he_paused_himself(desk: Desk) -> None:
    desk.add("chat", URL, ["#"], owner=ALICE)
    desk.pause("chat", owner=ALICE)
    assert desk.test("chat", owner=ALICE) > 0
    desk.edit("chat", url=f"{URL}/moved", owner=ALICE)
    desk.add("second", f"{URL}/moved", ["#"], owner=ALICE)
    desk.remove("chat", owner=ALICE)
    assert [card.hook.name for card in desk.list()] == ["second"]


def test_an_owner_cannot_send_the_bearer_token_of_an_admin_elsewhere(desk: Desk, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-of-the-admin")
    token.chmod(0o600)
    desk.add("chat", URL, ["#"], owner=ALICE, bearer_file=str(token))
    for url in (LOCAL, "http://127.0.0.1:9@localhost:9/in", "https://127.0.0.1:9/in"):
        with pytest.raises(ConfigError):
            desk.edit("chat", url=url, owner=ALICE)
    with pytest.raises(ConfigError, match="only an admin can change the host of its URL"):
        desk.edit("chat", url=LOCAL, owner=ALICE)
    assert desk.show("chat").hook.url == URL
    desk.edit("chat", url=f"{URL}/other", topics=["hg.#"], owner=ALICE)
    desk.edit("chat", url=LOCAL)
    assert (desk.show("chat").hook.url, desk.show("chat").hook.bearer_file) == (LOCAL, str(token))
