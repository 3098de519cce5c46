# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Check what a row holds against the definitions that are shipped for the data of events."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from sourcepulse.catalogue import schema_for
from sourcepulse.events.validator import defects

#: A custom field's name is an administrator's own words.
_CUSTOM = re.compile(r"/cf_[^/]*")


class ShapeError(ValueError):
    """A value is not of its shape; the text is the JSON pointer of the place, without names that a site chose."""


def check_shape(name: str, value: Any) -> None:
    """Raise ShapeError unless the value is what events have under this name: `Bug`, `Person`, `changes`."""
    root = _definitions()
    for pointer, _ in defects({"$ref": f"#/$defs/{name}", "$defs": root}, value):
        raise ShapeError(_CUSTOM.sub("/cf_*", pointer))


@cache
def _definitions() -> dict[str, Any]:
    # The files are part of the program; they do not change while it runs.
    definitions: dict[str, Any] = schema_for("common.v1")["$defs"]
    return definitions
