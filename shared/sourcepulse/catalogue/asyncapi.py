# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The catalogue as an AsyncAPI document, for tools that generate code, pages or checks of it.

Its schemas are those of the catalogue, written with the keywords that JSON Schema draft-07 and 2020-12 share, because
AsyncAPI's own Schema Object is a superset of draft-07.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sourcepulse.catalogue import STATUS_SCHEMA, schema_for
from sourcepulse.catalogue.description import Description, describe, example, schema_of, sources
from sourcepulse.catalogue.own_types import Schemas
from sourcepulse.errors import EventError
from sourcepulse.events.json_pointer import unescape
from sourcepulse.events.wire import CONTENT_TYPE

ASYNCAPI_VERSION = "3.0.0"
#: Of the bindings for AMQP; that of a server must be empty.
BINDING_VERSION = "0.3.0"
EXCHANGE = "sourcepulse"
ENVELOPE = "envelope.v1"
#: What the variable words of a key are.
PARAMETERS = {
    "repo": "the path of the repository below the configured root, a word for each component",
    "project": "the project of the change",
    "repository": "the path of the change's repository, a word for each component",
    "builder": "the name of the builder",
    "outcome": "success, warnings, failure, skipped, exception, retry, cancelled or unknown",
    "worker": "the name of the worker",
    "master": "the name of the master",
    "product": "the product",
    "component": "the component",
    "version": "the version",
    "milestone": "the milestone",
    "keyword": "the keyword",
    "hook": "the name of the webhook",
    "service": "hg, buildbot, bugzilla, relay, broker or any word",
    "state": "up, down, degraded, maintenance, started, stopped, recovered or any word",
    "key": "the key of the event that it stands in for",
    "word": "any words of the publisher, or none",
}

_COMPONENT = "#/components/schemas/"
_LOCAL = "#/$defs/"
_DROPPED = ("$schema", "$id", "$defs", "examples")
_VALUES = ("required", "type", "dependentRequired", "enum", "const", "default")
#: What the name of a component may not have.
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9.-]")
_NONE: Schemas = {}


def document(version: str, own: Schemas = _NONE) -> dict[str, Any]:
    """Return the AsyncAPI document of all types, as the publisher of the events describes itself.

    `own` are the types of the site.
    """
    types = [describe(name, own) for source in sources(own) for name in source.types]
    schemas: dict[str, Any] = {ENVELOPE: _schema(ENVELOPE, schema_for(ENVELOPE), {})}
    for about in types:
        schemas[about.type] = _schema(about.type, schema_of(about.type, own), schemas, is_own=about.is_own)
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "id": "urn:sourcepulse",
        "info": {
            "title": "sourcepulse",
            "version": version,
            "description": "Events of Mercurial, Buildbot and Bugzilla, at the moment each is committed.",
            "license": {"name": "MPL-2.0", "url": "https://www.mozilla.org/MPL/2.0/"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": _servers(),
        "channels": {about.type: _channel(about) for about in types},
        "operations": {f"publish.{about.type}": _operation(about) for about in types},
        "components": {
            "messages": {about.type: _message(about, own) for about in types},
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _servers() -> dict[str, Any]:
    host = {"host": {"description": "the host of the broker", "default": "localhost"}}
    return {
        "rabbitmq": {
            "host": "{host}:5671",
            "protocol": "amqps",
            "protocolVersion": "0.9.1",
            "description": "RabbitMQ; events that are not public are in an exchange of their own",
            "variables": host,
            "bindings": {"amqp": {}},
        },
        "activemq": {
            "host": "{host}:61614",
            "protocol": "stomps",
            "protocolVersion": "1.2",
            "description": "ActiveMQ; a channel is the topic VirtualTopic.<exchange>.<address>",
            "variables": host,
        },
    }


def _channel(about: Description) -> dict[str, Any]:
    name, at = about.type, about.address
    variables = at.variables
    channel: dict[str, Any] = {
        "address": at.key.replace("...>", ">").replace("<", "{").replace(">", "}"),
        "title": about.title,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": EXCHANGE, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": BINDING_VERSION,
            }
        },
        "tags": [{"name": at.family}],
    }
    if variables:
        channel["parameters"] = {word: {"description": PARAMETERS[word]} for word in variables}
    return channel


def _operation(about: Description) -> dict[str, Any]:
    name = about.type
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "title": about.title,
        "description": f"{about.meaning} Guarantee: {about.guarantee}.".strip(),
        "bindings": {
            "amqp": {"deliveryMode": 2, "mandatory": True, "timestamp": True, "bindingVersion": BINDING_VERSION}
        },
    }


def _message(about: Description, own: Schemas) -> dict[str, Any]:
    name = about.type
    of_type: dict[str, Any] = {"data": {"$ref": _COMPONENT + name}}
    binding = {"bindingVersion": BINDING_VERSION}
    if name != STATUS_SCHEMA:
        of_type["type"] = {"const": name}
        binding["messageType"] = name
    message: dict[str, Any] = {
        "name": name,
        "title": about.title,
        "contentType": CONTENT_TYPE,
        "payload": {"allOf": [{"$ref": _COMPONENT + ENVELOPE}, {"properties": of_type}]},
        "bindings": {"amqp": binding},
    }
    # The schema of a site need not have an example.
    with suppress(EventError):
        message["examples"] = [{"name": "recorded", "payload": example(name, own)}]
    return message


def _schema(name: str, schema: Mapping[str, Any], known: dict[str, Any], *, is_own: bool = False) -> dict[str, Any]:
    """Return a schema whose references lead into the components; what it shares with others goes into `known`."""

    def component(shared: str) -> str:
        # The definitions of a site may be named like ours, and as a component may not be.
        return f"{name}.{_UNNAMEABLE.sub(_as_number, shared)}" if is_own else shared

    for shared, shape in schema.get("$defs", {}).items():
        known.setdefault(component(shared), _as_draft_07(shape, component))
    return dict(_as_draft_07(schema, component))


def _as_number(found: re.Match[str]) -> str:
    return f"_{ord(found[0]):X}_"


def _as_draft_07(part: Any, component: Callable[[str], str]) -> Any:
    if isinstance(part, list):
        return [_as_draft_07(each, component) for each in part]
    if not isinstance(part, Mapping):
        return part
    if "$ref" in part:
        # Beside a reference draft-07 ignores everything.
        reference = {"$ref": _COMPONENT + component(unescape(part["$ref"].removeprefix(_LOCAL)))}
        words = {word: part[word] for word in ("title", "description") if word in part}
        return {**words, "allOf": [reference]} if words else reference
    return {
        "dependencies" if keyword == "dependentRequired" else keyword: _members(keyword, value, component)
        for keyword, value in part.items()
        if keyword not in _DROPPED
    }


def _members(keyword: str, value: Any, component: Callable[[str], str]) -> Any:
    """Return the value of a keyword; the names of properties are not keywords, and values are no schemas."""
    if keyword in ("properties", "patternProperties"):
        return {name: _as_draft_07(shape, component) for name, shape in value.items()}
    return value if keyword in _VALUES else _as_draft_07(value, component)
