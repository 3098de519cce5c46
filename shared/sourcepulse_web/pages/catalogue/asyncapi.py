# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/asyncapi.json: the whole catalogue as one AsyncAPI document, with the types of the site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twisted.web.resource import Resource

from sourcepulse.catalogue import asyncapi
from sourcepulse.catalogue.own_types import Schemas
from sourcepulse_web.pages.catalogue.answer import document
from sourcepulse_web.pages.catalogue.own import own_types_reader

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services


class AsyncApi(Resource):
    """Answers with the document, which is made again only when the types of the site have changed."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._own = own_types_reader(services)
        self._made: tuple[Schemas, str] | None = None

    def render_GET(self, request: Request) -> bytes:
        own = self._own.read().schemas
        if self._made is None or self._made[0] is not own:
            self._made = own, json.dumps(asyncapi.document(self._services.version, own), indent=1)
        return document(request, self._services, "application/json", self._made[1])


def resource(services: Services) -> Resource:
    """Return what answers at /asyncapi.json."""
    return AsyncApi(services)
