# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pages of the catalogue, made of the schemas and the recorded events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sourcepulse.catalogue import STATUS_SCHEMA, example_of, known_types, schema_for
from sourcepulse.catalogue.addresses import Address, address
from sourcepulse.events.wire import encode

#: The page with all types.
INDEX = "README"
#: A state of a service, as the example of all states.
STATUS_EXAMPLE = "system.hg.down.v1"
STATUS_TYPES = "system.<service>.<state>.v1"
_STATUS_NOTE = (
    "The page about [deployment](../deployment.md) has those of a relay, such as `system.relay.degraded`; "
    "`sourcepulse emit` and [`Publisher`](../publishing.md) publish those of your own services.\n"
)

_TITLES = {
    "hg": "Events of Mercurial",
    "buildbot": "Events of Buildbot",
    "bugzilla": "Events of Bugzilla",
    "system": "Events of the system",
}
_LINE_MAX = 118
#: A longer text of an example is shown in part.
_TEXT_MAX_CHARS, _TEXT_SHOWN_CHARS = 400, 60
_GENERATED = "This page is generated from the schemas, by `python -m sourcepulse.catalogue.generate`.\n"
_INTRODUCTION = f"""# The catalogue of events

Every type that is published, with the key under which a consumer finds it. A page for each source has the fields and a
recorded event, with long texts shortened. How a message is built is described in [wire format](../wire-format.md).

`sourcepulse schema TYPE` prints the JSON Schema of a type, `sourcepulse schema --example TYPE` an event, and
`sourcepulse schema --asyncapi` all of this as one AsyncAPI 3 document, for tools that generate code or pages.

A released type never changes. New types, new words and new words at the end of a key may come at any time. Every field
that is required is always present; where there is nothing to report it is null or empty.

{_GENERATED}"""
_GUARANTEE = re.compile(r"\s*Guarantee: ([^.]+)\.")
_REF = "#/$defs/"
_HEAD = "| field | type | required | |\n|---|---|---|---|\n"


def pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    types: dict[str, list[str]] = {family: [] for family in _TITLES}
    for type_ in known_types():
        types[address(type_).family].append(type_)
    types["system"].append(STATUS_SCHEMA)
    return {INDEX: _index(types), **{family: _page(family, names) for family, names in types.items()}}


def example_text(value: Any, indent: int = 0, begin: int = 0) -> str:
    """Return JSON for people: what fits stands on one line, everything else has a line for each member."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or begin + len(flat) <= _LINE_MAX:
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, list):
        lines = [inner + example_text(each, indent + 2, indent + 2) for each in value]
        brackets = "[]"
    else:
        names = [f"{inner}{json.dumps(name)}: " for name in value]
        lines = [
            name + example_text(each, indent + 2, len(name)) for name, each in zip(names, value.values(), strict=True)
        ]
        brackets = "{}"
    return brackets[0] + "\n" + ",\n".join(lines) + "\n" + " " * indent + brackets[1]


def example(type_: str) -> dict[str, Any]:
    """Return a recorded event of a type, as it is sent."""
    event: dict[str, Any] = json.loads(encode(example_of(STATUS_EXAMPLE if type_ == STATUS_SCHEMA else type_)))
    return event


def guarantee_of(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a schema says of its events, and what is guaranteed of them."""
    description = schema["description"]
    found = _GUARANTEE.search(description)
    return _GUARANTEE.sub("", description).strip(), found[1] if found else ""


def _index(types: Mapping[str, list[str]]) -> str:
    text = [_INTRODUCTION]
    for family, names in types.items():
        text += [
            f"\n## [{_TITLES[family]}]({family}.md)\n",
            "| type | routing key | guarantee | |",
            "|---|---|---|---|",
        ]
        for type_ in names:
            shown = _shown(type_)
            schema = schema_for(type_)
            _, guarantee = guarantee_of(schema)
            link = f"[{_code(shown)}]({family}.md#{_anchor(shown)})"
            text.append(f"| {link} | {_code(address(type_).key)} | {guarantee} | {schema['title']} |")
    return "\n".join(text) + "\n"


def _page(family: str, types: Iterable[str]) -> str:
    text = [f"# {_TITLES[family]}\n\n[All types](README.md). {_GENERATED}"]
    definitions: dict[str, Any] = {}
    same: dict[str, str] = {}
    for type_ in types:
        schema = schema_for(type_)
        text.append(_section(type_, schema, same))
        definitions |= schema.get("$defs", {})
    shapes = {name: _shape(name, definitions) for name, shape in definitions.items() if _has_section(shape)}
    if needed := _needed("\n".join(text), shapes):
        text.append("## Shapes\n\nWhat several fields have in common.\n")
        text += [shapes[name] for name in sorted(needed, key=str.lower)]
    return "\n".join(text)


def _needed(text: str, shapes: Mapping[str, str]) -> set[str]:
    """Return the shapes that a text links to, and those that they link to."""
    needed: set[str] = set()
    waiting = [text]
    while waiting:
        part = waiting.pop()
        for name, shape in shapes.items():
            if name not in needed and f"(#{_anchor(name)})" in part:
                needed.add(name)
                waiting.append(shape)
    return needed


def _section(type_: str, schema: dict[str, Any], same: dict[str, str]) -> str:
    shown, at = _shown(type_), address(type_)
    meaning, guarantee = guarantee_of(schema)
    lines = [
        f"## {_code(shown)}\n",
        f"{schema['title']}. {_plain(meaning)}\n",
        *([_STATUS_NOTE] if type_ == STATUS_SCHEMA else []),
        "| | |\n|---|---|",
        f"| routing key | {_code(at.key)}{_key_note(at)} |",
        f"| source, subject | {_code(at.source)}, {_code(at.subject)} |",
        f"| guarantee | {guarantee} |\n",
    ]
    table = _table(_resolved(schema, schema.get("$defs", {})), schema.get("$defs", {}))
    if table in same:
        first = same[table]
        lines.append(f"`data` has the fields of [{_code(first)}](#{_anchor(first)}).\n")
    else:
        same[table] = shown
        lines.append(table)
    lines.append(f"```json\n{example_text(_shortened(example(type_)))}\n```\n")
    return "\n".join(lines)


def _table(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    rows = []
    for name, part in shape.get("properties", {}).items():
        required = "yes" if name in shape.get("required", ()) else "no"
        rows.append(f"| `{name}` | {_type(part, definitions)} | {required} | {_description(part, definitions)} |\n")
    for pattern, part in shape.get("patternProperties", {}).items():
        if name := pattern.removeprefix("^"):
            rows.append(f"| `{name}*` | {_type(part, definitions)} | no | {_description(part, definitions)} |\n")
    return _HEAD + "".join(rows)


def _type(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in part:
        name = part["$ref"].removeprefix(_REF)
        shape = definitions[name]
        return f"[{name}](#{_anchor(name)})" if _has_section(shape) else _type(shape, definitions)
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(each, definitions) for each in part["anyOf"]))
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    words = []
    for kind in kinds:
        word = f"list of {_item_type(part['items'], definitions)}" if kind == "array" else kind
        if kind == "object" and "patternProperties" in part:
            word = f"object of {' or '.join(_type(each, definitions) for each in part['patternProperties'].values())}"
        words.append(word)
    return " or ".join(words)


def _item_type(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    text = _type(part, definitions)
    return f"({text})" if " or " in text else text


def _description(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "description" not in part and "$ref" in part:
        return _description(definitions[part["$ref"].removeprefix(_REF)], definitions)
    return _plain(part.get("description", ""))


def _has_section(shape: Mapping[str, Any]) -> bool:
    """Return whether a definition is described on its own: one of an object, of a list of them, or of a pattern."""
    return "properties" in shape or "properties" in shape.get("items", {}) or "pattern" in shape or "anyOf" in shape


def _shape(name: str, definitions: Mapping[str, Any]) -> str:
    shape = definitions[name]
    lines = [f"### {name}\n"]
    if description := shape.get("description"):
        lines.append(f"{_plain(description)}\n")
    if "properties" in shape:
        lines.append(_table(shape, definitions))
    elif "properties" in shape.get("items", {}):
        lines.append("A list; each item has\n\n" + _table(shape["items"], definitions))
    elif "pattern" in shape:
        lines.append(f"A string that matches `{shape['pattern']}`.\n")
    else:
        lines.append(f"{_type(shape, definitions)}\n")
    return "\n".join(lines)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    return definitions[schema["$ref"].removeprefix(_REF)] if "$ref" in schema else schema


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shortened(each) for each in value]
    if isinstance(value, str) and len(value) > _TEXT_MAX_CHARS:
        return f"{value[:_TEXT_SHOWN_CHARS]}... ({len(value):,} characters)"
    return value


def _key_note(at: Address) -> str:
    if at.key == "<key...>":
        return " of the event that it stands in for, as are its source and numbers"
    return ", a word for each component of the path" if "...>" in at.key else ""


def _shown(type_: str) -> str:
    return STATUS_TYPES if type_ == STATUS_SCHEMA else type_


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is, also within a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{text}`"


def _anchor(heading: str) -> str:
    """Return the anchor that a forge makes of a heading."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")
