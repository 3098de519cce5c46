# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pages of hooks have no more script and style than the design allows, and load what is used when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page

from support.web.browser import Browser
from support.webhooks.hooked_site import ALICE, HEADER, HookedSite

SCRIPT_MAX_BYTES, STYLE_MAX_BYTES = 20_000, 12_000
SIZES = """async () => {
  const got = performance.getEntriesByType("resource").filter(each => each.name.includes("/static/"));
  const worker = await (await fetch("/static/worker.js")).text();
  const sizes = got.map(each => [each.name.split("/static/")[1], each.decodedBodySize]);
  return Object.fromEntries([...sizes, ["worker.js", new TextEncoder().encode(worker).length]]);
}"""
KNOWN = "() => !document.getElementById('state').textContent.startsWith('as of')"


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HookedSite]:
    with closing(HookedSite(tmp_path_factory.mktemp("weight"))) as site:
        site.start()
        site.add("chat-room")
        yield site


def weight(page: Page, kind: str) -> int:
    page.wait_for_function(KNOWN)
    found: dict[str, int] = page.evaluate(SIZES)
    return sum(size for name, size in found.items() if name.endswith(kind))


def test_a_page_of_hooks_is_light(site: HookedSite, browser: Browser) -> None:
    browser.context().set_extra_http_headers({HEADER: ALICE})
    for path in ("/hooks", "/hooks/chat-room", "/hooks/chat-room/rotate"):
        page = browser.open(site.url(path))
        assert weight(page, ".js") <= SCRIPT_MAX_BYTES
        assert weight(page, ".css") <= STYLE_MAX_BYTES
        page.close()
