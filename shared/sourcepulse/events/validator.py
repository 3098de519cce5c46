# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The subset of JSON Schema 2020-12 that our schemas and those of a site use, so that no library is needed for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sourcepulse.events.json_pointer import escape, resolve

#: Keywords for readers; they do not constrain the value.
ANNOTATIONS = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default", "deprecated", "format"}
)

#: Each part of the data gets a pointer of its own, and a long one takes time to write.
POINTER_CHARACTERS_PER_STEP = 256

#: Following a reference takes as long as so many comparisons.
REFERENCE_STEPS = 5

#: Pairs of JSON pointer and sentence.
Defects = Iterator[tuple[str, str]]

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


class Effort:
    """What a check may cost: without limit here, as suits our own schemas; a subclass limits it."""

    def spend(self, steps: int) -> None:
        """Count some steps of a check, or raise an error that ends it."""

    def search(self, pattern: str, text: str) -> bool:
        """Return whether a pattern matches somewhere in a text."""
        return re.search(pattern, text) is not None


_UNLIMITED = Effort()


def defects(schema: Mapping[str, Any], value: Any, effort: Effort = _UNLIMITED) -> Defects:
    """Yield the defects of a value, in no particular order.

    `schema` is self-contained: each `$ref` is a pointer into it. KeyError names a keyword that is not supported.
    """
    return _Place(schema, value, "", effort).defects(schema)


class _Place(NamedTuple):
    """A value within the data, and the schema that all references lead into."""

    root: Mapping[str, Any]
    value: Any
    pointer: str
    effort: Effort

    def defects(self, schema: Mapping[str, Any]) -> Defects:
        self.effort.spend(1 + len(self.pointer) // POINTER_CHARACTERS_PER_STEP)
        for keyword, rule in schema.items():
            if keyword in ANNOTATIONS:
                continue
            self.effort.spend(_steps(keyword, rule))
            concerned, check = KEYWORDS[keyword]
            if concerned is None or _TYPES[concerned](self.value):
                yield from check(self, rule, schema)

    def below(self, word: str | int, schema: Mapping[str, Any]) -> Defects:
        """Yield the defects of a member or an item."""
        return _Place(self.root, self.value[word], f"{self.pointer}/{escape(str(word))}", self.effort).defects(schema)

    def properties(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        for name, schema in rule.items():
            if name in self.value:
                yield from self.below(name, schema)

    def pattern_properties(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        for pattern, schema in rule.items():
            for name in self.value:
                if self.effort.search(pattern, name):
                    yield from self.below(name, schema)

    def additional_properties(self, rule: Any, schema: Mapping[str, Any]) -> Defects:
        # In our schemas this is always false; a schema in its place is not supported.
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for name in self.value if rule is False else ():
            if name not in known and not any(self.effort.search(pattern, name) for pattern in patterns):
                yield self.pointer, f"has the member {_short(name)}, which is none of {', '.join(known)}"

    def pattern(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        if not self.effort.search(rule, self.value):
            yield self.pointer, f"expected a string that matches {rule}, got {_short(self.value)}"

    def required(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        for name in rule:
            if name not in self.value:
                yield self.pointer, f"lacks the member {name!r}"

    def dependent_required(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        for name, others in rule.items():
            for other in others:
                if name in self.value and other not in self.value:
                    yield self.pointer, f"has {name!r} and lacks the member {other!r}"

    def items(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        for index in range(len(self.value)):
            yield from self.below(index, rule)

    def type(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        allowed = [rule] if isinstance(rule, str) else rule
        if not any(_TYPES[name](self.value) for name in allowed):
            yield self.pointer, f"expected {' or '.join(allowed)}, got {_kind(self.value)}"

    def any_of(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        branches = [next(self.defects(schema), None) for schema in rule]
        found = [branch for branch in branches if branch is not None]
        if len(found) == len(branches):
            # The branches that matched deepest into the value are the ones that were meant.
            deepest = max(pointer.count("/") for pointer, _ in found)
            meant = [(pointer, sentence) for pointer, sentence in found if pointer.count("/") == deepest]
            yield meant[0][0], "; or ".join(dict.fromkeys(sentence for _, sentence in meant))

    def ref(self, rule: Any, _: Mapping[str, Any]) -> Defects:
        return self.defects(resolve(self.root, rule.removeprefix("#")))


def _steps(keyword: str, rule: Any) -> int:
    """Return how many comparisons a keyword costs at most, without what is below it."""
    if keyword == "dependentRequired":
        return 1 + sum(1 + len(others) for others in rule.values())
    if keyword == "$ref":
        return REFERENCE_STEPS
    return 1 + len(rule) if isinstance(rule, list | dict) else 1


def _kind(value: Any) -> str:
    # Booleans come first, because Python counts them as integers.
    for name in ("boolean", "null", "string", "integer", "number", "array", "object"):
        if _TYPES[name](value):
            return name
    return type(value).__name__


def _is_same(value: Any, rule: Any) -> bool:
    return type(value) is type(rule) and bool(value == rule)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."


_Check = Callable[[_Place, Any, Mapping[str, Any]], Defects]


def _limit(holds: Callable[[Any, Any], object], expected: str, measure: Callable[[Any], object] = _short) -> _Check:
    """Return the check of a keyword that compares the value with one number, text or pattern."""

    def check(place: _Place, rule: Any, _: Mapping[str, Any]) -> Defects:
        if not holds(place.value, rule):
            yield place.pointer, f"expected {expected.format(rule)}, got {measure(place.value)}"

    return check


#: The names of the types.
TYPES = frozenset(_TYPES)

#: Each keyword, the type of the values that it concerns (None for all), and its check.
KEYWORDS: Mapping[str, tuple[str | None, _Check]] = {
    "$ref": (None, _Place.ref),
    "additionalProperties": ("object", _Place.additional_properties),
    "anyOf": (None, _Place.any_of),
    "const": (None, _limit(_is_same, "{!r}")),
    "enum": (None, _limit(lambda value, rule: any(_is_same(value, each) for each in rule), "one of {}")),
    "dependentRequired": ("object", _Place.dependent_required),
    "items": ("array", _Place.items),
    "maxItems": ("array", _limit(lambda value, rule: len(value) <= rule, "at most {} items", len)),
    "maximum": ("number", _limit(lambda value, rule: value <= rule, "{} or less")),
    "maxLength": ("string", _limit(lambda value, rule: len(value) <= rule, "at most {} characters", len)),
    "minItems": ("array", _limit(lambda value, rule: len(value) >= rule, "at least {} items", len)),
    "minLength": ("string", _limit(lambda value, rule: len(value) >= rule, "at least {} characters", len)),
    "minimum": ("number", _limit(lambda value, rule: value >= rule, "{} or more")),
    "pattern": ("string", _Place.pattern),
    "patternProperties": ("object", _Place.pattern_properties),
    "properties": ("object", _Place.properties),
    "required": ("object", _Place.required),
    "type": (None, _Place.type),
}
