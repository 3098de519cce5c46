# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A page and the stream that goes on from it have every event between them; and no page makes a log."""

from __future__ import annotations

import re
import time

import pytest

from support.brokers.embedded_log import wait_until
from support.web.board_events import REPO, Build, Site, node
from support.web.gateway import Gateway
from support.web.streams import StreamClient

TRIES = 4
#: The gateway looks at its log so often while no stream is open.
IDLE_SECONDS = 0.3
LIMIT_SECONDS = 20.0


@pytest.mark.parametrize("path", [f"/changes/{node(1)}", "/trees", f"/trees/{REPO}", f"/trees/{REPO}?wall=1"])
def test_what_was_appended_a_moment_before_a_page_is_on_it_or_on_its_stream(gateway: Gateway, path: str) -> None:
    site = Site()
    gateway.append(site.push(node(1), descs=("d",)))
    wait_until(lambda: gateway.get(path).status == 200, LIMIT_SECONDS)
    for number in range(TRIES):
        time.sleep(IDLE_SECONDS)
        # The list of trees shows who pushed last, and the other pages show why the tree is closed.
        gateway.append(
            *Build(site, f"linux{number}", node(1)).story(),
            site.push(node(2 + number), user=f"because-{number}"),
            site.tree("closed", reason=f"because-{number}"),
        )
        shown = gateway.get(path).text
        (after,) = re.findall(r'data-after="([0-9a-f]+\.\d+)"', shown)
        if f"because-{number}" not in shown:
            stream = StreamClient(gateway.port, [("board", REPO)], last_id=after)
            assert stream.until(lambda client: client.named("board")).named("board")
            stream.close()


def test_a_page_makes_no_log_where_it_was_moved_away(gateway: Gateway) -> None:
    gateway.append(Site().push(node(1)))
    wait_until(lambda: gateway.get(f"/changes/{node(1)}").status == 200, LIMIT_SECONDS)
    away = gateway.log.with_name("away.db")
    gateway.log.rename(away)
    for path in ("/trees", f"/trees/{REPO}", f"/changes/{node(1)}", "/", "/hooks", "/metrics", "/catalogue") * 2:
        gateway.get(path)
        assert not gateway.log.exists(), path
    assert gateway.get("/trees").status == 503
    away.rename(gateway.log)
    wait_until(lambda: gateway.get(f"/changes/{node(1)}").status == 200, LIMIT_SECONDS)
    wait_until(lambda: gateway.get("/ready").status == 200, LIMIT_SECONDS)
