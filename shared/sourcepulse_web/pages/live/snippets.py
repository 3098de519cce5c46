# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What reads the same events as a page elsewhere: programs that run as they are printed."""

from __future__ import annotations

import shlex
from typing import NamedTuple
from urllib.parse import urlencode

from sourcepulse_web.pages.live.query import Query

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


#: For a name and an address of the reader's own.
_HOOK = "sourcepulse webhook add my-hook https://receiver.example.org/"
#: Parts of a filter that a webhook does not have.
_PAGE_ONLY = ("not", "source")
_TOPICS_ONLY = "# A webhook has topics only: your receiver gets more than this page shows, and passes over the rest.\n"


class Snippet(NamedTuple):
    """A program, by where it is run; `href` is the page that does the same, "" if there is none."""

    name: str
    text: str
    href: str = ""


def snippets(origin: str, query: Query, *, webhooks: bool, owner: str | None = None) -> list[Snippet]:
    """Return programs that read what a filter lets through, from now on; `webhooks` are offered where they are on.

    `owner` is whose webhook it would be where a proxy names users: they have a form for it.
    """
    url = f"{origin}/events" + (f"?{query.stream}" if query.stream else "")
    found = [
        Snippet("Python", _PYTHON.format(url=url)),
        Snippet("curl", f"curl -N -H 'Accept: application/x-ndjson' {shlex.quote(url)}\n"),
    ]
    return [*found, _webhook(query, owner)] if webhooks else found


def _webhook(query: Query, owner: str | None) -> Snippet:
    keys, types = query.asked.get("key", ()), query.asked.get("type", ())
    topics = keys or tuple(dict.fromkeys(map(_topic_of, types))) or ("#",)
    is_wider = bool(query.text or (keys and types) or any(query.asked.get(name) for name in _PAGE_ONLY))
    words = [_HOOK, *(f"--topic {shlex.quote(topic)}" for topic in topics)]
    if owner is not None:
        words.append(f"--owner {shlex.quote(owner)}")
    text = (_TOPICS_ONLY if is_wider else "") + " ".join(words) + "\n"
    form = "/hooks?" + urlencode([("key", topic) for topic in topics])
    return Snippet("Webhook", text, "" if owner is None else form)


def _topic_of(type_: str) -> str:
    """Return the pattern of the keys of a type, or of a pattern of types: the version is in no key."""
    words = type_.rpartition(".")[0]
    return f"{words.removesuffix('.#')}.#" if words and words != "#" else "#"
