# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board as a channel of the streams of a real gateway."""

from __future__ import annotations

from contextlib import closing

from support.web.board_events import REPO, Build, Site, node
from support.web.board_log import states_of
from support.web.gateway import Gateway
from support.web.streams import StreamClient


def test_a_stream_of_a_board_sends_the_pushes_that_changed_and_no_events(gateway: Gateway, site: Site) -> None:
    gateway.append(site.push(node(1)), site.push(node(2)))
    with closing(StreamClient(gateway.port, [("board", REPO)])) as client:
        client.until(lambda each: each.named("hello"))
        gateway.append(Build(site, "linux64-opt-unit", node(1)).started())
        client.until(lambda each: each.named("board"))
        update = client.named("board")[-1]
        assert client.messages == []
    changed = {push["node"]: states_of(push) for push in update["pushes"]}
    assert changed[node(1)] == {"linux64-opt-unit": "running"}
    assert (update["tree"]["repo"], update["position"]) == (REPO, 3)
