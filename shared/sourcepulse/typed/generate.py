# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Makes the typed dictionaries from the schemas: `python -m sourcepulse.typed.generate`; the results are checked in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sourcepulse.catalogue import STATUS_SCHEMA, known_types, schema_for
from sourcepulse.events.topics import FAMILIES
from sourcepulse.typed import shape_name

#: The definitions that several types share, and the module they go to.
COMMON_SCHEMA = Path(__file__).parents[1] / "schemas" / "common.v1.json"
COMMON = "common"

_LINE_MAX = 120
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_HEAD = '''# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""{title}; made by `sourcepulse.typed.generate`, change the schemas instead."""

from __future__ import annotations

'''


class Module:
    """One module in the making: its classes, and what it needs from others."""

    def __init__(self, title: str, shared: dict[str, Any]) -> None:
        self._title = title
        self._shared = shared
        self._classes: dict[str, str] = {}
        self._imports: set[str] = set()
        self._any = False

    def add(self, name: str, schema: dict[str, Any]) -> None:
        """Add a typed dictionary for a schema of an object."""
        base, lines = "TypedDict", []
        if "$ref" in schema:
            base = self._type(schema, name)
        else:
            lines = [f"    {key}: {self._type(part, name + key.title())}" for key, part in schema["properties"].items()]
        if "title" in schema:
            lines = [f'    """{schema["title"]}."""', *([""] if lines else []), *lines]
        self._classes[name] = "\n".join([f"class {name}({base}):", *lines]) + "\n"

    def text(self) -> str:
        """Return the source of the module."""
        imports = f"from typing import {'Any, ' * self._any}TypedDict\n"
        foreign = sorted(self._imports - self._classes.keys(), key=str.lower)
        if foreign:
            imports += "\n" + _import(f"sourcepulse.typed.{COMMON}", foreign)
        return _HEAD.format(title=self._title) + imports + "\n\n" + "\n\n".join(self._classes.values())

    def _type(self, schema: dict[str, Any], name: str) -> str:
        """Write the annotation of a schema; objects within it become classes of their own."""
        types = list(dict.fromkeys(self._types(schema, name)))
        return " | ".join([each for each in types if each != "None"] + [each for each in types if each == "None"])

    def _types(self, schema: dict[str, Any], name: str) -> list[str]:
        if "$ref" in schema:
            return self._shared_types(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return [each for part in schema["anyOf"] for each in self._types(part, name)]
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return [self._plain_type(kind, schema, name) for kind in kinds]

    def _plain_type(self, kind: str, schema: dict[str, Any], name: str) -> str:
        if kind == "array":
            return f"list[{self._type(schema['items'], name + 'Item')}]"
        if kind == "object" and "properties" in schema:
            self.add(name, schema)
            return name
        if kind == "object":
            self._any = True
            return "dict[str, Any]"
        return _PLAIN[kind]

    def _shared_types(self, name: str) -> list[str]:
        schema = self._shared[name]
        class_name = _class_name(name)
        if "properties" in schema:
            self._imports.add(class_name)
            return [class_name]
        if "properties" in schema.get("items", {}):
            self._imports.add(f"{class_name}Item")
            return [f"list[{class_name}Item]"]
        return self._types(schema, class_name)


def modules() -> dict[str, str]:
    """Return the name and the source of every generated module."""
    shared: dict[str, Any] = json.loads(COMMON_SCHEMA.read_text(encoding="utf-8"))["$defs"]
    common = Module("What the data of several events has in common", shared)
    for name, schema in shared.items():
        if "properties" in schema:
            common.add(_class_name(name), schema)
        elif "properties" in schema.get("items", {}):
            common.add(f"{_class_name(name)}Item", schema["items"])
    made = {COMMON: common.text()}
    for family, words in FAMILIES.items():
        module = Module(f"The data of the {family} events", shared)
        for type_ in sorted([*known_types(), STATUS_SCHEMA]):
            if type_.partition(".")[0] in words:
                module.add(shape_name(type_), schema_for(type_))
        made[family] = module.text()
    return made


def _class_name(definition: str) -> str:
    return definition[0].upper() + definition[1:]


def _import(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= _LINE_MAX:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


if __name__ == "__main__":
    for name, text in modules().items():
        Path(__file__).with_name(f"{name}.py").write_text(text, encoding="utf-8")
