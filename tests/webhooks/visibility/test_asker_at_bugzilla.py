# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The Bugzilla that an event came from decides: what it hid is not sent, long before its sidecar hears of it.

Bugzilla is the fake one with our extension, or with BUGZILLA_HOME the real one there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse_web.webhooks.visibility import Asker
from support.bugzilla.steps import Params, Step
from support.bugzilla.tree import open_tree
from support.bugzilla.walk import Walk

PUBLISH: Step = {"do": "publish"}


def step(do: str, number: int, **more: object) -> Step:
    given = {"do": do, "token": f"TOKEN{number}x", "secret": 0, "bug": 0, "other": 0, "tick": 5, "params": Params()}
    return {**given, **more}


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    with Walk(open_tree(tmp_path), tmp_path, 1, restricted=False) as started:
        yield started


def sent_types(walk: Walk, asker: Asker) -> list[str]:
    """Return the types of the published events that a webhook would be sent now."""
    query = "SELECT position, source, routing_key, type, body FROM events JOIN bodies USING (position)"
    with Outbox.open(walk.outbox) as outbox, outbox.reading() as db:
        stored = db.execute(query).fetchall()
    # The log has positions of its own.
    verdicts = [asker.ask(9_000 - place, *event) for place, (_, *event) in enumerate(stored)]
    return [event[3].split(".", 1)[1] for event, verdict in zip(stored, verdicts, strict=True) if verdict.send]


def notes(walk: Walk) -> list[str]:
    with Outbox.open(walk.outbox) as outbox, outbox.reading() as db:
        return list(db.iterdump())


def test_what_a_bugzilla_hides_is_not_sent_from_that_moment_on(walk: Walk) -> None:
    walk.play([step("create", 1), step("comment", 2), step("comment", 3), PUBLISH])
    before = notes(walk)
    with closing(Asker(walk.outbox)) as asker:
        assert sent_types(walk, asker) == ["bug.created.v1", *["comment.created.v1"] * 3]
        # The sidecar has not heard of it yet.
        walk.play([step("toggle", 4, other=1)])
        assert sent_types(walk, asker) == ["bug.created.v1", *["comment.created.v1"] * 2]
        walk.play([step("hide", 5)])
        assert sent_types(walk, asker) == []
        assert notes(walk) == before
        walk.play([step("show", 6)])
        assert sent_types(walk, asker) == ["bug.created.v1", *["comment.created.v1"] * 2]
        walk.play([step("hide", 7), PUBLISH])
        # What says that the bug was hidden may be read.
        assert "bug.hidden.v1" in sent_types(walk, asker)
    assert walk.faults == []
