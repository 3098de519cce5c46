# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Check the values of a row against the schema definitions of event data."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from sourcepulse.catalogue import schema_for
from sourcepulse.events.validator import defects

#: An administrator chose the name of a custom field.
_CUSTOM = re.compile(r"/cf_[^/]*")


class ShapeError(ValueError):
    """A value does not have its shape; the text is the JSON pointer to the place, without names that a site chose."""


def check_shape(name: str, value: Any) -> None:
    """Raise ShapeError unless the value is valid under this name of an event's members: `Bug`, `Person`, `changes`."""
    root = _definitions()
    for pointer, _ in defects({"$ref": f"#/$defs/{name}", "$defs": root}, value):
        raise ShapeError(_CUSTOM.sub("/cf_*", pointer))


@cache
def _definitions() -> dict[str, Any]:
    # The schemas are part of the program, so they do not change while it runs.
    definitions: dict[str, Any] = schema_for("common.v1")["$defs"]
    return definitions
