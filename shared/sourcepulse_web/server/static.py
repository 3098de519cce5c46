# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Files of the pages below /static/: style sheets, modules and pictures, read once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from twisted.web.http import CACHED
from twisted.web.resource import Resource

from sourcepulse_web.server.page import Sentence

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

FOLDER = Path(__file__).parent.parent / "static"
#: A file with another ending is not served.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}


class File(NamedTuple):
    """One file and what identifies its content."""

    content_type: str
    etag: bytes
    content: bytes


def read_files(folder: Path) -> dict[str, File]:
    """Return the files of a folder and those below it by their path, such as `board/words.js`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES and path.is_file():
            content = path.read_bytes()
            etag = b'"%s"' % hashlib.sha256(content).hexdigest()[:16].encode()
            found[path.relative_to(folder).as_posix()] = File(TYPES[path.suffix], etag, content)
    return found


class Static(Resource):
    """Answers with a file; a browser asks each time whether it changed, so that no page runs with an older module."""

    isLeaf = True

    def __init__(self, files: dict[str, File]) -> None:
        super().__init__()
        self._files = files

    def render_GET(self, request: Request) -> bytes:
        name = b"/".join(request.postpath or []).decode("utf-8", "replace")
        file = self._files.get(name)
        if file is None:
            return Sentence().render(request)
        request.setHeader(b"content-type", file.content_type.encode())
        request.setHeader(b"cache-control", b"no-cache")
        if request.setETag(file.etag) is CACHED:
            return b""
        return file.content


def resource(services: Services) -> Resource:  # noqa: ARG001 - each page module has it
    """Return what answers below /static/."""
    return Static(read_files(FOLDER))
