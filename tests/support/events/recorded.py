# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Hold events against those that were recorded: routing key, id and every byte.

A line of a record is a routing key, a tab and the event as it is sent, without numbers. With `RECORD=1` in the
environment the tests write the records; the difference then shows what consumers will see change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode, encode
from support.events.schema_check import check_data

FOLDER = Path(__file__).parents[2] / "recorded"


def assert_as_recorded(name: str, events: Iterable[Event]) -> None:
    """Compare events, numbers left out, with a record, after each was checked by its schema."""
    lines = []
    for event in events:
        check_data(event)
        lines.append(f"{event.routing_key}\t{encode(event._replace(numbers=None)).decode()}")
    path = FOLDER / f"{name}.jsonl"
    if os.environ.get("RECORD"):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert lines == path.read_text(encoding="utf-8").splitlines()


def recorded_types(name: str) -> set[str]:
    """Return the types of the events of a record."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return {line.partition('"type":"')[2].partition('"')[0] for line in lines}


def recorded_events(name: str) -> list[Event]:
    """Return the events of a record."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [decode(body.encode(), routing_key=key) for key, _, body in (line.partition("\t") for line in lines)]
