# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/ready: whether events arrive here, and if not, why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

from sourcepulse.events.event import format_time
from sourcepulse_web.services import HooksState
from sourcepulse_web.webhooks.desk.card import Look

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services


class Ready(Resource):
    """Answers 200, or 503 with the reasons; both as JSON."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def render_GET(self, request: Request) -> bytes:
        condition = self._services.condition()
        reasons = [condition.log_problem] if condition.log_problem else []
        if not condition.connected:
            reasons.append(condition.reason or "the bridge has not connected yet")
        if condition.behind:
            reasons.append(f"the gateway reads its log {condition.late_s:.0f} s late")
        hooks = self._services.webhooks.state() if self._services.webhooks else HooksState()
        answer = {
            "ready": not reasons,
            "reasons": reasons,
            "warnings": [
                each
                for each in (condition.settings_problem, condition.doubt, condition.board_behind, *hooks.warnings)
                if each
            ],
            "connected": condition.connected,
            "since": None if condition.since is None else format_time(condition.since),
            "late_s": round(condition.late_s, 3),
            "webhooks": _of_hooks(hooks),
            "version": self._services.version,
        }
        request.setResponseCode(503 if reasons else 200)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        return json.dumps(answer, indent=1).encode() + b"\n"


def _of_hooks(hooks: HooksState) -> dict[str, Any] | None:
    """Return the state of the sender, for the doctor; None while there are no hooks."""
    if not hooks.is_on:
        return None
    return {
        "sender_up": hooks.sender_up,
        "sender_problem": hooks.sender_problem,
        "store_problem": hooks.figures.problem,
        **{each.value: hooks.figures.states.get(each, 0) for each in (Look.FAILING, Look.PARKED, Look.OFF)},
    }


def resource(services: Services) -> Resource:
    """Return what answers at /ready."""
    return Ready(services)
