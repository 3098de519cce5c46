# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/`, the live page: what happens on the bus, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sourcepulse_web.pages.live.page import Live

if TYPE_CHECKING:
    from twisted.web.resource import Resource

    from sourcepulse_web.services import Services


def resource(services: Services) -> Resource:
    """Return what answers at /."""
    return Live(services)
