# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/trees` and `/trees/<repository>`: the list of trees, the board of one, and its wall.

`?format=json` answers with the documents that the page draws. A repository may be called anything, also `x.json`,
so no path of it means something else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.web.resource import Resource

from sourcepulse_web.pages.trees import view
from sourcepulse_web.pages.trees.drawn import Drawn
from sourcepulse_web.pages.turns import Steps, answer_in_turns
from sourcepulse_web.server.page import bad_request, environment, not_found, not_yet, render

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.board.documents import BoardDoc
    from sourcepulse_web.services import Services

JSON = b"application/json"


class Trees(Resource):
    """Answers all below `/trees`, because the path of a repository may have slashes."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._drawn = Drawn(environment())

    def render_GET(self, request: Request) -> bytes | int:
        repo = b"/".join(request.postpath or []).decode("utf-8", "surrogateescape").strip("/")
        try:
            wanted = view.wanted(request.args or {})
        except view.BadQueryError as error:
            return bad_request(request, str(error))
        behind = self._services.board.behind()
        if behind:
            return not_yet(request, behind)
        if not repo:
            return self._list(request, wanted)
        return answer_in_turns(request, self._services, lambda: self._board(request, repo, wanted))

    render_HEAD = render_GET

    def _list(self, request: Request, wanted: view.Wanted) -> bytes:
        after = self._after(self._services.board.position)
        trees = self._services.board.trees()
        if wanted.json:
            return _json(request, view.sorted_trees(trees))
        values = view.trees_values(trees, wanted, self._services.clock())
        heard = {"after": after, "age": self._age(values["repos"])}
        return render(request, self._services, "trees.html", **values, **heard)

    def _board(self, request: Request, repo: str, wanted: view.Wanted) -> Steps:
        services = self._services
        limit = view.WALL_PUSHES if wanted.wall else wanted.limit
        document = yield from services.board.page_in_steps(repo, limit=limit, before=wanted.before)
        if document is None:
            return not_found(request, "No event of such a repository is known here; /trees lists those that are.")
        if wanted.json:
            return (yield from _json_in_steps(request, document))
        if wanted.wall:
            values = view.wall_values(document, services.board.trees(), wanted, services.clock())
            heard = {"after": self._after(document["position"]), "age": self._age(values["repos"])}
            return render(request, services, "wall.html", **values, **heard)
        values = view.board_values(document, wanted, services.clock())
        values |= {"after": self._after(document["position"]), "age": self._age([repo]), "drawn": self._drawn.push}
        for push in values["pushes"]:
            yield
            self._drawn.push(push)
        yield
        return render(request, services, "board.html", **values)

    def _after(self, position: int) -> str:
        """Return the id at which a stream goes on from what the board had read when it was drawn, or before."""
        return f"{self._services.log.token}.{position}"

    def _age(self, repos: Sequence[str]) -> int | None:
        """Return how long ago the newest event of these trees came, in seconds."""
        at = self._services.board.changed_at(repos)
        return None if at is None else max(0, round(self._services.clock() - at))


def _json(request: Request, document: object) -> bytes:
    request.setHeader(b"content-type", JSON)
    request.setHeader(b"cache-control", b"no-store")
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


def _json_in_steps(request: Request, document: BoardDoc) -> Steps:
    """Return the same as `_json` with the pushes at the end."""
    rest = _json(request, {name: value for name, value in document.items() if name != "pushes"})
    pushes = []
    for push in document["pushes"]:
        yield
        pushes.append(_json(request, push))
    return b"".join([rest[:-1], b',"pushes":[', b",".join(pushes), b"]}"])


def resource(services: Services) -> Resource:
    """Return what answers below /trees."""
    return Trees(services)
