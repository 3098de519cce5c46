# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events of a log are POSTed to real receivers, in order, by a sender in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.webhooks.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as made:
        yield made


def test_what_is_published_is_posted_in_order_and_leaves_the_queue(rig: Rig) -> None:
    room = rig.hook("chat-room", "hg.push.chat")
    rig.start()
    sent = rig.publish("chat", count=20) + rig.publish("chat", source="b", count=20)
    rig.publish("other", source="c")
    rig.wait_until(lambda: len(room.got) == len(sent))
    assert room.got == sent
    rig.wait_idle()
    assert rig.standing("chat-room").delivered == len(sent)
