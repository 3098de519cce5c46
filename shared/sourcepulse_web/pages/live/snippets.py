# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What reads the same events as a page elsewhere: programs that run as they are printed."""

from __future__ import annotations

import shlex
from typing import NamedTuple

_PYTHON = """\
import json
import urllib.request

request = urllib.request.Request({url!r}, headers={{"Accept": "application/x-ndjson"}})
with urllib.request.urlopen(request) as lines:
    for line in lines:
        event = json.loads(line).get("event")
        if event:
            print(event["time"], event["type"], event.get("subject"))
"""


class Snippet(NamedTuple):
    """A program, by where it is run."""

    name: str
    text: str


def snippets(origin: str, query: str) -> list[Snippet]:
    """Return programs that read what a filter lets through, from now on."""
    url = f"{origin}/events" + (f"?{query}" if query else "")
    return [
        Snippet("Python", _PYTHON.format(url=url)),
        Snippet("curl", f"curl -N -H 'Accept: application/x-ndjson' {shlex.quote(url)}\n"),
    ]
