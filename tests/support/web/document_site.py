# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The gateway's site over documents of a board that a test wrote, in a process of its own: any board can be drawn.

The pages, headers and static files are the product's; the documents come from a file, and /events stays silent.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sourcepulse_web.board.documents import BoardDoc, TreeDoc
from sourcepulse_web.board.story_documents import StoryDoc
from support.forked_module import module_server

START_LIMIT_SECONDS = 60.0
POLL_SECONDS = 0.02
#: Half an hour after the pushes of the examples.
NOW = 1_795_347_060.0


class DocumentSite:
    """A site in a folder: `write` says what it draws, at any time."""

    def __init__(self, folder: Path) -> None:
        self.documents = folder / "documents.json"
        self._port = folder / "port"
        self._log = folder / "site.log"
        self.write([])
        with self._log.open("ab") as log, open(os.devnull, "rb") as null:
            fds = null.fileno(), log.fileno(), log.fileno()
            process = module_server().start("support.web.document_site", [folder], fds=fds, environ=os.environ)
        assert process is not None
        self._process = process
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not (self._port.exists() and self._port.read_text()):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "the site did not start"
            time.sleep(POLL_SECONDS)
        self.origin = f"http://127.0.0.1:{self._port.read_text()}"

    def write(
        self, boards: Sequence[BoardDoc], trees: Sequence[TreeDoc] = (), stories: Sequence[StoryDoc] = ()
    ) -> None:
        """Serve these boards, on /trees their trees and `trees`, and the stories of changes."""
        ahead = self.documents.with_suffix(".ahead")
        ahead.write_text(json.dumps({"boards": boards, "trees": trees, "stories": stories}))
        ahead.replace(self.documents)

    def url(self, path: str) -> str:
        """Return the address of a page."""
        return self.origin + path

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class _Documents:
    """What pages ask of a board."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _read(self) -> Any:
        return json.loads(self._path.read_text())

    #: As `bounds` of its log has it.
    position = 0

    def behind(self) -> str:
        return ""

    def trees(self) -> list[Any]:
        read = self._read()
        own = [each["tree"] for each in read["boards"]]
        return [*own, *(each for each in read["trees"] if each["repo"] not in [tree["repo"] for tree in own])]

    def changed_at(self, repos: list[str]) -> float | None:
        return NOW - 4 if repos else None

    def story(self, prefix: str) -> list[Any]:
        return [each for each in self._read()["stories"] if each["node"].startswith(prefix)]

    def page_in_steps(self, repo: str, *, limit: int = 50, before: int | None = None) -> Any:
        yield
        return self._page(repo, limit, before)

    def _page(self, repo: str, limit: int, before: int | None) -> Any:
        found = next((each for each in self._read()["boards"] if each["tree"]["repo"] == repo), None)
        if found is None:
            return None
        older = [each for each in found["pushes"] if before is None or each["id"] < before]
        rest = len(older) > limit
        return {**found, "pushes": older[:limit], "older": older[limit - 1]["id"] if rest else None}


def _serve(folder: Path) -> None:
    from twisted.internet import reactor as the_reactor
    from twisted.web.resource import Resource
    from twisted.web.server import NOT_DONE_YET

    from sourcepulse.brokers.file.reader import LogReader
    from sourcepulse.brokers.file.tables import LogFile
    from sourcepulse_web.server.site import GatewaySite
    from sourcepulse_web.services import Services
    from sourcepulse_web.settings import WebSettings

    class Silence(Resource):
        isLeaf = True  # noqa: N815 - Twisted's name

        def render_GET(self, request: Any) -> Any:  # noqa: N802 - Twisted's name
            # As the product's streams do: what another answer writes goes out when it is finished.
            request.channel.is_stream = True
            request.setHeader(b"content-type", b"text/event-stream")
            request.write(b"event: hello\nid: aa.1\ndata: {}\n\n")
            request.write(b'event: alive\nid: aa.1\ndata: {"late_s":0,"last_s":4,"beats":[]}\n\n')
            return NOT_DONE_YET

    reactor: Any = the_reactor
    settings = WebSettings()
    LogFile(folder / "log.db").close()
    services = Services(
        settings=lambda: settings,
        log=LogReader(folder / "log.db", settings.exchange),
        hub=None,
        board=_Documents(folder / "documents.json"),
        clock=lambda: NOW,
        version="1",
    )
    site = GatewaySite(services)
    site.resource.putChild(b"events", Silence())
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    ahead = folder / "port.ahead"
    ahead.write_text(str(port.getHost().port))
    ahead.replace(folder / "port")
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
