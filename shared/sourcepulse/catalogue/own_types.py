# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The event types of a site: a JSON Schema for each in a folder, as site.deploy.finished.v1.json.

Only what emits such an event reads them. The relay and consumers need nothing, because an event names its type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sourcepulse.catalogue.patterns import LimitedEffort, TooCostlyError, shape_of
from sourcepulse.errors import ConfigError, EventError, quoted
from sourcepulse.events.json_pointer import resolve
from sourcepulse.events.topics import FAMILIES
from sourcepulse.events.validator import ANNOTATIONS, KEYWORDS, TYPES, defects

FILES_MAX = 1_000
FILE_MAX_BYTES = 256 * 1024
#: How many schemas a reference may lead to without a step into the data.
FOLLOWED_MAX = 256
SUFFIX = ".json"

#: The first word is also the scheme of the default source.
_NAME = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9][a-z0-9_-]*)+\.v[1-9][0-9]*")
#: Their events are counted by our sources, and these have schemas of their own.
_OURS = {*FAMILIES, *(word for words in FAMILIES.values() for word in words)}

_REFERENCE = re.compile(r"#/\$defs/[^/]+")

Schemas = Mapping[str, Mapping[str, Any]]


def read_own_types(folder: Path) -> Schemas:
    """Return the schema of each type in a folder; ConfigError names the file that is wrong, and where."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except OSError as error:
        raise ConfigError(f"the folder of schemas {folder} cannot be read: {error.strerror}") from None
    if len(paths) > FILES_MAX:
        raise ConfigError(f"the folder of schemas {folder} has more than {FILES_MAX} files")
    return {path.name.removesuffix(SUFFIX): _read(path) for path in paths}


def own_type(schemas: Schemas, text: str) -> str | None:
    """Return the full name of a type of the site, with the newest version where the text has none; None for others."""
    versions = [name for name in schemas if text in (name, name.rpartition(".")[0])]
    return max(versions, key=lambda name: int(name.rpartition(".v")[2])) if versions else None


def check_own(schemas: Schemas, type_: str, data: Any) -> None:
    """Raise EventError, with the JSON pointer and what is expected there, if the data does not fit the type."""
    try:
        for pointer, defect in defects(schemas[type_], data, LimitedEffort()):
            place = f"at {pointer} " if pointer else ""
            raise EventError(f"the data of {type_} is wrong {place}({defect})")
    except TooCostlyError:
        raise EventError(
            f"the data of {type_} would take too long to check against its schema: it is too large, or a text is too "
            "long for its pattern"
        ) from None
    except RecursionError:
        raise EventError(f"the data of {type_} is nested too deeply") from None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        name = path.name.removesuffix(SUFFIX)
        if not _NAME.fullmatch(name):
            raise ValueError("its name is not that of a type, such as site.deploy.finished.v1.json")
        if (family := name.partition(".")[0]) in _OURS:
            raise ValueError(f"the types that begin with {family!r} are not a site's own; use another first word")
        if not path.is_file():
            raise ValueError("it is not a file")
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
        if len(content) > FILE_MAX_BYTES:
            raise ValueError(f"it has more than {FILE_MAX_BYTES} bytes")
        schema = json.loads(content)
        for pointer, part in _parts(schema, ""):
            _check_part(part, pointer, schema)
        if schema.get("type") != "object":
            raise ValueError('its "type" is not "object", as the data of every event is')
    except OSError as error:
        raise ConfigError(f"the schema {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the schema {path} cannot be used: {error}") from None
    return dict(schema)


def _parts(schema: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Yield every schema within a schema, with its pointer, the outer ones first."""
    yield pointer, schema
    for keyword in ("properties", "patternProperties", "$defs"):
        for name, part in dict(schema.get(keyword, {})).items():
            yield from _parts(part, f"{pointer}/{keyword}/{name}")
    for index, part in enumerate(schema.get("anyOf", [])):
        yield from _parts(part, f"{pointer}/anyOf/{index}")
    if "items" in schema:
        yield from _parts(schema["items"], f"{pointer}/items")


def _check_part(part: Any, pointer: str, root: Any) -> None:
    place = f"at {pointer} " if pointer else ""
    if not isinstance(part, dict):
        raise ValueError(f"{place}an object is expected")
    for keyword, rule in part.items():
        if keyword in ANNOTATIONS - _RULES.keys():
            continue
        if keyword not in _RULES:
            known = ", ".join(sorted(KEYWORDS))
            raise ValueError(f"{place}it has the keyword {keyword!r}; the known ones are {known}")
        expected, is_right = _RULES[keyword]
        if not is_right(rule):
            raise ValueError(f"{place}{keyword!r} is not {expected}")
    for pattern in (*([part["pattern"]] if "pattern" in part else ()), *part.get("patternProperties", ())):
        try:
            shape_of(pattern)
        except ValueError as error:
            raise ValueError(f"{place}the pattern {quoted(pattern)} {error}") from None
    if "$ref" in part:
        _check_reference(part, root, place)


def _check_reference(part: Any, root: Any, place: str) -> None:
    """Raise ValueError if a reference leads nowhere, or by nothing but references and anyOf to itself."""
    seen: set[int] = set()
    ahead = [part]
    while ahead:
        here = ahead.pop()
        if id(here) in seen:
            raise ValueError(f"{place}the reference {part['$ref']!r} leads to itself, or twice to the same schema")
        if len(seen) == FOLLOWED_MAX:
            raise ValueError(f"{place}the reference {part['$ref']!r} leads on to more than {FOLLOWED_MAX} schemas")
        seen.add(id(here))
        ahead.extend(here.get("anyOf", []))
        if "$ref" in here:
            try:
                target = resolve(root, here["$ref"].removeprefix("#"))
            except EventError:
                target = None
            if not isinstance(target, dict):
                raise ValueError(f"{place}the reference {here['$ref']!r} leads to no schema in this file")
            ahead.append(target)


def _is_pattern(rule: Any) -> bool:
    try:
        re.compile(rule)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return isinstance(rule, str)


def _is_count(rule: Any) -> bool:
    return type(rule) is int and rule >= 0


def _is_number(rule: Any) -> bool:
    return type(rule) in (int, float)


def _is_texts(rule: Any) -> bool:
    return isinstance(rule, list) and all(isinstance(each, str) for each in rule)


def _is_type(rule: Any) -> bool:
    names = [rule] if isinstance(rule, str) else rule
    return bool(names) and _is_texts(names) and set(names) <= TYPES


#: What each keyword takes, in words and as a check. Boolean schemas and schemas in place of a boolean are not known.
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "$defs": ("an object", lambda rule: isinstance(rule, dict)),
    "examples": ("a list", lambda rule: isinstance(rule, list)),
    "title": ("a text", lambda rule: isinstance(rule, str)),
    "$ref": ("like #/$defs/NAME", lambda rule: isinstance(rule, str) and bool(_REFERENCE.fullmatch(rule))),
    "additionalProperties": ("true or false", lambda rule: isinstance(rule, bool)),
    "anyOf": ("a list of schemas", lambda rule: isinstance(rule, list) and bool(rule)),
    "const": ("a value", lambda _: True),
    "enum": ("a list of values", lambda rule: isinstance(rule, list) and bool(rule)),
    "dependentRequired": (
        "an object of lists of names",
        lambda rule: isinstance(rule, dict) and all(map(_is_texts, rule.values())),
    ),
    "items": ("a schema", lambda rule: isinstance(rule, dict)),
    "maximum": ("a number", _is_number),
    "maxItems": ("a count", _is_count),
    "maxLength": ("a count", _is_count),
    "minItems": ("a count", _is_count),
    "minLength": ("a count", _is_count),
    "minimum": ("a number", _is_number),
    "pattern": ("a regular expression", _is_pattern),
    "patternProperties": (
        "an object of schemas by regular expressions",
        lambda rule: isinstance(rule, dict) and all(map(_is_pattern, rule)),
    ),
    "properties": ("an object of schemas", lambda rule: isinstance(rule, dict)),
    "required": ("a list of names", _is_texts),
    "type": (f"a type or a list of types ({', '.join(sorted(TYPES))})", _is_type),
}
