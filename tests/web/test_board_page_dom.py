# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The server and the script draw the same documents alike, and nothing that a stranger wrote is more than text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Page

from sourcepulse_web.board.documents import BoardDoc
from support.web import board_examples as examples
from support.web.board_pages import HOSTILE, PATH, hostile_board, with_tree
from support.web.browser import Browser
from support.web.document_site import DocumentSite

#: Reads the page again, as the server drew it, and draws each push of the documents beside it.
COMPARE = """async (now) => {
  const { pushes, tree } = await (await fetch("?format=json")).json();
  const { drawDay, drawPush, drawTree } = await import("/static/board/draw.js");
  const served = await new Promise(done => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.onload = () => done(request.response);
    request.send();
  });
  const different = [];
  const compare = (name, theirs, ours) => {
    if (!theirs && !ours) return;
    theirs?.normalize();
    ours?.normalize();
    if (!theirs || !ours || !theirs.isEqualNode(ours)) different.push([name, theirs?.outerHTML, ours?.outerHTML]);
  };
  for (const push of pushes) compare(`push ${push.id}`, served.getElementById(`p${push.id}`), drawPush(push));
  compare("day", served.querySelector(".day"), drawDay(pushes[0].time));
  compare("tree", served.getElementById("tree"), drawTree(tree, now) || null);
  return different;
}"""
#: The script says how the stream is.
RUNS = "() => !document.getElementById('state').textContent.startsWith('as of')"
NOW = "2026-11-22T11:31:00.000000Z"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentSite]:
    with closing(DocumentSite(tmp_path_factory.mktemp("site"))) as site:
        yield site


def differences(site: DocumentSite, page: Page, board: BoardDoc) -> list[Any]:
    site.write([board])
    page.goto(site.url(PATH))
    found: list[Any] = page.evaluate(COMPARE, NOW)
    return found


def test_server_and_script_draw_the_same_elements_of_every_example(site: DocumentSite, browser: Browser) -> None:
    page = browser.open("about:blank")
    assert differences(site, page, examples.board()) == []
    assert differences(site, page, hostile_board()) == []
    for tree in examples.trees()[1:]:
        board = with_tree({**examples.board(), "pushes": examples.pushes()[:1]}, {**tree, "repo": examples.REPO})
        assert differences(site, page, board) == []


def test_text_that_means_harm_stays_text(site: DocumentSite, browser: Browser) -> None:
    board = hostile_board()
    site.write([board], [board["tree"]])
    page = browser.open("about:blank")
    for path in (PATH, f"{PATH}?wall=1", "/trees", f"{PATH}?show=problems&q=%3Cscript%3E"):
        page.goto(site.url(path))
        page.wait_for_function(RUNS)
        assert page.title() != "harmed"
        made = page.evaluate(
            """() => [...document.querySelectorAll("script, img, [onerror], [onfocus], [href^='javascript']")]
                 .filter(each => !each.matches("script[src^='/static/']")).length"""
        )
        assert made == 0
        text = page.text_content("main") or ""
        assert HOSTILE[0] in text
        assert "U+202E" in text
        assert "\u202e" not in page.content()
