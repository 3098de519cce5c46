# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A row of the log as the event that it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sourcepulse.errors import DecodeError
from sourcepulse.events.wire import decode
from sourcepulse_web.stream.ports import Row


def opened(row: Row) -> Mapping[str, Any]:
    """Return the event of a row as its envelope has it, in either form; what cannot be read is the columns alone."""
    columns = {"type": row.type, "source": row.source, "subject": row.subject, "id": row.id}
    try:
        document = json.loads(row.body)
        if isinstance(document, dict) and "specversion" in document:
            return document
        event = decode(row.body, routing_key=row.routing_key)
    except (DecodeError, RecursionError, ValueError):
        return columns
    numbers = event.numbers
    return {
        **columns,
        "time": event.time,
        "data": event.data,
        "replayed": event.replayed,
        "epoch": numbers and numbers.epoch,
        "sequence": None if numbers is None else f"{numbers.sequence:020}",
    }
