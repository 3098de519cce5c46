# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""On the page of a hook that an admin paused its owner is offered nothing that is not his to do, and hears why."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sourcepulse_web.webhooks.hook import PAUSED, PAUSED_BY_ADMIN, State
from support.webhooks.hooked_site import HookedSite

URL = "http://127.0.0.1/in"


def test_the_owner_of_a_hook_that_an_admin_paused_reads_who_can_end_that_in_forms_and_in_json(tmp_path: Path) -> None:
    with closing(HookedSite(tmp_path)) as site:
        site.start()
        site.add("room", URL)
        own = site.tokens("/hooks/room") | site.tokens("/hooks/room/remove")
        site.set_standing("room", state=State.PAUSED, reason=PAUSED_BY_ADMIN)
        page = site.page("/hooks/room")
        assert "Only an admin can resume it" in page
        assert [each for each in ("test", "resume", "remove") if f'/hooks/room/{each}"' in page] == []
        for action in ("test", "resume", "remove"):
            refused = site.post(f"/hooks/room/{action}")
            assert refused.status == 400
            assert "An admin paused the webhook room, so only an admin can resume it" in refused.document["error"]
        for action in ("test", "remove"):
            form = site.send_form(f"/hooks/room/{action}", {"token": own[f"/hooks/room/{action}"]})
            assert (form.status, "only an admin can resume it" in form.text) == (400, True)
        again = site.post("/hooks", {"name": "again", "url": URL, "topics": ["#"]})
        assert (again.status, "until an admin resumes it" in again.document["error"]) == (400, True)
        assert [each["name"] for each in site.ask("GET", "/hooks?format=json").document["hooks"]] == ["room"]
        with site.opened_store() as store:
            assert store.tests() == []
        site.set_standing("room", reason=PAUSED)
        page = site.page("/hooks/room")
        assert [each for each in ("test", "resume", "remove") if f'/hooks/room/{each}"' in page] == [
            "test", "resume", "remove",
        ]  # fmt: skip
        assert site.post("/hooks/room/test").status == 202
