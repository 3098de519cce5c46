# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/catalogue: every event type, and of one its meaning, key and fields, a real event, and programs that follow it.

All of it is made from the schemas, by `sourcepulse.catalogue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from twisted.web.resource import Resource

from sourcepulse.catalogue import STATUS_SCHEMA, complete_type
from sourcepulse.catalogue.description import PROMISE, Description, describe, sources
from sourcepulse.catalogue.own_types import Schemas, own_type
from sourcepulse.errors import EventError
from sourcepulse_web.pages.catalogue.answer import unknown_type
from sourcepulse_web.pages.catalogue.json_text import tokens
from sourcepulse_web.pages.catalogue.newest import newest
from sourcepulse_web.pages.catalogue.own import own_types_reader
from sourcepulse_web.pages.catalogue.snippets import snippets
from sourcepulse_web.server.asker import is_operator, own_address
from sourcepulse_web.server.page import bad_request, not_found, render

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

#: A longer name is none of a type.
NAME_MAX_CHARACTERS = 200


class Listed(NamedTuple):
    """A type in the list: without its version, unless there are several of that name."""

    type: str
    shown: str


class Described(NamedTuple):
    """All types by source, as the schemas of one moment say."""

    own: Schemas
    groups: list[tuple[str, list[Listed]]]
    every: list[Description]


class CataloguePages(Resource):
    """Answers with the list of types, or with one of them."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._own = own_types_reader(services)
        self._described = _described({})

    def render_GET(self, request: Request) -> bytes:
        own, problem = self._own.read()
        if self._described.own is not own:
            self._described = _described(own)
        asked = [each for each in request.postpath or [] if each] or (request.args or {}).get(b"type", [])
        if len(asked) > 1 or sum(map(len, asked)) > NAME_MAX_CHARACTERS:
            return bad_request(request, "The address of a type is /catalogue/TYPE; /catalogue lists the types.")
        values: dict[str, Any] = {
            "here": "catalogue",
            "groups": self._described.groups,
            "problem": problem,
            "promise": PROMISE,
        }
        if not asked:
            values["every"] = self._described.every
            return render(request, self._services, "catalogue.html", about=None, **values)
        try:
            about = describe(_full(asked[0].decode("utf-8", "replace"), own), own)
        except EventError as error:
            return not_found(request, unknown_type(error, "/catalogue lists the types."))
        return render(request, self._services, "catalogue.html", **values, **self._one(request, about, own))

    def _one(self, request: Request, about: Description, own: Schemas) -> dict[str, Any]:
        found = newest(self._services, about.type, own)
        name, _, version = about.shown.rpartition(".v")
        topic, settings = urlencode({"key": about.address.topic}), self._services.settings()
        return {
            "about": about,
            "name": name,
            "version_of_type": version,
            "found": found,
            "tokens": tokens(found.event) if found else [],
            "anchors": {shape.name: f"shape-{number}" for number, shape in enumerate(about.shapes, 1)},
            "snippets": snippets(about, own_address(request)),
            "live": f"/?{topic}",
            "queue": f"/hooks?{topic}" if is_operator(request, settings) else None,
            # Only there the proxy names the user.
            "hook": f"/hooks?{topic}" if settings.webhooks is not None and settings.webhooks.proxy_header else None,
        }


def _full(text: str, own: Schemas) -> str:
    """Return the full name of a type, of the newest version where the text has none; EventError if there is none."""
    if text in (STATUS_SCHEMA, STATUS_SCHEMA.rpartition(".")[0]):
        return STATUS_SCHEMA
    return own_type(own, text) or complete_type(text)


def _described(own: Schemas) -> Described:
    groups, every = [], []
    for source in sources(own):
        found = [describe(type_, own) for type_ in source.types]
        names = [about.shown.rpartition(".v")[0] for about in found]
        listed = [
            Listed(about.type, name if names.count(name) == 1 else about.type)
            for about, name in zip(found, names, strict=True)
        ]
        groups.append((source.name, listed))
        every += found
    return Described(own, groups, every)


def resource(services: Services) -> Resource:
    """Return what answers at /catalogue and below it."""
    return CataloguePages(services)
