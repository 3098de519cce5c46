# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The catalogue as an AsyncAPI document, for tools that generate code, pages or checks of it.

Its schemas are those of the catalogue, written with the keywords that JSON Schema draft-07 and 2020-12 share, because
AsyncAPI's own Schema Object is a superset of draft-07.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse.catalogue import STATUS_SCHEMA, known_types, schema_for
from sourcepulse.catalogue.addresses import address
from sourcepulse.catalogue.page import example, guarantee_of
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
    "service": "hg, buildbot, bugzilla, relay, broker or any word",
    "state": "up, down, degraded, maintenance, started, stopped, recovered or any word",
    "key": "the key of the event that it stands in for",
}

_COMPONENT = "#/components/schemas/"
_LOCAL = "#/$defs/"
_DROPPED = ("$schema", "$id", "$defs", "examples")


def document(version: str) -> dict[str, Any]:
    """Return the AsyncAPI document of all types, as the publisher of the events describes itself."""
    names = [*known_types(), STATUS_SCHEMA]
    schemas: dict[str, Any] = {}
    for name in (ENVELOPE, *names):
        schemas[name] = _schema(name, schemas)
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
        "channels": {name: _channel(name) for name in names},
        "operations": {f"publish.{name}": _operation(name) for name in names},
        "components": {
            "messages": {name: _message(name) for name in names},
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


def _channel(name: str) -> dict[str, Any]:
    at = address(name)
    variables = at.variables
    channel: dict[str, Any] = {
        "address": at.key.replace("...>", ">").replace("<", "{").replace(">", "}"),
        "title": schema_for(name)["title"],
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


def _operation(name: str) -> dict[str, Any]:
    meaning, guarantee = guarantee_of(schema_for(name))
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "title": schema_for(name)["title"],
        "description": f"{meaning} Guarantee: {guarantee}.".strip(),
        "bindings": {
            "amqp": {"deliveryMode": 2, "mandatory": True, "timestamp": True, "bindingVersion": BINDING_VERSION}
        },
    }


def _message(name: str) -> dict[str, Any]:
    of_type: dict[str, Any] = {"data": {"$ref": _COMPONENT + name}}
    binding = {"bindingVersion": BINDING_VERSION}
    if name != STATUS_SCHEMA:
        of_type["type"] = {"const": name}
        binding["messageType"] = name
    return {
        "name": name,
        "title": schema_for(name)["title"],
        "contentType": CONTENT_TYPE,
        "payload": {"allOf": [{"$ref": _COMPONENT + ENVELOPE}, {"properties": of_type}]},
        "bindings": {"amqp": binding},
        "examples": [{"name": "recorded", "payload": example(name)}],
    }


def _schema(name: str, known: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose references lead into the components; what it shares with others goes into `known`."""
    schema = schema_for(name)
    for shared, shape in schema.get("$defs", {}).items():
        known.setdefault(shared, _as_draft_07(shape))
    return dict(_as_draft_07(schema))


def _as_draft_07(part: Any) -> Any:
    if isinstance(part, list):
        return [_as_draft_07(each) for each in part]
    if not isinstance(part, Mapping):
        return part
    if "$ref" in part:
        # Beside a reference draft-07 ignores everything.
        reference = {"$ref": _COMPONENT + part["$ref"].removeprefix(_LOCAL)}
        words = {word: part[word] for word in ("title", "description") if word in part}
        return {**words, "allOf": [reference]} if words else reference
    return {
        "dependencies" if keyword == "dependentRequired" else keyword: _members(keyword, value)
        for keyword, value in part.items()
        if keyword not in _DROPPED
    }


def _members(keyword: str, value: Any) -> Any:
    """Return the value of a keyword; the names of properties are not keywords."""
    if keyword in ("properties", "patternProperties"):
        return {name: _as_draft_07(shape) for name, shape in value.items()}
    return value if keyword in ("required", "type", "dependentRequired") else _as_draft_07(value)
