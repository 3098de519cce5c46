# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Places of builders on an open board: no word moves, and the focus stays on its push and its builder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from playwright.sync_api import Page, expect

from sourcepulse_web.board.documents import BoardDoc, LineDoc, PlaceLineDoc, PushDoc, WordState
from support.web import board_examples as examples
from support.web.board_pages import PATH
from support.web.browser import Browser
from support.web.document_site import DocumentSite

HEAR = """async (update) => {
  const { hear, use } = await import('/static/board.js');
  await use();
  await import('/static/board/paint.js');
  hear(update);
  await new Promise(done => setTimeout(done, 100));
}"""
FOCUS = "() => [document.activeElement.closest('.p')?.id, document.activeElement.dataset.key]"
LABELS = """() => [...document.querySelectorAll('.p')].map(
  push => [...push.querySelectorAll('.l')].map(line => [...line.children].map(each => each.textContent).join(' ')))"""
LEFT = "() => [...document.querySelectorAll('.w')].slice(0, 4).map(each => each.getBoundingClientRect().left)"
Lines = list[tuple[str, list[str]]]
OLD: Lines = [("linux64", ["build", "unit"]), ("win64", ["build", "unit"])]
#: As the server sorts them.
WITH_JIT: Lines = [("linux64", ["build", "jit", "unit"]), ("win64", ["build", "unit"])]
WITH_LINE: Lines = [("aarch", ["unit"]), *OLD]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentSite]:
    with closing(DocumentSite(tmp_path_factory.mktemp("site"))) as site:
        yield site


def lines(of: Lines, fresh: WordState = "none") -> list[LineDoc]:
    old = {(platform, label) for platform, labels in OLD for label in labels}
    return [
        LineDoc(
            platform=platform,
            buildtype="opt",
            words=[
                examples.word(platform, "opt", label, "passed" if (platform, label) in old else fresh)
                for label in labels
            ],
        )
        for platform, labels in of
    ]


def pushes(of: Lines, fresh: WordState = "none") -> list[PushDoc]:
    """Return three pushes; `fresh` is how the builders that are not in `OLD` are on the newest."""
    return [
        examples.push(
            1000 - index, "11:24:02", "dave", f"c47e90b1d2a{index}", [("No bug", [])], "passed", {},
            lines=lines(of, "none" if index else fresh),
        )
        for index in range(3)
    ]  # fmt: skip


def board(of: Lines) -> BoardDoc:
    return {**examples.board(), "tree": examples.tree(state="open"), "pushes": pushes(of), "older": None}


def hear(page: Page, of: Lines, *changed: PushDoc) -> None:
    places = [
        PlaceLineDoc(
            platform=line["platform"],
            buildtype=line["buildtype"],
            places=[{"place": each["place"], "label": each["label"], "tier": 1} for each in line["words"]],
        )
        for line in lines(of)
    ]
    news = [cast(PushDoc, {**push, "changed": 5_000}) for push in changed]
    update = {"tree": examples.tree(state="open"), "places": places, "pushes": news, "gone": [], "position": 9_999}
    page.evaluate(HEAR, update)


def opened(site: DocumentSite, browser: Browser, focus: str, of: Lines = OLD, **options: Any) -> Page:
    """Open a board with the focus on a builder of its newest push."""
    site.write([board(of)])
    page = browser.open(site.url(PATH), **options)
    page.locator(f"#p1000 .w[data-key='{focus}']").focus()
    page.locator("#tray b").wait_for()
    return page


def test_a_new_builder_stands_last_on_every_push_and_moves_nothing(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, "linux64-opt-unit")
    left = page.evaluate(LEFT)[:2]
    hear(page, WITH_JIT, pushes(WITH_JIT, "running")[0])
    expect(page.locator("#p1000 .w.running")).to_have_text("jit")
    assert page.evaluate(LABELS) == [["linux64 opt build unit jit", "win64 opt build unit"]] * 3
    assert page.evaluate(LEFT)[:2] == left
    assert page.evaluate(FOCUS) == ["p1000", "linux64-opt-unit"]
    expect(page.locator("#tray b")).to_have_text("linux64-opt-unit")
    expect(page.locator("a[tabindex='0']")).to_have_count(3)
    page.get_by_role("link", name="linux64-opt-jit: running").focus()
    hear(page, WITH_JIT, cast(PushDoc, {**pushes(WITH_JIT, "passed")[0], "id": 1001}))
    page.keyboard.press(".")
    expect(page.locator("#p1001 .l").first).to_have_text("linux64 optbuildunitjit")
    site.write([board(WITH_JIT)])
    page.reload()
    assert page.evaluate(LABELS)[0][0] == "linux64 opt build jit unit"


def test_a_new_platform_waits_while_somebody_reads_and_comes_last(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, "win64-opt-unit")
    height = page.locator("#list").evaluate("each => each.offsetHeight")
    hear(page, WITH_LINE, pushes(WITH_LINE, "running")[0])
    slot = page.get_by_role("button", name="1 push changed")
    expect(slot).to_be_visible()
    assert page.locator("#list").evaluate("each => each.offsetHeight") == height
    assert page.evaluate(FOCUS) == ["p1000", "win64-opt-unit"]
    page.keyboard.press(".")
    assert page.evaluate(LABELS) == [["linux64 opt build unit", "win64 opt build unit", "aarch opt unit"]] * 3
    assert page.evaluate(FOCUS) == ["p1000", "win64-opt-unit"]
    expect(page.locator("#p1000 .w.running")).to_have_count(1)


def test_the_focus_follows_a_builder_whose_platform_becomes_known(site: DocumentSite, browser: Browser) -> None:
    page = opened(site, browser, "aarch-opt-unit", WITH_LINE)
    known = [cast(LineDoc, {**line, "platform": "win64"}) for line in lines([("aarch", ["unit"])], "running")]
    places = [*lines(OLD)[:1], {**lines(OLD)[1], "words": [*lines(OLD)[1]["words"], *known[0]["words"]]}]
    push = cast(PushDoc, {**pushes(OLD)[0], "lines": places, "changed": 5_000})
    update = {
        "tree": examples.tree(state="open"), "pushes": [push], "gone": [], "position": 9_999,
        "places": [{**line, "places": line["words"]} for line in places],
    }  # fmt: skip
    page.evaluate(HEAR, update)
    page.keyboard.press(".")
    expect(page.locator("#p1000 .w.running")).to_have_count(1)
    assert page.evaluate(FOCUS) == ["p1000", "aarch-opt-unit"]
    assert page.evaluate(LABELS) == [["linux64 opt build unit", "win64 opt build unit unit"]] * 3


def test_the_tray_lists_the_runs_of_the_builder_and_not_of_its_label(site: DocumentSite, browser: Browser) -> None:
    twins = pushes(OLD)
    for push in twins:
        first, second = push["lines"][0]["words"]
        first["label"] = second["label"] = "a…b"
        second["state"] = "known"
    site.write([{**board(OLD), "pushes": twins}])
    page = browser.open(site.url(PATH))
    page.locator("#p1000 .w[data-key='linux64-opt-unit']").focus()
    expect(page.locator("#tray .runs")).to_contain_text("3 of 3 failed")
    page.locator("#p1000 .w[data-key='linux64-opt-build']").focus()
    expect(page.locator("#tray .runs")).to_contain_text("none of 3 failed")


def test_a_line_number_is_never_cut_and_forced_colours_show_the_view(site: DocumentSite, browser: Browser) -> None:
    folders = "ui/very/long/folder/names/of/a/test/that/nobody/wants/to/read/" * 2
    failed = examples.failure("new", f"{folders}test_restore.py", "on linux64 opt: unit", "timed out", "", line=41)
    first, *rest = pushes(OLD)
    site.write(
        [
            {
                **board(OLD),
                "pushes": [cast(PushDoc, {**first, "failures": [failed, {**failed, "test": "parse.t"}]}), *rest],
            }
        ]
    )
    page = browser.open(site.url(PATH))
    for width in (1100, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        cut = [each.evaluate("each => each.scrollWidth > each.clientWidth") for each in page.locator(".file").all()]
        assert cut == [False, False], width
        assert page.locator(".dir").evaluate("each => each.scrollWidth > each.clientWidth")
    page.emulate_media(forced_colors="active")
    line = "each => getComputedStyle(each).textDecorationLine"
    assert [each.evaluate(line) for each in page.locator(".seg a").all()] == ["underline", "none", "none"]


def test_a_tree_that_is_not_opened_in_time_says_so_without_an_event(site: DocumentSite, browser: Browser) -> None:
    site.write([{**board(OLD), "tree": examples.tree(until="2026-11-22T12:30:00.000000Z")}])
    page = browser.open("about:blank")
    page.clock.install(time="2026-11-22T12:29:00Z")
    page.goto(site.url(PATH))
    page.locator("#slot").wait_for()
    expect(page.locator("#tree .when")).to_contain_text("opens again at 12:30 · 2 pushes refused")
    page.clock.run_for(62_000)
    expect(page.locator("#tree .when")).to_contain_text("was to open at 12:30, has not been opened · 2 pushes refused")
