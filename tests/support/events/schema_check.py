# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Check an event's data against the schema that is shipped for its type."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import referencing

import sourcepulse
from sourcepulse.events.event import Event
from sourcepulse.events.wire import dataschema

_FOLDER = Path(sourcepulse.__file__).parent / "schemas"


def check_data(event: Event) -> None:
    """Raise jsonschema.ValidationError unless the data is as the schema of its type says."""
    schema = _registry().contents(dataschema(event.type))
    jsonschema.Draft202012Validator(schema, registry=_registry()).validate(dict(event.data))


@cache
def _registry() -> Any:
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.rglob("*.json"))]
    resources = [(document["$id"], referencing.Resource.from_contents(document)) for document in documents]
    return referencing.Registry().with_resources(resources)
