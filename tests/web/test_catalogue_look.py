# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The catalogue in a browser: both themes, a phone, the keyboard, and without script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import expect

from sourcepulse.catalogue import example_of
from support.web.browser import PHONE, Browser, scrolls_sideways
from support.web.contrast import poor_contrast
from support.web.gateway import Gateway


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with closing(Gateway(tmp_path_factory.mktemp("catalogue"))) as gateway:
        gateway.start()
        gateway.append(example_of("hg.tree.closed"), example_of("hg.push"))
        yield gateway


@pytest.mark.parametrize(("theme", "size"), [("light", (1440, 860)), ("dark", PHONE)])
def test_a_type_fits_the_window_and_can_be_read(
    site: Gateway, browser: Browser, theme: str, size: tuple[int, int]
) -> None:
    page = browser.open(site.url("/catalogue/hg.tree.closed"), theme=theme, size=size)
    expect(page.get_by_role("heading", level=1)).to_have_text("hg.tree.closed version 1")
    assert not scrolls_sideways(page)
    assert poor_contrast(page) == []
    browser.shot(page, f"pages-catalogue-{'phone-' if size == PHONE else ''}{theme}", whole=size == PHONE)
    page.goto(site.url("/catalogue"))
    assert not scrolls_sideways(page)
    assert poor_contrast(page) == []


def test_without_script_every_link_leads_to_a_type(site: Gateway, browser: Browser) -> None:
    # The browser asks for it where it shows JSON.
    browser.allow("favicon.ico")
    page = browser.open(site.url("/catalogue"), script=False)
    page.locator(".types").get_by_role("link", name="build.finished", exact=True).click()
    page.get_by_role("link", name="normalized").first.click()
    expect(page.get_by_role("heading", name="normalized", exact=True)).to_be_in_viewport()
    page.get_by_role("link", name="JSON Schema").click()
    expect(page.locator("body")).to_contain_text("urn:sourcepulse:build.finished.v1")
