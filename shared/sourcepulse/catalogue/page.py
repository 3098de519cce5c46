# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pages of the catalogue, made of the schemas and the recorded events."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from sourcepulse.catalogue import STATUS_SCHEMA
from sourcepulse.catalogue.addresses import Address
from sourcepulse.catalogue.description import (
    GUARANTEES,
    PROMISE,
    Description,
    Field,
    Kind,
    Shape,
    Source,
    describe,
    example,
    sources,
)

#: The page with all types.
INDEX = "README"
_STATUS_NOTE = (
    "The page about [deployment](../deployment.md) has those of a relay, such as `system.relay.degraded`; "
    "`sourcepulse emit` and [`Publisher`](../publishing.md) publish those of your own services.\n"
)

_LINE_MAX = 118
#: Of the text of a page.
_WIDTH = 120
#: A longer text of an example is shown in part.
_TEXT_MAX_CHARS, _TEXT_SHOWN_CHARS = 400, 60
_GENERATED = "This page is generated from the schemas, by `python -m sourcepulse.catalogue.generate`.\n"


def _guarantees() -> str:
    lines = (f"- **{words}**: {means}." for words, means in GUARANTEES.items())
    return "".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") + "\n" for line in lines)


_INTRODUCTION = f"""# The catalogue of events

Every type that is published, with the key under which a consumer finds it. A page for each source has the fields and a
recorded event, with long texts shortened. How a message is built is described in [wire format](../wire-format.md).

`sourcepulse schema TYPE` prints the JSON Schema of a type, `sourcepulse schema --example TYPE` an event, and
`sourcepulse schema --asyncapi` all of this as one AsyncAPI 3 document, for tools that generate code or pages.

{textwrap.fill(PROMISE, _WIDTH)}

{_guarantees()}
{_GENERATED}"""
_HEAD = "| field | type | required | |\n|---|---|---|---|\n"


def pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    found = sources()
    return {INDEX: _index(found), **{source.family: _page(source) for source in found}}


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


def _index(found: Iterable[Source]) -> str:
    text = [_INTRODUCTION]
    for source in found:
        text += [
            f"\n## [{_title(source)}]({source.family}.md)\n",
            "| type | routing key | guarantee | |",
            "|---|---|---|---|",
        ]
        for about in map(describe, source.types):
            link = f"[{_code(about.shown)}]({source.family}.md#{_anchor(about.shown)})"
            text.append(f"| {link} | {_code(about.address.key)} | {about.guarantee} | {about.title} |")
    return "\n".join(text) + "\n"


def _page(source: Source) -> str:
    text = [f"# {_title(source)}\n\n[All types](README.md). {_GENERATED}"]
    shapes: dict[str, Shape] = {}
    same: dict[str, str] = {}
    for about in map(describe, source.types):
        text.append(_section(about, same))
        shapes |= {shape.name: shape for shape in about.shapes}
    if shapes:
        text.append("## Shapes\n\nWhat several fields have in common.\n")
        text += [_shape(shapes[name]) for name in sorted(shapes, key=str.lower)]
    return "\n".join(text)


def _title(source: Source) -> str:
    return f"Events of {source.name[0].lower() + source.name[1:] if source.family == 'system' else source.name}"


def _section(about: Description, same: dict[str, str]) -> str:
    lines = [
        f"## {_code(about.shown)}\n",
        f"{about.title}. {_plain(about.meaning)}\n",
        *([_STATUS_NOTE] if about.type == STATUS_SCHEMA else []),
        "| | |\n|---|---|",
        f"| routing key | {_code(about.address.key)}{_key_note(about.address)} |",
        f"| source, subject | {_code(about.address.source)}, {_code(about.address.subject)} |",
        f"| guarantee | {about.guarantee} |\n",
    ]
    table = _table(about.fields)
    if table in same:
        first = same[table]
        lines.append(f"`data` has the fields of [{_code(first)}](#{_anchor(first)}).\n")
    else:
        same[table] = about.shown
        lines.append(table)
    lines.append(f"```json\n{example_text(shortened(example(about.type)))}\n```\n")
    return "\n".join(lines)


def _table(fields: Iterable[Field]) -> str:
    rows = [
        f"| `{field.name}` | {_linked(field.kind)} | {'yes' if field.required else 'no'} "
        f"| {_plain(field.description)} |\n"
        for field in fields
    ]
    return _HEAD + "".join(rows)


def _linked(kind: Kind) -> str:
    return "".join(f"[{word.text}](#{_anchor(word.shape)})" if word.shape else word.text for word in kind)


def _shape(shape: Shape) -> str:
    lines = [f"### {shape.name}\n"]
    if shape.description:
        lines.append(f"{_plain(shape.description)}\n")
    if shape.fields:
        lines.append(("A list; each item has\n\n" if shape.is_list else "") + _table(shape.fields))
    elif shape.pattern is not None:
        lines.append(f"A string that matches `{shape.pattern}`.\n")
    else:
        lines.append(f"{_linked(shape.kind)}\n")
    return "\n".join(lines)


def shortened(value: Any) -> Any:
    """Return an event with its long texts shown in part."""
    if isinstance(value, dict):
        return {name: shortened(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if isinstance(value, str) and len(value) > _TEXT_MAX_CHARS:
        return f"{value[:_TEXT_SHOWN_CHARS]}... ({len(value):,} characters)"
    return value


def _key_note(at: Address) -> str:
    note = at.key_note
    return note and f"{'' if at.is_stand_in else ','} {note}"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is, also within a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{text}`"


def _anchor(heading: str) -> str:
    """Return the anchor that a forge makes of a heading."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")
