# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Values that fit a schema, and values that hardly do not, for the keywords that our schemas use."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from sourcepulse.events.json_pointer import resolve

#: Texts that each of our patterns takes, and some that none does.
PATTERN_TEXTS = [
    "2026-11-22T10:59:21.482913Z",
    "2026-11-22T10:59:21Z",
    "0" * 40,
    "a" * 64,
    "A" * 40,
    "0" * 20,
    "hg.push.v1",
    "hg://host/x",
    "urn:sourcepulse:hg.push.v1",
    "",
    "x",
    "x\n",
]
scalars = st.none() | st.booleans() | st.integers(-3, 10) | st.sampled_from([1.0, 1.5]) | st.sampled_from(PATTERN_TEXTS)
strays = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "cf_x"]), scalars)


def fitting(schema: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that mostly fit the schema."""
    if "$ref" in schema:
        return fitting(resolve(root, schema["$ref"].removeprefix("#")), root)
    if "const" in schema:
        return st.just(schema["const"])
    if "anyOf" in schema:
        return st.one_of([fitting(branch, root) for branch in schema["anyOf"]])
    types = schema.get("type", ["null", "string", "integer"])
    return st.one_of([_of_type(name, schema, root) for name in ([types] if isinstance(types, str) else types)])


def _of_type(name: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if name == "object":
        members = {key: fitting(part, root) for key, part in schema.get("properties", {}).items()}
        # The names of a pattern are all of the form that ours has, `^cf_`.
        optional = {
            f"{pattern.removeprefix('^')}x": fitting(part, root)
            for pattern, part in schema.get("patternProperties", {}).items()
        }
        return st.fixed_dictionaries(members, optional=optional)
    if name == "array":
        items = fitting(schema.get("items", {}), root)
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 2))
    if name == "string":
        return st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else st.sampled_from("abc")
    plain: dict[str, st.SearchStrategy[Any]] = {
        "integer": st.integers(0, 9),
        "number": st.floats(0, 9),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return plain[name]


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Change one place of a value: replace it, take a member away, add one, or repeat an item."""
    value = copy.deepcopy(value)
    holder: Any = None
    key: Any = None
    here = value
    while isinstance(here, dict | list) and here and (holder is None or draw(st.booleans())):
        holder = here
        key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        here = here[key]
    action = draw(st.sampled_from(["replace", "remove", "add", "leave"]))
    if holder is None:
        return draw(strays) if action == "replace" else value
    if action == "replace":
        holder[key] = draw(strays)
    elif action == "remove":
        del holder[key]
    elif action == "add" and isinstance(holder, dict):
        holder[draw(st.sampled_from(["cf_y", "extra", "id", "a/b~"]))] = draw(strays)
    elif action == "add":
        holder.append(holder[key])
    return value
