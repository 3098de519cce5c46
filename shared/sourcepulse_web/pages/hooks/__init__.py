# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/hooks`: a user's webhooks, as pages with forms and as JSON; for the operator all of them and the durable queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sourcepulse_web.pages.hooks.changed import Changed
from sourcepulse_web.pages.hooks.page import Pages
from sourcepulse_web.pages.hooks.shown import Shown

if TYPE_CHECKING:
    from twisted.web.resource import Resource

    from sourcepulse_web.services import Services


def resource(services: Services) -> Resource:
    """Return what answers at /hooks and below it."""
    return Pages(services, Shown, lambda parts: Changed(parts, Shown(parts)))
