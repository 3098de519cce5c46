# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a person and a program read where nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from support.web.browser import PHONE, Browser, scrolls_sideways
from support.web.gateway import Gateway

_ACCEPT = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with closing(Gateway(tmp_path_factory.mktemp("errors"))) as gateway:
        gateway.start()
        yield gateway


def test_a_person_gets_a_page_with_the_head_and_a_program_one_sentence(browser: Browser, gateway: Gateway) -> None:
    plain = gateway.get("/nowhere")
    assert (plain.status, plain.text) == (404, "There is no such page.\n")
    assert plain.headers["Content-Type"] == "text/plain; charset=utf-8"
    answer = gateway.get("/nowhere", _ACCEPT)
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    browser.allow("404")
    page = browser.open(gateway.url("/nowhere?theme=dark"), size=PHONE)
    assert page.get_by_role("heading", level=1).inner_text() == "Nothing is here"
    page.get_by_text("There is no such page.").wait_for()
    assert page.get_by_role("link", name="Trees").get_attribute("href") == "/trees"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert not scrolls_sideways(page)
    browser.shot(page, "pages-error-phone-dark")


def test_what_is_refused_is_said_on_a_page_too(gateway: Gateway) -> None:
    for path, headers, status, text in (
        ("/changes/tip", {}, 400, "This address cannot be used"),
        ("/hooks", {"Via": "1.1 proxy"}, 403, "This is not for everybody"),
        ("/", {"Host": "evil.example.org"}, 421, "Another host was asked for"),
    ):
        answer = gateway.get(path, {**_ACCEPT, **headers})
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert f"<h1>{text}</h1>" in answer.text


def test_an_odd_theme_is_none(browser: Browser, gateway: Gateway) -> None:
    browser.allow("404")
    page = browser.open(gateway.url("/nowhere?theme=%22%3E%3Cscript%3E&theme=dark"), script=False)
    assert page.locator("html").get_attribute("data-theme") is None
