# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The live page as a reader sees it: what comes, what is waiting, what is gone, and that texts stay texts."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import time

import pytest
from playwright.sync_api import Page, expect

from sourcepulse.events.event import Event, Numbers
from support.web.browser import PHONE, Browser, scrolls_sideways
from support.web.contrast import poor_contrast
from support.web.feed import streams, until
from support.web.gateway import Gateway
from support.web.tree_events import Tree, like_recorded

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> \u202egnp.exe"
BUG_SOURCE = "bugzilla://3f0b7a52-6c1e-4d0b-9a37-1d2f5e8c4b60"


def texts(page: Page) -> list[str]:
    """Return the sentences that are shown, newest first."""
    return page.locator(".row:not([hidden]) > p").all_inner_texts()


def open_live(browser: Browser, site: Gateway, query: str = "", **how: object) -> Page:
    """Open the page and wait until it hears the bus."""
    page = browser.open(site.url(f"/{query}"), **how)  # type: ignore[arg-type]
    page.locator("#state:is(.live, .quiet)").wait_for()
    return page


def test_an_event_is_on_the_page_within_a_second_and_opens_as_json(site: Gateway, browser: Browser) -> None:
    tree = Tree("one")
    page = open_live(browser, site, "?key=hg.push.one")
    began = time.monotonic()
    (push,) = site.append(tree.push("Bug 1234 - handle empty input", user="alice"))
    row = page.locator(".row")
    row.wait_for()
    assert time.monotonic() - began < 10
    assert re.fullmatch(r"alice pushed 1 change to one [0-9a-f]{12} Bug 1234 - handle empty input", texts(page)[0])
    row.locator(".time").press("Enter")
    page.locator(".open pre", has_text="specversion").wait_for()
    assert json.loads(page.locator(".open pre").inner_text())["id"] == push.id
    facts = page.locator(".open dl").inner_text()
    assert "hg.push.one" in facts
    assert push.id in facts
    assert "1 of hg://hg.example.org/one" in facts
    page.keyboard.press("x")
    page.wait_for_url("**/?key=hg.push.one&not=hg.push.one")
    page.locator(".chip", has_text="hg.push.one").first.wait_for()
    assert texts(page) == []


def test_what_sources_write_stays_text_wherever_it_is_shown(site: Gateway, browser: Browser) -> None:
    tree = Tree("hostile")
    site.append(tree.push(HOSTILE, user="<b>eve</b>"), tree.closed(HOSTILE, user=HOSTILE))
    page = open_live(browser, site, "?key=hg.%23.hostile")
    site.append(tree.push(HOSTILE, user="<i>mallory</i>"))
    page.locator(".row", has_text="mallory").wait_for()
    for row in texts(page):
        assert "U+202Egnp.exe" in row
    page.locator(".row .time").first.click()
    page.locator(".open pre", has_text="specversion").wait_for()
    assert "\\u202e" in page.locator(".open pre").inner_text()
    assert page.locator("#main img, #main script, .banner img").count() == 0
    searched = browser.open(site.url("/?q=%3Cscript%3E&key=hg.%23.hostile"))
    assert "<script>" in searched.locator("#q").input_value()
    site.append(tree.opened())
    # While somebody reads nothing takes its room away.
    page.locator(".banner", has_text="gnp.exe").get_by_text("OPEN AGAIN").wait_for()


def test_a_closed_tree_has_a_banner_until_it_opens(site: Gateway, browser: Browser) -> None:
    tree = Tree("integration/inbound")
    page = open_live(browser, site, "?key=build.%23")
    site.append(tree.closed("unit fails, bug 1305"))
    banner = page.locator(".banner.closed", has_text="unit fails")
    banner.wait_for()
    assert banner.get_by_role("link", name="bug 1305").get_attribute("href") == (
        "https://bugs.example.org/show_bug.cgi?id=1305"
    )
    assert texts(page) == []
    later = open_live(browser, site, "?key=build.%23")
    assert later.locator(".banner.closed .tag").inner_text() == "CLOSED"
    site.append(tree.opened())
    for each in (page, later):
        each.locator(".banner.closed").wait_for(state="detached")


def test_a_gap_and_a_new_numbering_stand_in_their_place(site: Gateway, browser: Browser) -> None:
    tree = Tree("gaps")
    events = [tree.push(f"change {number}") for number in range(4)]
    numbers = [Numbers("e1", 7, 7), Numbers("e1", 8, 8), Numbers("e1", 12, 12), Numbers("e2", 1, 1)]
    numbered = [event.numbered(number) for event, number in zip(events, numbers, strict=True)]
    site.append(*numbered[:3])
    page = open_live(browser, site, "?key=hg.push.gaps")
    site.append(numbered[3])
    page.locator(".hatch", has_text="New numbering").wait_for()
    shown = page.locator("#rows > li:not(.day)").all_inner_texts()
    kinds = ["row" if "pushed" in each else each.split("\n")[0] for each in shown]
    gap = "Gap 3 events of hg://hg.example.org/gaps between 8 and 12 will not come here. Why, and what to do"
    began = f"New numbering hg://hg.example.org/gaps began again at 1 at {numbered[3].time[11:19]}."
    assert kinds == ["row", began, "row", gap, "row", "row"]


def test_a_withdrawn_event_is_replaced_in_its_place(site: Gateway, browser: Browser) -> None:
    page = open_live(browser, site, "?key=bugzilla.%23")
    site.append(_bug("bugzilla.bug.created.v1", 1234, "the secret"), _bug("bugzilla.bug.created.v1", 1235, "another"))
    for summary in ("another", "the secret"):
        page.locator(".row", has_text=summary).wait_for()
    page.locator(".row", has_text="the secret").locator(".time").click()
    page.locator(".open pre", has_text="the secret").wait_for()
    site.append(like_recorded("bugzilla.bug.hidden.v1", source=BUG_SOURCE, key=["1234"], words=["Core", "DOM"],
                              at=time.time(), subject_="bug/1234", id=1234))  # fmt: skip
    page.locator(".row.gone").wait_for()
    assert "the secret" not in page.content()
    assert page.locator(".row.gone > p").inner_text() == "withdrawn: no longer public"
    assert page.locator(".row", has_text="another").count() == 1
    assert "the secret" not in site.get("/?key=bugzilla.%23").text


def test_while_somebody_reads_events_wait_behind_a_button(site: Gateway, browser: Browser) -> None:
    tree = Tree("reading")
    page = open_live(browser, site, "?key=hg.push.reading")
    site.append(*[tree.push(f"change {number}") for number in range(40)])
    page.locator(".row").nth(39).wait_for()
    page.locator(".row .time").nth(30).focus()
    place = page.locator(".row").nth(30).bounding_box()
    site.append(tree.push("newer one"), tree.push("newer two"))
    page.get_by_role("button", name="2 newer events").wait_for()
    assert page.locator(".row").count() == 40
    page.keyboard.press(".")
    page.get_by_text("2 events added above").wait_for()
    assert "newer two" in texts(page)[0]
    after = page.locator(".row").nth(32).bounding_box()
    assert place is not None
    assert after is not None
    assert abs(place["y"] - after["y"]) < 2


def test_what_is_typed_filters_rows_and_stands_in_the_address(site: Gateway, browser: Browser) -> None:
    # Another name in each run: the site is the same when the test runs once more.
    name = f"typed{time.time_ns()}"
    tree = Tree(name)
    site.append(tree.push("apples", user="ann"), tree.push("pears", user="bo"), tree.push("plums", user="ann"))
    page = open_live(browser, site, f"?key=hg.push.{name}")
    page.keyboard.press("/")
    # The keys are loaded with the first one.
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("pears")
    page.wait_for_url("**q=pears")
    assert [row.split()[0] for row in texts(page)] == ["bo"]
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.locator("#state:is(.live, .quiet)").wait_for()
    assert [row.split()[0] for row in texts(page)] == ["bo"]
    page.locator("#q").fill("hg.tree.#")
    with page.expect_navigation():
        page.locator("#q").press("Enter")
    page.locator(".chip", has_text="hg.tree.#").wait_for()
    assert page.locator(".chip").count() == 2
    page.locator(".chip", has_text=f"hg.push.{name}").click()
    page.wait_for_url("**/?key=hg.tree.%23")


def test_without_script_there_is_a_list_a_form_and_no_claim_to_be_live(site: Gateway, browser: Browser) -> None:
    tree = Tree("plain")
    site.append(tree.push("apples"), tree.push("pears"))
    page = browser.open(site.url("/?key=hg.push.plain"), script=False)
    assert len(texts(page)) == 2
    assert re.fullmatch(r"as of \d\d:\d\d:\d\d", page.locator("#state").inner_text())
    page.locator("#q").fill("pears")
    page.locator("#q").press("Enter")
    page.wait_for_url("**key=hg.push.plain&q=pears")
    assert len(texts(page)) == 1
    assert page.locator("#pause").is_hidden()
    # A document that is not a page of ours has no icon.
    browser.allow("favicon.ico")
    page.locator(".row .time").click()
    assert json.loads(page.locator("body").inner_text())["events"][0]["event"]["data"]["repo"] == "plain"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_can_be_read_in_both_themes_and_nothing_scrolls_sideways(
    theme: str, site: Gateway, browser: Browser
) -> None:
    tree = Tree("looks")
    push = tree.push("Bug 1234 - " + "a long description " * 12, user="maximilian-alexander.vonderweidenberg")
    build = tree.build("linux64-debug-unit", push)
    site.append(push, build.started(), build.finished("failure"), tree.closed("unit fails, bug 1305"))
    page = open_live(browser, site, "?not=hg.tree.%23", theme=theme)
    page.locator(".row .time").first.click()
    page.locator(".open pre", has_text="specversion").wait_for()
    assert poor_contrast(page) == []
    browser.shot(page, f"live-{theme}")
    phone = open_live(browser, site, size=PHONE, theme=theme, reader="phone")
    assert not scrolls_sideways(phone)
    browser.shot(phone, f"live-phone-{theme}")
    site.append(tree.opened())


@pytest.mark.parametrize("name", ["Python", "curl"])
def test_what_a_page_offers_to_copy_reads_the_same_events(name: str, site: Gateway) -> None:
    tree = Tree(f"copied-{name.lower()}")
    if name == "curl" and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    text = html.unescape(site.get(f"/?key=hg.push.{tree.repo}").text)
    printed = re.search(rf"<h2>{name}</h2>\n<pre>(.*?)</pre>", text, re.DOTALL)
    assert printed is not None
    command = [sys.executable, "-uc", printed[1]] if name == "Python" else ["sh", "-c", f"exec {printed[1]}"]
    before = streams(site)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            until(lambda: streams(site) > before)
            site.append(Tree("others").push("another"), tree.push("mine"))
            assert process.stdout is not None
            lines = (line for line in process.stdout if "hg.push" in line)
            assert tree.repo in next(lines)
        finally:
            process.kill()


def test_the_address_refuses_what_cannot_be_with_a_sentence(site: Gateway) -> None:
    answer = site.get("/?key=hg..push")
    assert answer.status == 400
    assert answer.text.startswith("key=hg..push cannot be used: ")
    assert site.get("/?q=" + "x" * 300).status == 400


def _bug(type_: str, number: int, summary: str) -> Event:
    recorded = like_recorded(type_, source=BUG_SOURCE, key=["x"], words=["Core", "DOM"], at=time.time())
    bug = {**recorded.data["bug"], "id": number, "summary": summary}
    return like_recorded(type_, source=BUG_SOURCE, key=[str(number)], words=["Core", "DOM"], at=time.time(),
                         subject_=f"bug/{number}", bug=bug)  # fmt: skip
