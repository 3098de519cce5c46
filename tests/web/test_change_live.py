# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The story of a change follows the events, and what is read stays where it is."""

from __future__ import annotations

from playwright.sync_api import expect

from support.web.board_events import Build, Site, node
from support.web.browser import Browser
from support.web.gateway import Gateway

UNIT, LINT = "linux64-debug-unit", "linux64-debug-lint"
TOP = "document.activeElement.getBoundingClientRect().top"


def test_a_story_follows_builds_tree_and_bugs_and_the_focus_stays(gateway: Gateway, browser: Browser) -> None:
    site = Site()
    unit, lint = Build(site, UNIT, node(1)), Build(site, LINT, node(1))
    gateway.append(site.push(node(0)), *Build(site, UNIT, node(0)).story())
    gateway.append(site.push(node(1)), unit.request(), lint.request(), lint.started(), site.bug(1234))
    page = browser.open(gateway.url(f"/changes/{node(1)[:12]}"), size=(1000, 500))
    expect(page.locator(".verdict strong")).to_have_text("Not yet known")
    page.evaluate("window.same = true")
    page.get_by_role("link", name=f"{LINT}: running").focus()
    page.evaluate("scrollBy(0, document.activeElement.getBoundingClientRect().top - 100)")
    top = page.evaluate(TOP)
    gateway.append(unit.started(), unit.failed("tests/parse.t"), unit.ran("failure"), unit.finished("failure"))
    expect(page.locator(".verdict strong")).to_have_text("Not good")
    expect(page.locator("#fails .f .file")).to_have_text("/parse.t:41")
    expect(page.locator("#said")).to_contain_text("Not good. 1 test fails")
    assert page.title().startswith("✖ Not good")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith(f"{LINT}: running")
    assert page.evaluate("scrollY") > 0
    assert abs(page.evaluate(TOP) - top) < 1
    gateway.append(site.tree("closed", reason="unit fails", until=None))
    expect(page.locator("#tree")).to_contain_text("unit fails")
    gateway.append(lint.finished(), site.bug(1234, "closed", is_open=False, status="RESOLVED", resolution="FIXED"))
    expect(page.locator("aside .st")).to_have_text("RESOLVED FIXED")
    expect(page.locator(".verdict p").last).to_have_text("all 2 builds ended")
    gateway.append(site.tree("open"))
    expect(page.locator("#tree")).to_have_count(0)
    gateway.append(site.hidden(1234))
    expect(page.locator("aside .st")).to_have_count(0)
    assert page.evaluate("window.same")


def test_a_story_hears_of_a_push_of_its_change_to_another_tree(gateway: Gateway, browser: Browser) -> None:
    site, release = Site(), "integration/release"
    gateway.append(site.push(node(1)))
    page = browser.open(gateway.url(f"/changes/{node(1)}"))
    expect(page.locator("#state")).to_have_text("live")
    page.evaluate("window.same = true")
    gateway.append(site.push(node(1), repo=release))
    expect(page.locator(".story")).to_have_count(2)
    gateway.append(*Build(site, UNIT, node(1), tree="release", repository=f"https://hg.example.org/{release}").story())
    expect(page.get_by_role("link", name=f"{UNIT}: passed")).to_have_count(1)
    assert page.evaluate("window.same")
