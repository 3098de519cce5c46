# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The page of the examples: three lines of JavaScript, from another server than the gateway, miss no push."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import free_port
from support.fenced_blocks import block
from support.hg.sites import ROOT
from support.web.browser import Browser
from support.web.feed import streams, until
from support.web.gateway import MakeGateway
from support.web.tree_events import Tree

EXAMPLE = ROOT / "shared" / "docs" / "examples" / "page.html"
PAGE = "shared/docs/examples/README.md"
LINES_OF_SCRIPT = 3
#: What page and text print, and what a test has instead.
PRINTED_GATEWAY, PRINTED_PORT = "http://127.0.0.1:8080", "8000"


def test_the_script_of_the_page_has_three_lines() -> None:
    (script,) = re.findall(r"<script>\n(.*?)</script>", EXAMPLE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(script.splitlines()) == LINES_OF_SCRIPT


@contextmanager
def _served(folder: Path, port: int) -> Iterator[str]:
    """Serve a folder by the second command of the page."""
    _, printed = block(f"{PAGE}: sourcepulse web").script.splitlines()
    _, *arguments = shlex.split(printed.replace(PRINTED_PORT, str(port)))
    server = subprocess.Popen([sys.executable, *arguments], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{port}/{EXAMPLE.name}"
    finally:
        server.kill()
        server.communicate()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_each_push_is_shown_once_also_after_a_restart_of_the_gateway(
    browser: Browser, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    port = free_port()
    gateway = make_gateway(configuration=block(f"{PAGE}: [web]").text.replace(PRINTED_PORT, str(port)))
    gateway.start()
    text = EXAMPLE.read_text(encoding="utf-8")
    assert PRINTED_GATEWAY in text
    (tmp_path / "site").mkdir()
    copy = tmp_path / "site" / EXAMPLE.name
    copy.write_text(text.replace(PRINTED_GATEWAY, gateway.origin), encoding="utf-8")
    browser.allow("net::ERR_")
    browser.allow("favicon|404")
    with _served(tmp_path / "site", port) as address:
        wait_until(lambda: _listens(port))
        page = browser.open(address)
        tree = Tree()
        shown = page.locator("#pushes li")
        # It shows what comes from now on.
        until(lambda: streams(gateway) == 1)
        gateway.append(tree.push("one"), tree.closed("of no interest here"))
        shown.nth(0).wait_for()
        gateway.kill()
        gateway.append(tree.push("two", "three", user="<b>bob</b>"))
        gateway.start()
        shown.nth(1).wait_for()
        words = [text.partition(":")[0] for text in shown.all_inner_texts()]
    said = [f"{user} pushed {count} changesets to {tree.repo}" for user, count in (("<b>bob</b>", 2), ("alice", 1))]
    assert words == said
