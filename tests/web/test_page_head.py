# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What every page has at its top: the state word, title and picture of the tab, banners that move nothing."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from sourcepulse.events.event import Event
from support.web.board_events import REPO, Build, Site, node
from support.web.browser import Browser, try_now
from support.web.feed import until
from support.web.gateway import Gateway, MakeGateway

BOARD = f"/trees/{REPO}"
PAGES = ("/", "/trees", BOARD, f"{BOARD}?wall=1", f"/changes/{node(1)}", "/changes", "/catalogue", "/hooks")
#: The words that a page shows one after the other, from before its script runs.
WORDS = """addEventListener("DOMContentLoaded", () => {
  const state = document.getElementById("state");
  window.words = [state.textContent];
  new MutationObserver(() => words.push(state.textContent)).observe(state, { childList: true, subtree: true });
});"""
ICON = "() => document.getElementById('icon').href"
TOP = "() => document.getElementById('main').getBoundingClientRect().top"
CUT = r"ERR_|net::"


def append(gateway: Gateway, *events: Event) -> None:
    """Append events, and wait until the board has read of them."""
    gateway.append(*events)
    until(lambda: gateway.get(BOARD).status == 200)


def watched(browser: Browser, gateway: Gateway, path: str) -> Page:
    page = browser.open("about:blank")
    page.add_init_script(WORDS)
    page.goto(gateway.url(path))
    return page


def test_the_state_word_is_right_at_load_on_every_page(gateway: Gateway, browser: Browser) -> None:
    site = Site()
    for path in ("/", "/trees", "/catalogue", "/hooks"):
        page = watched(browser, gateway, path)
        expect(page.locator("#state")).to_have_text("quiet")
        expect(page.locator("#age")).to_contain_text("no event yet")
    append(gateway, site.push(node(0)), site.push(node(1)))
    for path in PAGES:
        page = watched(browser, gateway, path)
        expect(page.locator("#state")).to_have_text("live")
        expect(page.locator("#age")).to_contain_text("last event")
        words = [word for word in page.evaluate("window.words") if not word.startswith("as of")]
        assert set(words) <= {"", "live"}, path
        page.close()


@pytest.mark.parametrize("path", [BOARD, "/", "/catalogue"])
def test_a_stream_that_breaks_shows_in_the_tab_and_its_banner_moves_nothing(
    make_gateway: MakeGateway, browser: Browser, path: str
) -> None:
    browser.allow(CUT)
    gateway = make_gateway()
    gateway.start()
    build = Build(Site(), "linux64-debug-unit", node(0))
    append(gateway, Site().push(node(0)), *build.story())
    page = browser.open(gateway.url(path))
    expect(page.locator("#state")).to_have_text("live")
    title, icon = page.title(), page.evaluate(ICON)
    page.mouse.move(300, 300)
    top = page.evaluate(TOP)
    gateway.kill()
    page.locator("#over .banner.broken", has_text="What you see ends there.").wait_for()
    assert page.title() == f"✖ broken · {title}"
    assert "✖" in unquote(page.evaluate(ICON))
    assert page.evaluate(TOP) == top
    assert page.locator("#banners .banner.broken").count() == 0
    gateway.start()
    try_now(page)
    expect(page.locator(".banner.broken")).to_have_count(0)
    assert (page.title(), page.evaluate(ICON), page.evaluate(TOP)) == (title, icon, top)


def test_a_banner_that_nobody_sees_come_takes_its_room_and_leaves_it_when_nobody_reads(
    make_gateway: MakeGateway, browser: Browser
) -> None:
    browser.allow(CUT)
    gateway = make_gateway()
    gateway.start()
    gateway.append(Site().push(node(0)))
    page = browser.open(gateway.url("/trees"))
    expect(page.locator("#state")).to_have_text("live")
    top = page.evaluate(TOP)
    gateway.kill()
    page.locator("#banners .banner.broken").wait_for()
    assert page.evaluate(TOP) > top
    page.mouse.move(300, 300)
    moved = page.evaluate(TOP)
    gateway.start()
    try_now(page)
    expect(page.locator("#banners .tag")).to_have_text("CONNECTED")
    assert page.evaluate(TOP) == moved


def test_titles_and_pictures_carry_what_fails(gateway: Gateway, browser: Browser) -> None:
    site = Site()
    good, bad = Build(site, "linux64-debug-unit", node(0)), Build(site, "linux64-debug-unit", node(1))
    gateway.append(site.push(node(0)), *good.story(), site.push(node(1)))
    append(
        gateway, bad.request(), bad.started(), bad.failed("tests/parse.t"), bad.ran("failure"), bad.finished("failure")
    )
    for path, start, mark in (
        (BOARD, "✖ 1 new · ", ">1</text>"),
        (f"{BOARD}?wall=1", "✖ 1 new · ", ">1</text>"),
        ("/trees", "✖ 1 new · Trees", ">1</text>"),
        (f"/changes/{node(1)}", "✖ Not good · ", ">✖</text>"),
        (f"/changes/{node(0)}", "✓ Good · ", ">✓</text>"),
    ):
        page = browser.open(gateway.url(path))
        expect(page).to_have_title(re.compile(re.escape(start)))
        assert mark in unquote(page.evaluate(ICON)), path
        page.close()
