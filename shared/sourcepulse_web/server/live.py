# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/live: the process turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.web.resource import Resource

from sourcepulse_web.server.page import sentence

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services


class Live(Resource):
    """Answers as long as the reactor turns."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return sentence(request, 200, "The process turns.")


def resource(services: Services) -> Resource:  # noqa: ARG001 - each page module has it
    """Return what answers at /live."""
    return Live()
