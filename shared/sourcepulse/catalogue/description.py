# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a schema says of an event type; the pages in Markdown and those on the web are drawn from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sourcepulse.catalogue import (
    EXAMPLE_EPOCH,
    EXAMPLE_TIME_S,
    STATUS_SCHEMA,
    example_of,
    known_types,
    schema_for,
)
from sourcepulse.catalogue.addresses import SOURCE_NAMES, Address, address, own_address
from sourcepulse.catalogue.own_types import Schemas
from sourcepulse.errors import EventError
from sourcepulse.events.event import Event, Numbers
from sourcepulse.events.json_pointer import unescape
from sourcepulse.events.wire import encode

#: A state of a service, as the example of all states.
STATUS_EXAMPLE = "system.hg.down.v1"
STATUS_TYPES = "system.<service>.<state>.v1"
#: The title of a type of a site whose schema has none.
OWN_TITLE = "An event of this site"
OWN_SOURCE_NAME = "This site"
#: The own types of a site have none of the guarantees of ours.
OWN_GUARANTEE = "exact from the moment it is stored in the outbox"
EXAMPLE_HOST = "host.example.org"
PROMISE = (
    "A released type never changes. New types, new words and new words at the end of a key may come at any time. Every "
    "field that is required is always present; where there is nothing to report it is null or empty."
)
#: What a guarantee means, by its first words.
GUARANTEES = {
    "exact": "every one that the source committed is published at least once, in the order of its source, and a repeat "
    "has the same id; none is lost while the broker is away",
    "best effort": "one may be missing, because no record is kept from which it could be read after a crash",
}

_GUARANTEE = re.compile(r"\s*Guarantee: ([^.]+)\.")
_REF = "#/$defs/"
_OWN: Schemas = {}


class Word(NamedTuple):
    """A part of the name of a kind of value; `shape` is the shape of that name, where it is described on its own."""

    text: str
    shape: str | None = None


Kind = tuple[Word, ...]


class Field(NamedTuple):
    """A member of an object."""

    name: str
    kind: Kind
    required: bool
    description: str


class Shape(NamedTuple):
    """What several fields have in common: an object, a list of objects, a text of a pattern, or one of several."""

    name: str
    description: str
    fields: tuple[Field, ...]
    is_list: bool
    pattern: str | None
    kind: Kind


class Description(NamedTuple):
    """An event type; `shapes` are those that its fields name, and those that these name, by name."""

    type: str
    #: The name that people read, which for the states of services is a pattern.
    shown: str
    title: str
    meaning: str
    guarantee: str
    address: Address
    fields: tuple[Field, ...]
    shapes: tuple[Shape, ...]
    is_own: bool

    @property
    def promise(self) -> str:
        """Return the guarantee as a sentence, with what it means."""
        return "".join(
            f"{self.guarantee[0].upper()}{self.guarantee[1:]}: {means}."
            for words, means in GUARANTEES.items()
            if self.guarantee.startswith(words)
        )


class Source(NamedTuple):
    """What publishes a group of types."""

    family: str
    name: str
    types: tuple[str, ...]


def sources(own: Schemas = _OWN) -> tuple[Source, ...]:
    """Return all types by what publishes them; `own` are the types of the site."""
    types: dict[str, list[str]] = {family: [] for family in SOURCE_NAMES}
    for type_ in known_types():
        types[address(type_).family].append(type_)
    types["system"].append(STATUS_SCHEMA)
    ours = tuple(Source(family, SOURCE_NAMES[family], tuple(names)) for family, names in types.items())
    return (*ours, Source("", OWN_SOURCE_NAME, tuple(own))) if own else ours


def schema_of(type_: str, own: Schemas = _OWN) -> dict[str, Any]:
    """Return the self-contained schema of a type of ours or of the site; EventError if there is none."""
    return dict(own[type_]) if type_ in own else schema_for(type_)


def describe(type_: str, own: Schemas = _OWN) -> Description:
    """Return what is to be known of a type of ours or of the site; EventError if there is no such type."""
    schema, is_own = schema_of(type_, own), type_ in own
    definitions = schema.get("$defs", {})
    meaning, guarantee = guarantee_of(schema)
    try:
        fields = _fields(_resolved(schema, definitions), definitions)
        shapes = _needed(fields, definitions)
    except RecursionError:
        raise EventError(f"the schema of {type_} is nested too deeply to be described") from None
    return Description(
        type=type_,
        shown=STATUS_TYPES if type_ == STATUS_SCHEMA else type_,
        title=schema.get("title", OWN_TITLE),
        meaning=meaning,
        guarantee=guarantee or OWN_GUARANTEE if is_own else guarantee,
        address=own_address(type_) if is_own else address(type_),
        fields=fields,
        shapes=shapes,
        is_own=is_own,
    )


def guarantee_of(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a schema says of its events, and what is guaranteed of them."""
    description = str(schema.get("description", ""))
    found = _GUARANTEE.search(description)
    return _GUARANTEE.sub("", description).strip(), found[1] if found else ""


def recorded(type_: str, own: Schemas = _OWN) -> Event:
    """Return a recorded event of a type; of one of the site the first example of its schema, EventError without one."""
    if type_ not in own:
        return example_of(STATUS_EXAMPLE if type_ == STATUS_SCHEMA else type_)
    data = next(iter(own[type_].get("examples", ())), None)
    if not isinstance(data, dict):
        raise EventError(f"the schema of {type_} has no example")
    source = f"{own_address(type_).family}://{EXAMPLE_HOST}"
    made = Event.of(type_, source=source, key=["1"], subject=None, time=EXAMPLE_TIME_S, data=data)
    return made.numbered(Numbers(EXAMPLE_EPOCH, 1, 1))


def example(type_: str, own: Schemas = _OWN) -> dict[str, Any]:
    """Return the recorded event of a type, as it is sent; EventError if there is none."""
    event: dict[str, Any] = json.loads(encode(recorded(type_, own)))
    return event


def _fields(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Field, ...]:
    required = shape.get("required", ())
    found = [
        Field(name, _kind(part, definitions), name in required, _described(part, definitions))
        for name, part in shape.get("properties", {}).items()
    ]
    for pattern, part in shape.get("patternProperties", {}).items():
        if name := pattern.removeprefix("^"):
            found.append(Field(f"{name}*", _kind(part, definitions), False, _described(part, definitions)))
    return tuple(found)


def _kind(part: Mapping[str, Any], definitions: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Kind:
    if "$ref" in part:
        name = _name_of(part["$ref"])
        if _has_section(definitions[name]):
            return (Word(name, name),)
        # A list of a site may contain lists of the same kind.
        return (Word(name),) if name in seen else _kind(definitions[name], definitions, (*seen, name))
    if "anyOf" in part:
        return _either(_kind(each, definitions, seen) for each in part["anyOf"])
    if "type" not in part:
        values = part.get("enum", [part["const"]] if "const" in part else [])
        return _either((Word(json.dumps(each, ensure_ascii=False)),) for each in values) or (Word("any value"),)
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return _either(_named_kind(kind, part, definitions, seen) for kind in kinds)


def _named_kind(kind: str, part: Mapping[str, Any], definitions: Mapping[str, Any], seen: tuple[str, ...]) -> Kind:
    if kind == "array" and "items" in part:
        items = _kind(part["items"], definitions, seen)
        is_several = any(" or " in word.text for word in items)
        return (Word("list of ("), *items, Word(")")) if is_several else (Word("list of "), *items)
    if kind == "object" and "patternProperties" in part:
        values = _either(_kind(each, definitions, seen) for each in part["patternProperties"].values())
        return (Word("object of "), *values)
    return (Word("list" if kind == "array" else kind),)


def _either(kinds: Iterator[Kind]) -> Kind:
    """Join kinds by "or", each once."""
    words: list[Word] = []
    for kind in dict.fromkeys(kinds):
        words += [Word(" or ")] if words else []
        words += kind
    return tuple(words)


def _described(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "description" not in part and "$ref" in part:
        return str(definitions[_name_of(part["$ref"])].get("description", ""))
    return str(part.get("description", ""))


def _has_section(shape: Mapping[str, Any]) -> bool:
    """Return whether a definition is described on its own: one of an object, of a list of them, or of a pattern."""
    return "properties" in shape or "properties" in shape.get("items", {}) or "pattern" in shape or "anyOf" in shape


def _shape(name: str, definitions: Mapping[str, Any]) -> Shape:
    shape = definitions[name]
    is_list = "properties" not in shape and "properties" in shape.get("items", {})
    fields = _fields(shape["items"] if is_list else shape, definitions)
    return Shape(
        name=name,
        description=str(shape.get("description", "")),
        fields=fields,
        is_list=is_list,
        pattern=None if fields else shape.get("pattern"),
        kind=() if fields or "pattern" in shape else _kind(shape, definitions),
    )


def _needed(fields: tuple[Field, ...], definitions: Mapping[str, Any]) -> tuple[Shape, ...]:
    """Return the shapes that fields name, and those that these name."""
    found: dict[str, Shape] = {}
    waiting = [word.shape for field in fields for word in field.kind]
    while waiting:
        name = waiting.pop()
        if name is not None and name not in found:
            shape = found[name] = _shape(name, definitions)
            waiting += [word.shape for field in shape.fields for word in field.kind]
            waiting += [word.shape for word in shape.kind]
    return tuple(found[name] for name in sorted(found, key=str.lower))


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = definitions[_name_of(schema["$ref"])]
    return schema


def _name_of(reference: str) -> str:
    return unescape(reference.removeprefix(_REF))
