# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Of a hook that sends nothing now, no answer and no page says that events are sent: they wait for Resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.catalogue import example_of
from sourcepulse_web.webhooks.hook import PAUSED, PAUSED_BY_ADMIN, State
from support.webhooks.hooked_site import HookedSite

OTHER = "http://127.0.0.1/other"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HookedSite]:
    with closing(HookedSite(tmp_path)) as site:
        site.start()
        site.add("room", "http://127.0.0.1/in", "#")
        yield site


@pytest.mark.parametrize(
    ("standing", "resume"),
    [
        ({"state": State.PAUSED, "reason": PAUSED}, "Resume"),
        ({"state": State.PARKED, "reason": "nothing was accepted for 72 hours"}, "Resume"),
        ({"state": State.OFF, "reason": "the receiver answered 410"}, "Resume"),
        ({"state": State.PAUSED, "reason": PAUSED_BY_ADMIN}, "an admin's resume"),
    ],
)
def test_what_is_sent_again_and_what_was_changed_waits_for_resume(
    site: HookedSite, standing: dict[str, Any], resume: str
) -> None:
    site.append(*map(example_of, ("hg.push", "build.finished", "build.started")))
    for _ in range(3):
        site.set_aside("room")
    first = site.ask("GET", "/hooks/room?format=json").document["set_aside_events"][0]["id"]
    site.set_standing("room", **standing)
    said = f"1 event waits to be sent again; {resume} sends it."
    assert site.post("/hooks/room/redeliver", {"id": first}).document["said"] == said
    said = f"2 events wait to be sent again; {resume} sends them."
    form = site.send_form("/hooks/room/redeliver", {"failed": "yes"}, of="/hooks/room")
    assert said in site.page(form.headers["Location"])
    again = site.post("/hooks/room/redeliver", {"since": "1h"}).document
    assert (again["count"], again["said"].startswith("Nothing is sent again")) == (0, True)
    page = site.page("/hooks/room?did=redeliver&count=0&left=0&waiting=1")
    now = "or at once with Resume" if resume == "Resume" else "once an admin resumes the hook"
    assert f"this event waits already. It is sent in its turn, {now}." in page
    # An owner cannot lead a hook elsewhere that an admin paused.
    fields = {"topics": ["hg.#"], **({"url": OTHER} if resume == "Resume" else {})}
    said = f"Changed: {resume} sends what waits to this address, and from now on these events come."
    assert site.post("/hooks/room/edit", fields).document["said"] == said
    assert said in site.page("/hooks/room?did=edit")


def test_a_hook_that_is_on_sends_again_at_once(site: HookedSite) -> None:
    site.append(example_of("hg.push"))
    site.set_aside("room")
    assert site.post("/hooks/room/redeliver", {"failed": True}).document["said"] == "1 event is sent again."
    said = "Changed: what waits is sent to this address, and from now on these events come."
    assert site.post("/hooks/room/edit", {"url": OTHER}).document["said"] == said
    assert said in site.page("/hooks/room?did=edit")
    site.set_standing("room", failing_since=1.0)
    assert site.post("/hooks/room/redeliver", {"since": "1h"}).document["count"] == 0
    said = "1 event is sent again. While the hook fails, it may wait for its next attempt; Try now sends it at once."
    assert said in site.page("/hooks/room?did=redeliver&count=1")
