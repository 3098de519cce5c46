# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A receiver cannot buy time: what stops being public while its name is looked up or its TLS begins is not sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.brokers import bounded_socket
from sourcepulse.outbox.outgoing.visibility import ANSWER_MAX_AGE_SECONDS
from sourcepulse_web.webhooks.post.post import Poster
from support.bugzilla import walk as walks
from support.bugzilla.steps import Params, Step
from support.bugzilla.tree import open_tree
from support.bugzilla.walk import Walk
from support.webhooks.rig import EXCHANGE, Rig

PUBLISH: Step = {"do": "publish"}
LIMIT_SECONDS = 60.0


def step(do: str, number: int, **more: object) -> Step:
    given = {"do": do, "token": f"TOKEN{number}x", "secret": 0, "bug": 0, "other": 0, "tick": 5, "params": Params()}
    return {**given, **more}


class SlowLookup:
    """Looks a name up once it may; `asked` is set when somebody waits."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may = threading.Event()

    def __call__(self, host: str, port: int, deadline: float) -> Any:
        self.asked.set()
        self.may.wait(LIMIT_SECONDS)
        return bounded_socket.resolve(host, port, deadline)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(walks, "EXCHANGE", EXCHANGE)
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("asks", [True, False])
def test_what_was_hidden_while_a_connection_was_opened_is_not_sent(
    stack: ExitStack, tmp_path: Path, asks: bool
) -> None:
    walk = stack.enter_context(Walk(open_tree(tmp_path), tmp_path, 1, restricted=False))
    options = {"bugzilla_outbox": walk.outbox} if asks else {}
    rig = stack.enter_context(Rig(tmp_path, **options))
    room = rig.hook("bugs", "bugzilla.#")
    lookup = SlowLookup()
    rig.start(poster=Poster(rig.settings, lookup=lookup))
    walk.play([step("create", 1), PUBLISH])
    assert lookup.asked.wait(LIMIT_SECONDS)
    began = time.monotonic()
    walk.play([step("hide", 2)])
    if not asks:
        walk.play([PUBLISH])
    # As long as a verdict may be used.
    time.sleep(max(0.0, began + ANSWER_MAX_AGE_SECONDS + 0.2 - time.monotonic()))
    lookup.may.set()
    rig.wait_idle()
    assert [request.body for request in room.receiver.requests if b"TOKEN" in request.body] == []
    assert room.receiver.connections >= 1
    assert rig.standing("bugs").withheld == 2
    walk.play([step("show", 3), PUBLISH])
    rig.wait_until(lambda: any(b"TOKEN3" in request.body for request in room.receiver.requests))
    assert walk.faults == []
