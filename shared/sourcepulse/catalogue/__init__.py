# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The catalogue of event types: their names, the JSON Schemas of their data, and a check against these."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sourcepulse.errors import EventError
from sourcepulse.events.event import Event, Numbers
from sourcepulse.events.validator import defects
from sourcepulse.events.wire import SCHEMA_URN_PREFIX, dataschema, decode

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

#: The schema of the data of every `system.<service>.<state>`; not a type itself.
STATUS_SCHEMA = "system.status.v1"
#: The schema of the heartbeats of all services.
HEARTBEAT_SCHEMA = "system.relay.heartbeat.v1"
EXAMPLE_SOURCE, EXAMPLE_TIME_S = "system://hg.example.org", 1_795_345_170.0
EXAMPLE_EPOCH = "b81f6e0c-2d7a-4c55-9e1b-0f64a3c7d210"

_SUFFIX = ".json"
_VERSION = re.compile(r"(.+)\.v([1-9][0-9]*)")
_SERVICE_STATE = re.compile(r"system\.[a-z][a-z0-9_-]*\.[a-z0-9][a-z0-9_-]*\.v1")
_HEARTBEAT = ".heartbeat.v1"
_REF = re.compile(re.escape(SCHEMA_URN_PREFIX) + r"(?P<file>[^#]+)#/\$defs/(?P<name>[^/]+)")
_LOCAL_REF = "#/$defs/"


def known_types() -> list[str]:
    """Return every event type with its version, sorted; every `system.<service>.<state>.v1` is known as well."""
    return [name for name in _names("events") if name != STATUS_SCHEMA]


def complete_type(text: str) -> str:
    """Return the full name of a type, with the newest version where the text has none: `hg.push` -> `hg.push.v1`.

    EventError, with the closest names, if no such type is known.
    """
    known = known_types()
    versions = [name for name in known if name == text or name.rpartition(".")[0] == text]
    if versions:
        return max(versions, key=lambda name: int(name.rpartition(".v")[2]))
    full = text if _VERSION.fullmatch(text) else f"{text}.v1"
    if _SERVICE_STATE.fullmatch(full):
        return full
    raise EventError(f"the event type {text!r} is unknown{_hint(text, known)}")


def schema_for(type_: str) -> dict[str, Any]:
    """Return the self-contained JSON Schema of a type's `data`; the caller may change it.

    This also knows `system.status` and the documents that are not events (`envelope.v1`).
    EventError if there is no such schema.
    """
    name = type_ if _VERSION.fullmatch(type_) else f"{type_}.v1"
    if name == STATUS_SCHEMA:
        return _bundle("events", name)
    if name in _names("."):
        return _bundle(".", name)
    full = complete_type(type_)
    if full in _names("events"):
        return _bundle("events", full)
    if full.endswith(_HEARTBEAT):
        return _bundle("events", HEARTBEAT_SCHEMA)
    return _bundle("events", dataschema(full).removeprefix(SCHEMA_URN_PREFIX))


def check(type_: str, data: Any) -> None:
    """Raise EventError, with the JSON pointer and what is expected there, if the data does not fit the type."""
    full = complete_type(type_)
    for pointer, defect in defects(schema_for(full), data):
        place = f"at {pointer} " if pointer else ""
        raise EventError(f"the data of {full} is wrong {place}({defect})")


def example_of(type_: str) -> Event:
    """Return a recorded event of a type, numbered as the first of its source, for example to test a handler.

        handle(example_of("hg.push"))

    A heartbeat has no numbers. EventError if there is no such type.
    """
    full = complete_type(type_)
    if full.endswith(_HEARTBEAT):
        (data,) = schema_for(full)["examples"]
        return Event.of(full, source=EXAMPLE_SOURCE, key=["1"], subject="relay", time=EXAMPLE_TIME_S, data=data)
    schema = dataschema(full)
    recorded = [event for event in _recorded() if dataschema(event.type) == schema]
    exact = [event for event in recorded if event.type == full]
    return (exact or recorded)[0].numbered(Numbers(EXAMPLE_EPOCH, 1, 1))


@cache
def _recorded() -> tuple[Event, ...]:
    """Return the events that the tests compare every byte with: in a wheel beside the schemas, else in a checkout."""
    package = Path(__file__).resolve().parents[1]
    folder = next(
        path for path in (package / "files" / "recorded", package.parents[1] / "tests" / "recorded") if path.is_dir()
    )
    lines = [
        line.partition("\t")
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return tuple(decode(body.encode(), routing_key=key) for key, _, body in lines)


def _directory(folder: str) -> Traversable:
    from importlib.resources import files

    return files("sourcepulse").joinpath("schemas", folder)


@cache
def _names(folder: str) -> tuple[str, ...]:
    # The files are part of the package; they do not change while it runs.
    entries = (entry.name for entry in _directory(folder).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in entries if name.endswith(_SUFFIX)))


@cache
def _text(folder: str, name: str) -> str:
    return _directory(folder).joinpath(name + _SUFFIX).read_text(encoding="utf-8")


def _bundle(folder: str, name: str) -> dict[str, Any]:
    """Read a schema and include the definitions it refers to in other files, so that the result is self-contained."""
    schema: dict[str, Any] = json.loads(_text(folder, name))
    definitions: dict[str, Any] = {}
    shared: dict[str, dict[str, Any]] = {}
    _bring_in(schema, name, definitions, shared)
    if definitions:
        schema["$defs"] = dict(sorted((schema.get("$defs", {}) | definitions).items()))
    return schema


def _bring_in(part: Any, file: str, definitions: dict[str, Any], shared: dict[str, dict[str, Any]]) -> None:
    if isinstance(part, list):
        for item in part:
            _bring_in(item, file, definitions, shared)
    if not isinstance(part, dict):
        return
    for keyword, value in part.items():
        if keyword == "$ref":
            absolute = value if not value.startswith("#") else f"{SCHEMA_URN_PREFIX}{file}{value}"
            match = _REF.fullmatch(absolute)
            if match is None:
                raise ValueError(f"the schema {file} refers to {value!r}, which is not a shared definition")
            home, name = match["file"], match["name"]
            part[keyword] = _LOCAL_REF + name
            if name not in definitions:
                if home not in shared:
                    shared[home] = json.loads(_text(".", home))["$defs"]
                definitions[name] = shared[home][name]
                _bring_in(definitions[name], home, definitions, shared)
        elif keyword != "examples":
            _bring_in(value, file, definitions, shared)


def _hint(text: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(text, [*known, *(name.rpartition(".")[0] for name in known)], n=5, cutoff=0.6)
    full = sorted({name if name in known else f"{name}.v1" for name in near})
    if STATUS_SCHEMA in (text, f"{text}.v1"):
        return "; the state of a service is named system.<service>.<state>, such as system.hg.down"
    if full:
        return f"; did you mean {' or '.join(full)}?"
    return "; 'sourcepulse schema' lists the known types"
