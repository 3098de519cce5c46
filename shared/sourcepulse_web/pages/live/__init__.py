# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/`, the live page: what happens on the bus, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.web.resource import Resource

    from sourcepulse_web.services import Services


def resource(services: Services) -> Resource:
    """Return what answers at /."""
    # Imported here, because a command makes sentences without a server.
    from sourcepulse_web.pages.live.page import Live

    return Live(services)
