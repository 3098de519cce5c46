# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Names and texts of every kind arrive byte for byte, whatever the locale of the server."""

from __future__ import annotations

import base64
import os
from typing import Any

from support.hg.sites import Site

#: hg with this extension commits the bytes it is given, as versions before 1.0 and converters did.
_RAW_BYTES = "from mercurial import encoding\ndef uisetup(ui):\n    encoding.fromlocal = lambda text: text\n"

#: Names that Windows reserves or cannot have, that mean something to a shell, a routing key, JSON or a terminal, and
#: bytes that are no UTF-8: Latin-1, half of a surrogate pair, more than the last code point.
_FILES = (
    *(b"aux.txt", b"con", b"nul/prn", b"com1", b"C:\\x", b"back\\slash\\f", b"trail. ", b" lead", b"stream:name"),
    *(b'q"uote<>|?*', b"percent%41%", b"-dash", b"hash#.*", b"a" * 200, b"tab\there", b"del\x7f", b"\x01\x1b[31m"),
    *("ü/日本".encode(), "📦".encode(), "e\u0301".encode(), "\u202egnp.exe".encode()),
    *(b"na\xefve", b"surrogate\xed\xa0\x80", b"beyond\xf4\x90\x80\x80"),
)
_AUTHOR = b'J\xfcrgen "x" <j@\xc3\xbc.example>'
_DESCRIPTION = b"Gr\xfc\xdfe \\0 \x1b[31m\n\n  # {repo} \xe2\x80\xa8 \xff"
_TAG, _BOOKMARK, _BRANCH = "t ä.#*", "büm/*.# x", "x.y*#/ \\n\\ü"


def _exactly(data: dict[str, Any], pointer: str) -> bytes:
    """Return the bytes of a field as the source has them."""
    for note in data["raw"]:
        if note["field"] == pointer:
            return base64.b64decode(note["base64"])
    value: Any = data
    for step in pointer.split("/")[1:]:
        value = value[int(step) if isinstance(value, list) else step]
    assert isinstance(value, str)
    return value.encode()


def test_names_and_texts_arrive_byte_for_byte(each_site: Site) -> None:
    server, work = each_site.server(), each_site.repository("work")
    for name in _FILES:
        path = os.fsencode(work.path) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    extension = each_site.folder / "rawbytes.py"
    extension.write_text(_RAW_BYTES, encoding="utf-8")
    raw = ("--config", f"extensions.rawbytes={extension}")
    work.hg("commit", "--addremove", "--message", _DESCRIPTION, "--user", _AUTHOR, *raw)
    work.hg("tag", _TAG)
    work.hg("branch", _BRANCH)
    work.commit("on the branch")
    work.hg("bookmark", _BOOKMARK)
    first, tagging, last = work.nodes()
    in_c = each_site.folder / "hg-in-c"
    in_c.write_text(f'#!/bin/sh\nLC_ALL=C HGENCODING=ascii exec {each_site.program.path} "$@"\n')
    in_c.chmod(0o755)
    work.push_ssh(server, "--new-branch", "--remotecmd", in_c)
    # In that locale Mercurial itself refuses it.
    work.push_ssh(server, "--bookmark", _BOOKMARK, check=False)
    data = dict(server.event().data)
    files = sorted(_FILES)
    assert [_exactly(data, f"/changesets/0/files/{place}") for place in range(len(files))] == files
    assert len(data["changesets"][0]["files"]) == len(files)
    assert _exactly(data, "/changesets/0/author") == _AUTHOR
    assert _exactly(data, "/changesets/0/desc") == _DESCRIPTION
    # What is UTF-8 stands there as it is.
    assert [_exactly(data, f"/changesets/0/added/{place}") for place in range(len(files))] == files
    fields = {note["field"].partition("/files")[0].partition("/added")[0] for note in data["raw"]}
    assert fields == {f"/changesets/0{rest}" for rest in ("", "/author", "/desc")}
    assert data["changesets"][2]["branch"] == data["heads"][0]["branch"] == _BRANCH
    published = {event.type.split(".", 1)[1]: event.data for event in server.every_event()}
    assert published["branch.created.v1"]["heads"][1] == {"node": last, "branch": _BRANCH}
    assert published["tag.created.v1"]["tags"] == [{"tag": _TAG, "node": first, "oldnode": None, "changeset": tagging}]
    assert published["bookmark.created.v1"]["bookmarks"] == [{"bookmark": _BOOKMARK, "node": last, "oldnode": None}]


def test_a_renamed_file_is_named_twice_a_copied_one_once(site: Site) -> None:
    server = site.server()
    for name in ("old", "original"):
        (server.path / name).write_text("line\n")
    server.hg("commit", "--addremove", "--message", "both")
    server.hg("rename", "--cwd", server.path, "old", "new")
    server.hg("copy", "--cwd", server.path, "original", "copy")
    server.hg("commit", "--message", "moved")
    assert [event.data["changesets"][0]["files"] for event in server.events()] == [
        ["old", "original"],
        ["copy", "new", "old"],
    ]
