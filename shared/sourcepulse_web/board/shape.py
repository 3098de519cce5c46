# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whether an event's data are as its schema says; each schema is made into functions once, because a board reads many.

Members that a schema does not know are fine. An integer is what SQLite stores as one, a time is one of the calendar,
so that whatever is made of the data later need not look again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from math import isfinite
from typing import Any

from sourcepulse.catalogue import schema_for
from sourcepulse.events.validator import defects

#: Of SQLite's integers.
INTEGER_LIMIT = 2**63
TIME_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T"
_LOCAL_REF = "#/$defs/"

Fits = Callable[[Any], bool]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -INTEGER_LIMIT <= value < INTEGER_LIMIT


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and isfinite(value))


_TYPES: Mapping[str, Fits] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": _is_integer,
}


def is_time(value: object) -> bool:
    """Return whether a value is a time as the contract writes it, and one of the calendar."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def fits(type_: str, data: Any) -> bool:
    """Return whether data fit the schema of a type of the catalogue."""
    return _of_type(type_)(data)


def misfit(type_: str, data: Any) -> str:
    """Return in words why data do not fit; slow."""
    for pointer, defect in defects(schema_for(type_), data):
        return f"at {pointer or 'the top'}: {defect}"
    return "a time or a number is out of range"


@cache
def _of_type(type_: str) -> Fits:
    schema = schema_for(type_)
    return _Compiler(schema).fits(schema)


class _Compiler:
    """Makes functions of the parts of one schema; a definition becomes one function, also where it refers to itself."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions = root.get("$defs", {})
        self._made: dict[str, Fits] = {}

    def fits(self, schema: Mapping[str, Any]) -> Fits:
        """Return what checks a value against a schema."""
        checks = [check for keyword, rule in schema.items() if (check := self._check(keyword, rule)) is not None]
        if len(checks) == 1:
            return checks[0]
        return lambda value: all(check(value) for check in checks)

    def _check(self, keyword: str, rule: Any) -> Fits | None:
        """Return the check of a keyword; None if no code depends on it."""
        match keyword:
            case "$ref":
                return self._definition(rule.removeprefix(_LOCAL_REF))
            case "type":
                return _type(rule)
            case "properties":
                return self._properties(rule)
            case "required":
                names = frozenset(rule)
                return lambda value: not isinstance(value, dict) or names <= value.keys()
            case "items":
                item = self.fits(rule)
                return lambda value: not isinstance(value, list) or all(map(item, value))
            case "patternProperties":
                return self._pattern_properties(rule)
            case "anyOf":
                branches = [self.fits(each) for each in rule]
                return lambda value: any(branch(value) for branch in branches)
            case _:
                return _comparison(keyword, rule)

    def _definition(self, name: str) -> Fits:
        if name not in self._made:
            # Until it is made, one that refers to itself is looked up when it is needed.
            self._made[name] = partial(self._later, name)
            self._made[name] = self.fits(self._definitions[name])
        return self._made[name]

    def _later(self, name: str, value: Any) -> bool:
        return self._made[name](value)

    def _properties(self, rule: Mapping[str, Any]) -> Fits:
        members = [(name, self.fits(schema)) for name, schema in rule.items()]

        def check(value: Any) -> bool:
            if isinstance(value, dict):
                for name, member in members:
                    if name in value and not member(value[name]):
                        return False
            return True

        return check

    def _pattern_properties(self, rule: Mapping[str, Any]) -> Fits:
        members = [(re.compile(pattern), self.fits(schema)) for pattern, schema in rule.items()]

        def check(value: Any) -> bool:
            if not isinstance(value, dict):
                return True
            return all(
                member(each) for name, each in value.items() for pattern, member in members if pattern.search(name)
            )

        return check


def _type(rule: Any) -> Fits:
    if isinstance(rule, str):
        return _TYPES[rule]
    allowed = [_TYPES[name] for name in rule]
    return lambda value: any(check(value) for check in allowed)


def _comparison(keyword: str, rule: Any) -> Fits | None:
    match keyword:
        case "enum":
            return lambda value: any(type(value) is type(each) and value == each for each in rule)
        case "const":
            return lambda value: type(value) is type(rule) and bool(value == rule)
        case "minimum":
            return lambda value: not _is_number(value) or value >= rule
        case "minItems":
            return lambda value: not isinstance(value, list) or len(value) >= rule
        case "minLength":
            return lambda value: not isinstance(value, str) or len(value) >= rule
        case "pattern":
            search = re.compile(rule).search
            if rule.startswith(TIME_PATTERN):
                return lambda value: not isinstance(value, str) or (search(value) is not None and is_time(value))
            return lambda value: not isinstance(value, str) or search(value) is not None
        case _:
            return None
