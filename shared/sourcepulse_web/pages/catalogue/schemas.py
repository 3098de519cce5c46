# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/schemas/<type>.json: the JSON Schema of each type's data, self-contained; /schemas/ lists them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

from sourcepulse.catalogue import STATUS_SCHEMA, known_types, schema_for
from sourcepulse.catalogue.own_types import Schemas, own_type
from sourcepulse.errors import EventError
from sourcepulse.events.wire import dataschema
from sourcepulse_web.pages.catalogue.answer import document, unknown_type
from sourcepulse_web.pages.catalogue.own import own_types_reader
from sourcepulse_web.server.page import not_found

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

SUFFIX = ".json"
CONTENT_TYPE = "application/schema+json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: A whole event, whatever its type.
ENVELOPE = "envelope.v1"


def schema(type_: str, own: Schemas) -> dict[str, Any]:
    """Return the schema of a type, also without its version; EventError, with the nearest names, for an unknown one."""
    full = own_type(own, type_)
    if full is None:
        return schema_for(type_)
    return {"$schema": DIALECT, "$id": dataschema(full), **own[full]}


class SchemaPages(Resource):
    """Answers with the schemas."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._own = own_types_reader(services)

    def render_GET(self, request: Request) -> bytes:
        own = self._own.read().schemas
        name = b"/".join(request.postpath or []).decode("utf-8", "replace")
        if not name:
            names = [ENVELOPE, *known_types(), STATUS_SCHEMA, *own]
            listed = {name: f"/schemas/{name}{SUFFIX}" for name in names}
            return document(request, self._services, "application/json", json.dumps(listed, indent=1))
        if not name.endswith(SUFFIX):
            return not_found(request, f"A schema is at /schemas/TYPE{SUFFIX}; /schemas/ lists them.")
        try:
            found = schema(name.removesuffix(SUFFIX), own)
        except EventError as error:
            return not_found(request, unknown_type(error, "/schemas/ lists the schemas."))
        return document(request, self._services, CONTENT_TYPE, json.dumps(found, indent=1))


def resource(services: Services) -> Resource:
    """Return what answers below /schemas/."""
    return SchemaPages(services)
