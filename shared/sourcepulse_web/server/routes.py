# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The list of pages: which module answers which path."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from twisted.web.resource import Resource

from sourcepulse_web.server.page import Sentence

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

#: The first part of a path -> the module whose `resource(services)` answers it and what is below it.
PAGES = {
    "": "sourcepulse_web.pages.live",
    "events": "sourcepulse_web.stream.events",
    "events.json": "sourcepulse_web.stream.events_json",
    "trees": "sourcepulse_web.pages.trees",
    "changes": "sourcepulse_web.pages.change",
    "catalogue": "sourcepulse_web.pages.catalogue",
    "schemas": "sourcepulse_web.pages.catalogue.schemas",
    "asyncapi.json": "sourcepulse_web.pages.catalogue.asyncapi",
    "hooks": "sourcepulse_web.pages.hooks",
    "static": "sourcepulse_web.server.static",
    "live": "sourcepulse_web.server.live",
    "ready": "sourcepulse_web.server.ready",
    "metrics": "sourcepulse_web.server.metrics",
}


class Routes(Resource):
    """The root of the site; each page module is loaded when it is first asked for."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._found: dict[str, Resource] = {}

    def getChild(self, path: bytes, request: Request) -> Resource:
        name = path.decode("utf-8", "replace")
        # Below the empty name there is nothing: `//trees` is no page.
        if name not in PAGES or (not name and request.postpath):
            return Sentence()
        if name not in self._found:
            try:
                module = import_module(PAGES[name])
            except ModuleNotFoundError as error:
                if error.name is None or not error.name.startswith("sourcepulse_web."):
                    raise
                return Sentence()
            self._found[name] = module.resource(self._services)
        return self._found[name]
