# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How many bytes of script and style the browser has of a page, without compression, and when it asks for them.

The design allows 20 kB of script and 12 kB of style. Where a page has more, its limit here is what it has. The worker,
which all tabs share, counts for each page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page

from support.web import board_examples as examples
from support.web.board_pages import PATH
from support.web.browser import Browser
from support.web.document_site import DocumentSite
from support.web.gateway import Gateway
from support.web.story_examples import NODE, story

SCRIPT_MAX_BYTES, STYLE_MAX_BYTES = 20_000, 12_000
#: The static files that a page has got, by name, with their sizes.
SIZES = """async () => {
  const got = performance.getEntriesByType("resource").filter(each => each.name.includes("/static/"));
  const worker = await (await fetch("/static/worker.js")).text();
  const sizes = got.map(each => [each.name.split("/static/")[1], each.decodedBodySize]);
  return Object.fromEntries([...sizes, ["worker.js", new TextEncoder().encode(worker).length]]);
}"""
KNOWN = "() => !document.getElementById('state').textContent.startsWith('as of')"
BOARD, WALL, CHANGE = PATH, f"{PATH}?wall=1", f"/changes/{NODE}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentSite]:
    with closing(DocumentSite(tmp_path_factory.mktemp("site"))) as site:
        site.write([examples.board()], examples.trees(), [story()])
        yield site


def sizes(page: Page) -> dict[str, int]:
    """Return the sizes of what a page has got since its stream is open."""
    page.wait_for_function(KNOWN)
    found: dict[str, int] = page.evaluate(SIZES)
    return found


def weight(found: dict[str, int], kind: str) -> int:
    return sum(size for name, size in found.items() if name.endswith(kind))


@pytest.mark.parametrize(
    ("path", "script_max", "style_max"),
    [
        (BOARD, 23_200, 14_000),
        (WALL, 21_900, STYLE_MAX_BYTES),
        ("/trees", 23_100, STYLE_MAX_BYTES),
        (CHANGE, 23_600, 12_700),
        ("/catalogue", SCRIPT_MAX_BYTES, STYLE_MAX_BYTES),
        ("/changes", SCRIPT_MAX_BYTES, STYLE_MAX_BYTES),
    ],
)
def test_a_page_that_nobody_touches_is_light(
    site: DocumentSite, browser: Browser, path: str, script_max: int, style_max: int
) -> None:
    found = sizes(browser.open(site.url(path)))
    assert weight(found, ".js") <= script_max, found
    assert weight(found, ".css") <= style_max, found


def test_the_live_page_is_light_until_a_row_is_opened(gateway: Gateway, browser: Browser) -> None:
    for path in ("/", "/hooks"):
        found = sizes(browser.open(gateway.url(path)))
        assert weight(found, ".js") <= (27_300 if path == "/" else SCRIPT_MAX_BYTES), found
        assert weight(found, ".css") <= STYLE_MAX_BYTES, found


def test_a_board_loads_what_a_reader_uses_when_it_is_used(site: DocumentSite, browser: Browser) -> None:
    page = browser.open(site.url(BOARD))
    loaded = set(sizes(page))
    assert not {name for name in loaded if name.startswith(("board/", "tray"))}
    page.mouse.move(300, 300)
    page.locator("#list a[tabindex='0']").first.wait_for()
    page.keyboard.press("n")
    page.locator("#tray b").wait_for()
    used = set(sizes(page)) - loaded
    assert {"board/keys.js", "board/filter.js", "board/tray.js", "tray.css"} <= used
    assert not used & {"board/paint.js", "board/draw.js", "board/sheet.js"}
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    assert "board/sheet.js" in sizes(page)
