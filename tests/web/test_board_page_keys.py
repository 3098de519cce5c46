# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A board without a mouse, without a script, on a narrow screen, and for eyes that need contrast."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from sourcepulse_web.board.documents import LineDoc, WordState
from support.web import board_examples as examples
from support.web.board_pages import PATH, hostile_board, large_board
from support.web.browser import DESK, PHONE, Browser, scrolls_sideways
from support.web.document_site import DocumentSite

#: As the first move of a pointer, which would be somebody who reads.
READY = "async () => { await (await import('/static/board.js')).use(); return true; }"
HERE = "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
PUSH = "() => document.activeElement.closest('.p')?.id"
NARROW = (320, 640)
CONTRAST_MIN = 4.5
#: The contrast of each text with what is behind it; borders and backgrounds that are half seen do not occur.
CONTRASTS = """() => {
  const parse = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = color => {
    const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = parse(color).map(each => linear(each / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor, parts = parse(color);
      if (parts.length === 3 || parts[3] === 1) return color;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  const poor = new Set();
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility()) continue;
    if (![...element.childNodes].some(each => each.nodeType === 3 && each.data.trim())) continue;
    for (const pseudo of [null, "::before"]) {
      const a = light(getComputedStyle(element, pseudo).color), b = light(ground(element));
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < LEAST) poor.add(`${element.className || element.tagName} ${ratio.toFixed(2)}`);
    }
  }
  return [...poor];
}""".replace("LEAST", str(CONTRAST_MIN))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentSite]:
    with closing(DocumentSite(tmp_path_factory.mktemp("site"))) as site:
        site.write([examples.board()], examples.trees())
        yield site


def opened(site: DocumentSite, browser: Browser, path: str = PATH, **options: Any) -> Page:
    page = browser.open(site.url(path), **options)
    page.wait_for_function(READY)
    return page


@pytest.mark.parametrize(
    ("pushes", "state", "said"),
    [(1, "alone", "no earlier run"), (1, "new", "1 of 1 failed"), (2, "new", "first failure in 2 runs")],
)
def test_the_tray_counts_the_runs_that_it_shows(
    site: DocumentSite, browser: Browser, pushes: int, state: WordState, said: str
) -> None:
    board = examples.board()
    board["pushes"] = board["pushes"][:pushes]
    for push, each in zip(board["pushes"], (state, "passed"), strict=False):
        push["lines"] = [
            {"platform": "linux64", "buildtype": "opt", "words": [examples.word("linux64", "opt", "unit", each)]}
        ]
    site.write([board], examples.trees())
    try:
        page = opened(site, browser)
        page.locator(f"#p{board['pushes'][0]['id']} .w").focus()
        expect(page.locator("#tray .runs")).to_contain_text(said)
    finally:
        site.write([examples.board()], examples.trees())


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_a_push_on_which_no_builder_ran_has_not_ended(site: DocumentSite, browser: Browser, *, script: bool) -> None:
    board = examples.board()
    board["pushes"] = board["pushes"][:1]
    words = [examples.word("linux64", "opt", "unit", "skipped")]
    board["pushes"][0] |= {"summary": [], "failures": [], "lines": [LineDoc(platform="a", buildtype="b", words=words)]}
    site.write([board], examples.trees())
    try:
        page = browser.open(site.url(f"{PATH}?show=problems"), script=script)
        expect(page.locator("#none")).to_contain_text("has no result.")
    finally:
        site.write([examples.board()], examples.trees())


def test_each_push_is_one_tab_stop_and_arrows_reach_all_its_links(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser)
    for push in page.locator(".p").all():
        assert push.locator("a[tabindex='0']").count() <= 1
    page.locator("#p900 a[tabindex='0']").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(PUSH) == "p800"
    links = page.locator("#p800 a").count()
    page.locator("#p800 .who a").focus()
    for _ in range(links - 1):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#p800 .test").last).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#p800 .test").last).to_be_focused()


def test_up_and_down_follow_a_builder_from_push_to_push(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser)
    page.locator("#p900 .l").nth(3).locator(".w").nth(2).focus()
    page.keyboard.press("ArrowUp")
    assert page.evaluate(HERE).startswith("macos-arm64-opt-jit: passed")
    for _ in range(12):
        page.keyboard.press("ArrowUp")
    assert page.evaluate(PUSH) == "p1000"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(PUSH) in ("p1000", "p900")


def test_single_keys_go_from_push_to_push_and_from_failure_to_failure(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser)
    page.keyboard.press("j")
    assert page.evaluate(PUSH) == "p1000"
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate(PUSH) == "p800"
    page.keyboard.press("k")
    assert page.evaluate(PUSH) == "p900"
    page.keyboard.press("n")
    assert page.evaluate(HERE) == "linux64-debug-unit: failed, new here, 7 min 35 s"
    expect(page.locator("#tray")).to_contain_text("linux64-debug-unit #57")
    expect(page.locator("#tray")).to_contain_text(
        "failed tests (1 of 2,114) · 7 min 35 s on w12 · waited 9 s · inbound"
    )
    expect(page.locator("#tray .runs .s")).to_have_count(5)
    page.keyboard.press("N")
    assert page.evaluate(HERE).startswith("linux64-debug-ui-2: failed, known")
    page.keyboard.press("p")
    assert page.evaluate(HERE).startswith("linux64-debug-unit: failed, new here")
    page.keyboard.press("3")
    expect(page).to_have_url(re.compile("show=new"))
    expect(page.locator("#p800 .l:visible")).to_have_count(3)
    page.keyboard.press("1")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("njk")
    expect(page.locator("#q")).to_have_value("njk")
    expect(page.locator("#none")).to_contain_text("No push matches “njk”. 7 pushes looked at.")
    page.keyboard.press("Escape")
    expect(page.locator("#q")).to_have_value("")
    expect(page.locator("#none")).to_be_hidden()


def test_the_sheet_lists_the_keys_and_turns_single_ones_off(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser)
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    expect(sheet).to_contain_text("next, last failure new here")
    sheet.get_by_role("checkbox").click()
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)
    page.keyboard.press("j")
    assert page.evaluate(PUSH) is None
    page.reload()
    page.wait_for_function(READY)
    page.keyboard.press("n")
    assert page.evaluate(PUSH) is None


def test_a_push_is_copied_as_text_for_a_bug(site: DocumentSite, browser: Browser) -> None:
    page = browser.open(site.url(PATH))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.wait_for_function(READY)
    page.locator("#p800 .w.new").first.focus()
    page.keyboard.press("c")
    expect(page.locator("#said")).to_have_text("Copied.")
    text = page.evaluate("() => navigator.clipboard.readText()")
    assert text.splitlines()[:3] == [
        "alice pushed 1f0c5a2be9d0 to integration/inbound at 2026-11-22 10:59 UTC",
        "Bug 1234 - handle empty input",
        "Bug 1234 - tests for empty input",
    ]
    assert "new here tests/parse.t:41 on linux64 opt, linux64 debug, win64 opt: unit expected exit 0, got 139" in text
    assert text.splitlines()[-1].startswith(site.url("/changes/1f0c5a2be9d0"))


def test_the_filter_is_in_the_url_and_finds_what_is_not_drawn(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser)
    page.locator("#q").fill("src/parse.c")
    expect(page).to_have_url(re.compile("q=src%2Fparse.c"))
    expect(page.locator(".p:visible")).to_have_count(6)
    page.locator("#q").fill("Bug 1279")
    expect(page.locator(".p:visible")).to_have_count(2)
    page.locator("#q").press("Enter")
    page.locator("#q").fill("erin")
    expect(page.locator(".p:visible")).to_have_count(1)
    page.go_back()
    expect(page.locator("#q")).to_have_value("Bug 1279")
    expect(page.locator(".p:visible")).to_have_count(2)
    page = opened(site, browser, f"{PATH}?q=bug+1279")
    expect(page.locator(".p")).to_have_count(2)
    page.locator("#q").fill("")
    expect(page.locator(".p")).to_have_count(7)


def test_without_script_links_and_forms_do_the_same(site: DocumentSite, browser: Browser) -> None:
    page = browser.open(site.url(PATH), script=False)
    expect(page.locator("#state")).to_have_text("as of 11:31:00")
    page.get_by_role("link", name="problems").click()
    expect(page.locator("#p1000 .l:visible")).to_have_count(0)
    expect(page.locator("#p800 .w:visible")).to_have_count(7)
    page.get_by_role("searchbox").fill("bug 1279")
    page.keyboard.press("Enter")
    expect(page.locator(".p")).to_have_count(2)
    expect(page).to_have_url(re.compile("show=problems"))
    page.get_by_role("searchbox").fill("bug 9999")
    page.keyboard.press("Enter")
    expect(page.locator("#none")).to_have_text(
        "No push matches “bug 9999”. 7 pushes looked at, since 22 Nov. Clear the filter"
    )
    page.get_by_role("link", name="Clear the filter").click()
    expect(page.locator(".p")).to_have_count(7)


def test_older_pushes_are_added_below_and_linked_without_script(site: DocumentSite, browser: Browser) -> None:
    site.write([large_board(70)])
    try:
        page = browser.open(site.url(PATH), script=False)
        page.get_by_role("link", name="Older pushes").click()
        expect(page.locator(".p").first).to_have_id("p9500")
        page = opened(site, browser)
        expect(page.locator(".p")).to_have_count(50)
        page.get_by_role("link", name="Older pushes").click()
        expect(page.locator(".p")).to_have_count(70)
        expect(page.locator("#older")).to_be_hidden()
    finally:
        site.write([examples.board()], examples.trees())


def test_a_phone_begins_with_problems_and_shows_a_build_in_a_sheet(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, size=PHONE)
    expect(page.locator(".seg a[aria-current]")).to_have_text("problems")
    expect(page.locator("#p800 .w:visible")).to_have_count(7)
    expect(page.locator("#tray")).to_be_hidden()
    page.locator("#p800 .w.new").first.tap()
    expect(page.locator("#tray")).to_be_visible()
    assert page.url.startswith(site.origin)
    page.get_by_role("button", name="Close").tap()
    expect(page.locator("#tray")).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_has_contrast(site: DocumentSite, browser: Browser, theme: str) -> None:
    page = browser.open("about:blank", theme=theme)
    for path in (PATH, "/trees", f"{PATH}?wall=1"):
        page.goto(site.url(path))
        page.evaluate("() => document.querySelector('#p800 .w.new')?.focus()")
        assert page.evaluate(CONTRASTS) == [], path


def test_a_narrow_screen_never_scrolls_sideways(site: DocumentSite, browser: Browser) -> None:
    page = browser.open("about:blank", size=NARROW)
    boards = [examples.board(), hostile_board()]
    for board in boards:
        site.write([board], examples.trees())
        for path in (f"{PATH}?show=everything", "/trees", f"{PATH}?wall=1"):
            page.goto(site.url(path))
            for width, height in (DESK, NARROW):
                page.set_viewport_size({"width": width, "height": height})
                assert not scrolls_sideways(page), path
        last = page.locator("#list > li").last
        last.scroll_into_view_if_needed()
        expect(last).to_be_in_viewport()
    site.write([examples.board()], examples.trees())


def test_landmarks_and_names_say_what_is_where(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser)
    for role, name in (
        ("article", "alice, 10:59, 1f0c5a2be9d0"),
        ("complementary", "The chosen build"),
        ("navigation", "Builds"),
        ("searchbox", "Author, bug, file, builder or test"),
    ):
        expect(page.get_by_role(role, name=name, exact=True)).to_have_count(1)  # type: ignore[arg-type]
    alice = page.get_by_role("article", name="alice")
    expect(alice.get_by_role("group")).to_have_count(4)
    group = alice.get_by_role("group", name="linux64 debug")
    link = group.get_by_role("link", name="linux64-debug-unit: failed, new here, 7 min 35 s", exact=True)
    assert link.get_attribute("href") == "https://ci.example.org/#/builders/3/builds/57?linux64-debug-unit"
