# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pages that are drawn in steps, between which the reactor serves streams."""

from __future__ import annotations

from contextlib import closing

from support.web.board_events import REPO, Build, Site, node
from support.web.board_log import BoardLog


def test_a_page_that_is_drawn_in_steps_while_events_come_has_its_position_and_what_followed_is_sent(
    site: Site, log: BoardLog
) -> None:
    for number in range(30):
        log.add(site.push(node(number)), *Build(site, "linux64-opt-unit", node(number)).story())
    steps = log.board.page_in_steps(REPO, limit=30)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            document = done.value
            break
        count += 1
        log.add(Build(site, "linux64-opt-unit", node(count)).started(), site.push(node(100 + count)))
    assert count > 10
    assert document is not None
    assert len(document["pushes"]) == 30
    update = log.board.changed(REPO, document["position"], log.page()["position"])
    assert update is not None
    drawn = {push["id"]: push for push in document["pushes"]} | {push["id"]: push for push in update["pushes"]}
    again = {push["id"]: push for push in log.pushes()}
    assert {push: drawn[push] for push in drawn} == {push: again[push] for push in drawn}
    with closing(log.open()) as other:
        assert other.page(REPO, limit=200) == log.page()
