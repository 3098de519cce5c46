# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Programs that follow one type through this gateway, each whole and without a library: paste one and it runs."""

from __future__ import annotations

import json
import re
from typing import NamedTuple
from urllib.parse import urlencode

from sourcepulse.catalogue.description import Description

#: What a program prints of an event: so many fields, of these kinds.
FIELDS_SHOWN = 2
_SIMPLE = ("string", "integer", "boolean")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

_PYTHON = """\
import json
from urllib.request import Request, urlopen

url = {url}
lines = {{"Accept": "application/x-ndjson"}}
for line in urlopen(Request(url, headers=lines)):
    event = json.loads(line).get("event")
    if event:
        data = event["data"]
        print({shown})
"""
_TERMINAL = """\
curl --no-buffer \\
  '{url}'
"""
_BROWSER = """\
const url = {url};
new EventSource(url).onmessage = (message) => {{
  const {{ type, data }} = JSON.parse(message.data);
  console.log({shown});
}};
"""


class Snippet(NamedTuple):
    """A program and where it runs."""

    title: str
    language: str
    text: str


def query(about: Description) -> str:
    """Return the query of /events that selects a type: by its key, or by its name if it has the keys of others."""
    chosen = {"type": about.type} if about.address.is_stand_in else {"topic": about.address.topic}
    return urlencode(chosen)


def snippets(about: Description, gateway: str) -> list[Snippet]:
    """Return a program for each place where one may be needed; `gateway` is the address of this one, without a path."""
    url = f"{gateway}/events?{query(about)}"
    names = _shown(about)
    in_python = ", ".join(['event["type"]', *(f"data[{json.dumps(name)}]" for name in names)])
    in_browser = ", ".join(["type", *(_member(name) for name in names)])
    return [
        Snippet("In Python", "python", _PYTHON.format(url=json.dumps(url), shown=in_python)),
        Snippet("In a terminal", "sh", _TERMINAL.format(url=url)),
        Snippet("In a browser", "js", _BROWSER.format(url=json.dumps(url), shown=in_browser)),
    ]


def _member(name: str) -> str:
    return f"data.{name}" if _IDENTIFIER.fullmatch(name) else f"data[{json.dumps(name)}]"


def _shown(about: Description) -> list[str]:
    """Return what says most: of the fields that are always there, those that are never null before others."""
    simple = [
        field
        for field in about.fields
        if field.required and not field.name.endswith("*") and field.kind[0].text in _SIMPLE
    ]
    return [field.name for field in sorted(simple, key=lambda field: len(field.kind))][:FIELDS_SHOWN]
