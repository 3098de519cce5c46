# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The list of trees, filtered, at a real gateway."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from support.brokers.embedded_log import wait_until
from support.web.board_events import Site, node
from support.web.browser import Browser
from support.web.gateway import Gateway

USER = "tr[data-repo='{}'] .cut b"


def shown(page: Page) -> list[str]:
    """Return the trees that are seen."""
    return [each.split("\n")[0] for each in page.locator("#rows tr:visible th").all_inner_texts()]


def test_a_filter_holds_when_the_list_is_read_again_and_for_new_trees(gateway: Gateway, browser: Browser) -> None:
    site = Site()
    gateway.append(*[site.push(node(1), repo=repo) for repo in ("alpha/one", "beta/two", "gamma/three")])
    # An open list of trees without any shows the first ones after a minute only.
    wait_until(lambda: "gamma" in gateway.get("/trees").text)
    page = browser.open(gateway.url("/trees?q=beta"))
    assert shown(page) == ["two"]
    gateway.append(site.push(node(2), repo="beta/two", user="carol"), site.push(node(3), repo="delta/four"))
    expect(page.locator(USER.format("beta/two"))).to_have_text("carol")
    expect(page.locator("#rows tr")).to_have_count(4)
    expect(page.locator("#total")).to_have_text("4 not known")
    assert shown(page) == ["two"]
    page.locator("#q").fill("")
    expect(page.locator("#rows tr:visible")).to_have_count(4)
    page.locator("#q").fill("nothing")
    expect(page.locator("#none")).to_have_text("No tree matches “nothing”. Clear the filter")
    plain = browser.open(gateway.url("/trees?q=gamma"), script=False)
    assert shown(plain) == ["three"]
