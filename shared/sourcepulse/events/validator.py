# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The subset of JSON Schema 2020-12 that our schemas use, so that no library is needed for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sourcepulse.events.pointer import escape, resolve

#: Keywords for readers; they do not constrain the value.
ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "title", "description", "examples"})

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    # A number without a fraction is an integer (validation section 6.1.1), however it is written.
    "integer": lambda value: (
        value.is_integer() if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)
    ),
}


def defects(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str]]:
    """Yield the defects of a value, in no particular order: pairs of JSON pointer and sentence.

    `schema` is self-contained: each `$ref` is a pointer into it. KeyError names a keyword that is not supported.
    """
    return _Validator(schema).defects(schema, value, "")


class _Validator:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    def defects(self, schema: Mapping[str, Any], value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        for keyword, rule in schema.items():
            if keyword not in ANNOTATIONS:
                yield from KEYWORDS[keyword](self, schema, rule, value, pointer)

    def type(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        allowed = [rule] if isinstance(rule, str) else rule
        if not any(_TYPES[name](value) for name in allowed):
            yield pointer, f"expected {' or '.join(allowed)}, got {_kind(value)}"

    def const(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if type(value) is not type(rule) or value != rule:
            yield pointer, f"expected {rule!r}, got {_short(value)}"

    def properties(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for name, schema in rule.items():
                if name in value:
                    yield from self.defects(schema, value[name], f"{pointer}/{escape(name)}")

    def pattern_properties(
        self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str
    ) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for pattern, schema in rule.items():
                for name in value:
                    if re.search(pattern, name):
                        yield from self.defects(schema, value[name], f"{pointer}/{escape(name)}")

    def additional_properties(
        self, schema: Mapping[str, Any], rule: Any, value: Any, pointer: str
    ) -> Iterator[tuple[str, str]]:
        # In our schemas this is always false; a schema in its place is not supported.
        if isinstance(value, Mapping) and rule is False:
            known = schema.get("properties", {})
            patterns = schema.get("patternProperties", {})
            for name in value:
                if name not in known and not any(re.search(pattern, name) for pattern in patterns):
                    yield pointer, f"has the member {_short(name)}, which is none of {', '.join(known)}"

    def required(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for name in rule:
                if name not in value:
                    yield pointer, f"lacks the member {name!r}"

    def dependent_required(
        self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str
    ) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            for name, others in rule.items():
                for other in others:
                    if name in value and other not in value:
                        yield pointer, f"has {name!r} and lacks the member {other!r}"

    def items(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, list | tuple):
            for place, item in enumerate(value):
                yield from self.defects(rule, item, f"{pointer}/{place}")

    def min_items(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, list | tuple) and len(value) < rule:
            yield pointer, f"expected at least {rule} items, got {len(value)}"

    def max_items(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, list | tuple) and len(value) > rule:
            yield pointer, f"expected at most {rule} items, got {len(value)}"

    def min_length(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, str) and len(value) < rule:
            yield pointer, f"expected at least {rule} characters, got {len(value)}"

    def minimum(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if _TYPES["number"](value) and value < rule:
            yield pointer, f"expected {rule} or more, got {value}"

    def pattern(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        if isinstance(value, str) and not re.search(rule, value):
            yield pointer, f"expected a string that matches {rule}, got {_short(value)}"

    def any_of(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        branches = [next(self.defects(schema, value, pointer), None) for schema in rule]
        found = [branch for branch in branches if branch is not None]
        if len(found) == len(branches):
            # The branches that matched deepest into the value are the ones that were meant.
            deepest = max(place.count("/") for place, _ in found)
            meant = [(place, sentence) for place, sentence in found if place.count("/") == deepest]
            yield meant[0][0], "; or ".join(dict.fromkeys(sentence for _, sentence in meant))

    def ref(self, _schema: Mapping[str, Any], rule: Any, value: Any, pointer: str) -> Iterator[tuple[str, str]]:
        yield from self.defects(resolve(self.root, rule.removeprefix("#")), value, pointer)


KEYWORDS: Mapping[str, Callable[..., Iterator[tuple[str, str]]]] = {
    "$ref": _Validator.ref,
    "additionalProperties": _Validator.additional_properties,
    "anyOf": _Validator.any_of,
    "const": _Validator.const,
    "dependentRequired": _Validator.dependent_required,
    "items": _Validator.items,
    "maxItems": _Validator.max_items,
    "minItems": _Validator.min_items,
    "minLength": _Validator.min_length,
    "minimum": _Validator.minimum,
    "pattern": _Validator.pattern,
    "patternProperties": _Validator.pattern_properties,
    "properties": _Validator.properties,
    "required": _Validator.required,
    "type": _Validator.type,
}


def _kind(value: Any) -> str:
    # Booleans come first, because Python counts them as integers.
    for name in ("boolean", "null", "string", "integer", "number", "array", "object"):
        if _TYPES[name](value):
            return name
    return type(value).__name__


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
