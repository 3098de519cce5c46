# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A board that changes: colours at once, heights only while no one reads, and nothing jumps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from playwright.sync_api import Page, expect

from sourcepulse_web.board.documents import BoardDoc, BoardUpdate, PushDoc, TreeDoc
from support.web import board_examples as examples
from support.web.board_pages import PATH, large_board
from support.web.browser import Browser
from support.web.document_site import DocumentSite

IDLE_MS = 31_000
HEAR = """async (update) => {
  const { hear, use } = await import('/static/board.js');
  await use();
  await import('/static/board/paint.js');
  hear(update);
}"""
TOP = "(id) => document.getElementById(id).getBoundingClientRect().top"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentSite]:
    with closing(DocumentSite(tmp_path_factory.mktemp("site"))) as site:
        yield site


def opened(site: DocumentSite, browser: Browser, board: BoardDoc, query: str = "") -> Page:
    """Open a board whose clock the test moves."""
    site.write([board])
    page = browser.open("about:blank")
    page.clock.install()
    page.goto(site.url(PATH + query))
    page.evaluate("async () => { await (await import('/static/board.js')).use(); }")
    return page


def hear(page: Page, *pushes: PushDoc, tree: TreeDoc | None = None, gone: tuple[int, ...] = ()) -> None:
    update = BoardUpdate(tree=tree or examples.tree(), places=[], pushes=list(pushes), gone=list(gone), position=9_999)
    page.evaluate(HEAR, update)
    page.clock.run_for(20)


def newer(number: int = 1_100, user: str = "frank") -> PushDoc:
    return examples.push(number, "11:30:00", user, "aa11bb22cc33", [("Bug 1 - newer", [1])], "running", {})


def changed(push: PushDoc, **more: Any) -> PushDoc:
    return cast(PushDoc, {**push, "changed": push["changed"] + 1, **more})


def alice() -> PushDoc:
    return next(push for push in examples.pushes() if push["user"] == "alice")


def bob() -> PushDoc:
    return next(push for push in examples.pushes() if push["user"] == "bob")


def with_failure(push: PushDoc) -> PushDoc:
    """Return the push after its unit test failed."""
    failed = examples.push(
        push["id"], "10:41:13", "bob", "77ab03fe5c61", [], "passed", {"unit": "new"}, failures=[examples.PARSE]
    )
    return changed({**failed, "descs": push["descs"], "changed": push["changed"]})


def test_a_push_is_added_at_once_while_nobody_reads(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    hear(page, newer())
    page.clock.run_for(1_000)
    expect(page.locator("#list .p").first).to_have_id("p1100")
    expect(page.locator("#slot")).to_have_text("nothing newer")
    expect(page.locator(".day")).to_have_count(1)


def test_a_push_of_a_new_day_begins_with_its_day(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    hear(page, {**newer(), "time": "2026-11-23T00:00:01.000000Z"})
    page.clock.run_for(1_000)
    texts = page.locator("#list > li").all_text_contents()
    assert texts[0].startswith("Monday 23 November 2026")
    assert texts[2].startswith("Sunday 22 November 2026")


def test_pushes_wait_while_somebody_reads_and_nothing_moves_when_they_come(
    site: DocumentSite, browser: Browser
) -> None:
    page = opened(site, browser, large_board(15))
    page.mouse.move(300, 300)
    hear(page, newer(20_000), newer(20_010))
    button = page.get_by_role("button", name="2 newer pushes")
    expect(button).to_be_visible()
    page.mouse.wheel(0, 700)
    page.wait_for_function("() => scrollY > 100")
    seen = page.evaluate(
        "() => [...document.querySelectorAll('.p')].find(each => each.getBoundingClientRect().bottom > 0).id"
    )
    before = page.evaluate(TOP, seen)
    page.keyboard.press(".")
    expect(page.locator("#slot")).to_have_text("2 pushes added above")
    assert abs(page.evaluate(TOP, seen) - before) <= 1
    assert page.locator("#list .p").first.get_attribute("id") == "p20010"


def test_what_waited_comes_when_the_reader_is_gone(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    page.mouse.move(300, 300)
    hear(page, newer())
    expect(page.locator("#p1100")).to_have_count(0)
    page.clock.run_for(IDLE_MS)
    expect(page.locator("#p1100")).to_have_count(1)


def test_words_and_figures_change_at_once_and_failed_tests_wait(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    page.set_viewport_size({"width": 1280, "height": 1200})
    page.mouse.move(300, 300)
    row = page.locator("#p700")
    height = row.evaluate("each => each.offsetHeight")
    hear(page, with_failure(bob()))
    expect(row.locator(".w.new")).to_have_count(4)
    expect(row.locator(".sum")).to_contain_text("4 new")
    expect(row.locator(".f")).to_have_count(0)
    assert row.evaluate("each => each.offsetHeight") == height
    page.get_by_role("button", name="1 push changed").click()
    expect(row.locator(".f")).to_have_count(1)


def test_new_failures_are_announced_together(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    said = page.locator("#said")
    expect(said).to_have_text("")
    hear(page, with_failure(bob()))
    page.clock.run_for(1_100)
    expect(said).to_contain_text("4 builds failed, new here: linux64 debug unit")
    erin = next(push for push in examples.pushes() if push["user"] == "erin")
    hear(page, changed(erin, lines=examples.lines("new", {})))
    page.clock.run_for(2_000)
    expect(said).to_contain_text("4 builds")
    page.clock.run_for(20_000)
    # Not the build of the second tier.
    expect(said).to_contain_text("39 builds")


def test_a_word_that_got_well_stays_in_the_view_of_problems(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board(), "?show=problems")
    row = page.locator("#p800")
    shown = row.locator(".w:visible")
    count = shown.count()
    hear(page, changed(alice(), lines=examples.lines("passed", {}), failures=[]))
    expect(row.locator(".w.new")).to_have_count(0)
    assert shown.count() == count
    page.reload()
    site.write([{**examples.board(), "pushes": [changed(alice(), lines=examples.lines("passed", {}), failures=[])]}])
    page.reload()
    expect(page.locator("#p800 .w:visible")).to_have_count(0)


def test_a_withdrawn_push_loses_its_text_and_keeps_its_height(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    page.mouse.move(300, 300)
    row = page.locator("#p800")
    row.locator(".w.new").first.focus()
    expect(page.locator("#tray")).to_contain_text("linux64-debug-unit #57 failed, new here")
    height = row.evaluate("each => each.offsetHeight")
    none: dict[str, Any] = {
        "descs": [],
        "lines": [],
        "summary": [],
        "failures": [],
        "user": None,
        "node": "",
        "sought": "",
    }
    hear(page, changed(alice(), withdrawn=True, is_new=False, **none))
    expect(row).to_contain_text("withdrawn: no longer public")
    assert row.evaluate("each => each.offsetHeight") == height
    assert "handle empty input" not in page.content()
    expect(page.locator("#tray")).to_have_text("")
    assert "alice" not in row.evaluate("each => each.outerHTML")


def test_a_stripped_push_is_struck_and_its_builds_stay(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    hear(page, changed(bob(), stripped_at=examples.at("11:40:00")))
    expect(page.locator("#p700")).to_contain_text("stripped at 11:40, its builds stay readable")
    expect(page.locator("#p700 .w")).to_have_count(40)
    expect(page.locator("#p700 b.gone")).to_have_count(1)


def test_a_tree_that_closes_is_announced_once_and_never_at_load(site: DocumentSite, browser: Browser) -> None:
    alert = "() => document.getElementById('alert').textContent"
    page = opened(site, browser, examples.board())
    hear(page)
    assert page.evaluate(alert) == ""
    is_open = examples.tree(state="open", reason=None, until=None, failing=[])
    page = opened(site, browser, {**examples.board(), "tree": is_open})
    page.mouse.move(300, 300)
    top = page.evaluate(TOP, "p1000")
    hear(page)
    assert page.evaluate(alert).startswith("inbound is closed: unit fails on three platforms")
    expect(page.locator("#tree")).to_be_visible()
    assert page.evaluate(TOP, "p1000") == top
    assert page.evaluate("() => document.getElementById('tree').getBoundingClientRect().top") == page.evaluate(
        "() => document.querySelector('.day').getBoundingClientRect().top"
    )
    assert page.title() == "✖ 1 new · ■ closed · inbound"
    page.clock.run_for(IDLE_MS)
    assert page.evaluate(TOP, "p1000") > top
    page.evaluate("() => { document.getElementById('alert').textContent = '' }")
    hear(page, tree=examples.tree(refused=3))
    expect(page.locator("#tree")).to_contain_text("3 pushes refused")
    assert page.evaluate(alert) == ""


def test_the_focus_stays_on_a_word_that_changes(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    page.locator("#p800 .w.new").first.focus()
    hear(page, changed(alice(), lines=examples.lines("passed", {"unit": "retry"})))
    expect(page.locator(":focus")).to_have_class("w retry")
    expect(page.locator("#tray")).to_contain_text("linux64-debug-unit #57 starts again")
    expect(page.locator("#p800 a[tabindex='0']")).to_have_count(1)


def test_older_news_never_replaces_newer_and_trimmed_pushes_go(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    hear(page, changed(bob(), more="newer"))
    hear(page, {**bob(), "changed": 1, "more": "older"})
    expect(page.locator("#p700")).to_contain_text("newer")
    hear(page, gone=(500,))
    expect(page.locator("#p500")).to_have_count(0)


def test_newer_pushes_are_one_link_away_from_an_older_page(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, large_board(5), "?before=9980")
    hear(page, newer(20_000))
    page.clock.run_for(2_000)
    expect(page.locator("#p20000")).to_have_count(0)
    page.get_by_role("link", name="the newest pushes").click()
    expect(page.locator("#list .p").first).to_have_id("p10000")


def test_a_push_that_the_filter_does_not_show_is_not_counted_as_newer(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board(), "?q=bob")
    page.mouse.move(300, 300)
    page.wait_for_timeout(0)
    total = page.locator(".total")
    before = int(re.sub(r"\D.*", "", total.inner_text().replace(",", "")))
    hear(page, newer())
    expect(page.locator("#slot")).to_have_text("nothing newer")
    hear(page, newer(1_110, "bob"))
    expect(page.locator("#slot")).to_have_text("↑ 1 newer push")
    page.locator("#q").fill("")
    expect(page.locator("#slot")).to_have_text("↑ 2 newer pushes")
    page.get_by_role("button", name="2 newer pushes").click()
    expect(total).to_contain_text(f"{before + 2} pushes")


def test_back_returns_to_the_filter_that_enter_made(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, examples.board())
    box = page.locator("#q")
    for user in ("alice", "bob"):
        box.fill("")
        box.press_sequentially(user)
        box.press("Enter")
    page.go_back()
    expect(box).to_have_value("alice")
    expect(page).to_have_url(re.compile("q=alice$"))
    page.go_back()
    expect(box).to_have_value("")
    expect(page).not_to_have_url(re.compile("q="))
