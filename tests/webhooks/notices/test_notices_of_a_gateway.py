# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real gateway with its sender: what happens to a hook is in the log, on the live page, and POSTed to other hooks."""

from __future__ import annotations

import html
import json
import re

from sourcepulse.catalogue import check
from sourcepulse.config import load
from sourcepulse.testing import system_event
from sourcepulse_web.webhooks.desk.opening import open_desk
from sourcepulse_web.webhooks.place import place_of
from support.brokers.embedded_log import wait_until
from support.web.gateway import Gateway, MakeGateway
from support.webhooks.hooks_of import add_hook, sender_of, warnings_of
from support.webhooks.receiver import Receiver, Reply

LIMIT_SECONDS = 60.0


def states(gateway: Gateway, hook: str) -> list[str]:
    """Return what the log has of a hook, in order; each is as its schema says."""
    events = [
        each["event"] for each in gateway.get("/events.json?limit=1000&type=system.webhook.%23").document["events"]
    ]
    for event in events:
        check(event["type"], event["data"])
    return [event["type"].split(".")[2] for event in events if event["data"]["hook"] == hook]


def test_a_hook_that_is_parked_resumed_and_ended_is_news_for_everybody_who_asked(make_gateway: MakeGateway) -> None:
    with Receiver() as broken, Receiver() as pager:
        broken.usual = Reply(status=500)
        gateway = make_gateway(
            configuration=f'[webhooks]\nallow = ["{broken.allowed}", "{pager.allowed}"]\nretry_seconds = [0, 1]\n'
            "park_hours = 0.0005\n"
        )
        gateway.start()
        sender_of(gateway)
        add_hook(gateway, "room", f"{broken.url}?key=s3cret", ["system.test.#"])
        add_hook(gateway, "pager", pager.url, ["system.webhook.*.room"])
        gateway.append(system_event(1))
        wait_until(lambda: states(gateway, "room") == ["parked"], LIMIT_SECONDS)
        parked = pager.wait_for(1)[0]
        data = json.loads(parked.body)["data"]
        assert (data["reason"], data["status"], data["waiting"]) == ("status", 500, 1)
        page = re.sub(r"<[^>]*>", "", html.unescape(gateway.get("/?key=system.webhook.%23").text))
        assert "room is parked: its receiver has answered 500 since" in " ".join(page.split())
        # Its owner repairs it, and then wants no more of it.
        broken.usual = Reply(status=204)
        config = load(file=gateway.configuration, environ={"SOURCEPULSE_BROKER": f"file://{gateway.log}"})
        with open_desk(place_of(config, {}, log=gateway.log)) as desk:
            desk.resume("room")
        wait_until(lambda: states(gateway, "room") == ["parked", "resumed"], LIMIT_SECONDS)
        broken.usual = Reply(status=410)
        gateway.append(system_event(2))
        wait_until(lambda: states(gateway, "room") == ["parked", "resumed", "disabled"], LIMIT_SECONDS)
        types = [json.loads(each.body)["type"] for each in pager.wait_for(3)]
        assert types == [f"system.webhook.{state}.v1" for state in ("parked", "resumed", "disabled")]
        assert warnings_of(gateway) == []
        assert states(gateway, "pager") == []
        assert b"s3cret" not in gateway.log.read_bytes()
        assert "s3cret" not in gateway.stderr()
