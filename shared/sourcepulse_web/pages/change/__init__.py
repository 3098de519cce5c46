# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""/changes/<node>: what became of one change, and the same as JSON at /changes/<node>.json.

The node may be cut, to 6 digits at least. Where several changes begin so, they are listed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from twisted.web.resource import Resource

from sourcepulse_web.pages.change.view import change_values, last_time, matches_values
from sourcepulse_web.server.cors import allow_origin
from sourcepulse_web.server.page import bad_request, not_found, not_yet, render, sentence

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.board.story_documents import StoryDoc
    from sourcepulse_web.services import Services

#: Fewer digits match by chance.
DIGITS_MIN = 6
#: Of a node of SHA-256.
DIGITS_MAX = 64
SUFFIX = ".json"
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_HOW = f"A change is named by {DIGITS_MIN} or more of its first digits, such as /changes/1f0c5a2be9d0."


class Changes(Resource):
    """Answers with the story of a change."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    def render_GET(self, request: Request) -> bytes:
        parts = [each for each in request.postpath or [] if each] or (request.args or {}).get(b"node", [])
        asked = b"/".join(parts).decode("utf-8", "replace").strip()
        if not asked:
            return render(request, self._services, "changes.html", here="trees")
        digits = asked.removesuffix(SUFFIX).lower()
        if not _HEX.fullmatch(digits):
            return bad_request(request, f"{_HOW} Of digits there are 0 to 9 and a to f.")
        if len(digits) < DIGITS_MIN:
            return bad_request(request, f"{digits} is too short, because many changes begin so. {_HOW}")
        if len(digits) > DIGITS_MAX:
            return bad_request(request, f"A node has at most {DIGITS_MAX} digits.")
        hub = self._services.hub
        if hub is not None and not hub.look():
            return sentence(request, 503, "The log cannot be read now; try again.")
        behind = self._services.board.behind()
        if behind:
            return not_yet(request, behind)
        # Before the stories are read, so that an event that comes in between is sent rather than left out.
        after = f"{self._services.log.token}.{self._services.board.position}"
        stories = self._services.board.story(digits)
        if asked.endswith(SUFFIX):
            return self._json(request, stories)
        if not stories:
            return not_found(request, f"No change here starts with {digits}. {self._reach()}")
        values = change_values if len({story["node"] for story in stories}) == 1 else matches_values
        template = "change.html" if values is change_values else "changes.html"
        drawn = values(stories, digits, self._services.clock(), after)
        return render(request, self._services, template, **drawn, age=self._age(stories))

    def _json(self, request: Request, stories: list[StoryDoc]) -> bytes:
        request.setResponseCode(200 if stories else 404)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        allow_origin(request, self._services.settings().origins)
        return json.dumps(stories, separators=(",", ":")).encode() + b"\n"

    def _reach(self) -> str:
        """Return how far back a change would be known."""
        rows = self._services.log.read(0, limit=1)
        return f"It may be older than the log, which goes back to {_day(rows[0].at)}." if rows else "The log is empty."

    def _age(self, stories: list[StoryDoc]) -> int:
        """Return how long ago the newest event of these stories came, in seconds."""
        position = max(story["push"]["changed"] for story in stories)
        rows = self._services.log.read(position - 1, limit=1)
        found = [row.at for row in rows if row.position == position]
        return max(0, round(self._services.clock() - (found[0] if found else last_time(stories))))


def _day(seconds: float) -> str:
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %H:%M} UTC"


def resource(services: Services) -> Resource:
    """Return what answers at /changes and below it."""
    return Changes(services)
