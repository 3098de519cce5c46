# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The story of a change in the browser: what is drawn of its documents, in both themes and on a phone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import expect

from support.web.board_examples import failure, node, tree
from support.web.browser import PHONE, Browser, scrolls_sideways
from support.web.contrast import poor_contrast
from support.web.document_site import DocumentSite
from support.web.story_examples import NODE, happened, part, story, story_on_try

ADDRESS = "/changes/1f0c5a2be9d0"
EVIL = "<img src=x onerror=alert(1)>\u202e{{ 7 * 7 }}\ud800\x00"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentSite]:
    with closing(DocumentSite(tmp_path_factory.mktemp("site"))) as site:
        yield site


def answer(site: DocumentSite, path: str) -> tuple[int, str, str]:
    """Return the status, the type and the text that a program gets."""
    try:
        with urllib.request.urlopen(site.url(path), timeout=30) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_story_is_drawn_like_the_picture(browser: Browser, site: DocumentSite, theme: str) -> None:
    site.write([], [], [story()])
    page = browser.open(site.url(ADDRESS), theme=theme, size=(1440, 1060))
    assert page.title() == "✖ Not good · 1f0c5a2be9d0"
    expect(page.get_by_role("heading", level=1)).to_have_text("Bug 1234 - handle empty input")
    expect(page.locator(".verdict strong")).to_have_text("Not good")
    assert page.locator(".verdict p").all_inner_texts() == [story()["said"], "all 40 builds ended"]
    assert [each.split("\n")[0] for each in page.locator("#fails .f").all_inner_texts()] == [
        "new here",
        "known",
        "broke",
    ]
    assert page.locator(".l").count() == 4
    assert page.locator(".l .w.new").count() == 3
    expect(page.get_by_role("link", name="linux64-debug-unit: failed, new here, 7 min 35 s")).to_have_text("unit")
    times = page.locator(".happened li > span").all_inner_texts()
    assert times[:4] == ["the push", "+ 9 s", "+ 2 min 50 s", "+ 7 min 44 s"]
    bug = page.locator(".happened").get_by_role("link", name="bug 1234")
    assert bug.get_attribute("href") == "https://bugs.example.org/show_bug.cgi?id=1234"
    assert page.locator(".same li").all_inner_texts()[-1].split() == ["1f0c5a2be9d0", "this", "change"]
    side = page.locator("aside").inner_text()
    texts = (
        NODE, "22 Nov 2026, 11:59 +01:00 by the author's clock", "RESOLVED FIXED", "not assigned yet",
        "inbound was open at 10:59, is closed now, opens again at 12:30", "38 of 40 passed", "2 files",
    )  # fmt: skip
    assert [text for text in texts if text not in side] == []
    expect(page.get_by_role("link", name="src/parse.c")).to_have_attribute(
        "href", f"https://hg.example.org/integration/inbound/file/{NODE}/src/parse.c"
    )
    expect(page.locator("#tree")).to_contain_text("opens again at 12:30")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#age")).to_contain_text("3 min")
    assert not scrolls_sideways(page)
    assert poor_contrast(page) == []
    browser.shot(page, f"pages-change-{theme}")


def test_a_story_on_a_phone_and_without_script_needs_no_scrolling_sideways(
    browser: Browser, site: DocumentSite
) -> None:
    site.write([], [], [story(), story_on_try()])
    page = browser.open(site.url(ADDRESS), size=PHONE)
    assert not scrolls_sideways(page)
    browser.shot(page, "pages-change-phone", whole=True)
    bare = browser.open(site.url(ADDRESS + "#fails"), script=False)
    expect(bare.locator("#state")).to_have_text("as of 11:31:00")
    expect(bare.locator("#fails .f.new .file")).to_have_text("/parse.t:41")


def test_a_change_of_several_pushes_has_a_section_for_each(browser: Browser, site: DocumentSite) -> None:
    site.write([], [], [story(), story_on_try()])
    page = browser.open(site.url(ADDRESS))
    assert page.get_by_role("heading", level=1).count() == 1
    expect(page.locator(".again")).to_have_text("The same change on try")
    assert page.locator(".verdict strong").all_inner_texts() == ["Not good", "Good so far"]
    assert page.locator("#fails, #fails-2").count() == 2
    expect(page.locator("#fails-2")).to_contain_text("Nothing so far.")
    site.write([], [], [story(verdict="not yet known", said="No build ran: 1 cancelled.", failures=[])])
    expect(browser.open(site.url(ADDRESS), script=False).locator("#fails")).to_contain_text("Nothing is known yet.")
    assert page.locator("aside").nth(1).inner_text().count("Node") == 1
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))


def test_hostile_text_stays_text(browser: Browser, site: DocumentSite) -> None:
    push = story()["push"] | {"user": EVIL, "stripped_at": "2026-11-22T11:40:00.000000Z"}
    evil = story(
        title=EVIL, text=f"{EVIL}\nmore {EVIL}", author=EVIL, branch=EVIL, phase=EVIL, files=[EVIL, "../../a b?c#d"],
        said=EVIL, push=push, tree=tree(name=EVIL, repo=EVIL, reason=EVIL, hg_web="javascript:alert(1)"),
        failures=[failure("new", EVIL, EVIL, EVIL, EVIL, link="javascript:alert(1)")],
        happened=[happened("11:00:00", 39, EVIL, part("plain", EVIL), part("tree", EVIL, EVIL),
                           part("node", EVIL, EVIL), part("bug", EVIL, "1;alert(1)"), part("word", EVIL, EVIL))],
    )  # fmt: skip
    site.write([], [], [evil])
    page = browser.open(site.url(ADDRESS))
    page.locator("summary").click()
    assert page.locator("img, script:not([src])").count() == 0
    assert "\u202e" not in page.locator("main").inner_text()
    assert "U+202E{{ 7 * 7 }}U+D800" in page.get_by_role("heading", level=1).inner_text()
    links = page.evaluate("[...document.links].map(each => each.protocol)")
    assert set(links) <= {"http:", "https:"}


def test_several_changes_that_begin_so_are_listed(browser: Browser, site: DocumentSite) -> None:
    other = node("1f0c5a2b0000")
    site.write([], [], [story(), story_on_try(), story(node=other, title="Another")])
    page = browser.open(site.url("/changes/1f0c5a2b"))
    assert page.locator(".matches a").all_inner_texts() == [NODE, other]
    page.get_by_label("First digits of a node").fill(other[:12])
    page.get_by_role("button", name="Look").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Another")


def test_only_digits_name_a_change_and_six_at_least(site: DocumentSite) -> None:
    site.write([], [], [story()])
    for path, status, text in (
        ("/changes/1f0c5", 400, "1f0c5 is too short"),
        ("/changes/tip", 400, "/changes/1f0c5a2be9d0"),
        ("/changes/1f0c5a2b/x", 400, "0 to 9 and a to f"),
        (f"/changes/{'a' * 65}", 400, "at most 64"),
        ("/changes/%E0%A5%A7%E0%A5%A7%E0%A5%A7%E0%A5%A7%E0%A5%A7%E0%A5%A7", 400, "0 to 9 and a to f"),
        ("/changes/1f0c5a.json.json", 400, "0 to 9 and a to f"),
        ("/changes/abcdef", 404, "No change here starts with abcdef. The log is empty."),
        ("/changes/abcdef.json", 404, "[]"),
    ):
        found = answer(site, path)
        assert found[0] == status, path
        assert text in found[2], path


def test_the_same_as_json_whatever_the_case_of_the_digits(site: DocumentSite) -> None:
    site.write([], [], [story(), story_on_try()])
    status, kind, text = answer(site, "/changes/1F0C5A2BE9.json")
    documents: list[Any] = json.loads(text)
    assert (status, kind) == (200, "application/json")
    assert [each["push"]["repo"] for each in documents] == ["integration/inbound", "try"]
    assert documents[0] == json.loads(json.dumps(story()))
    assert "Not good" in answer(site, "/changes/1F0C5A2BE9")[2]
