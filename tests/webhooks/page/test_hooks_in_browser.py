# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""In a real Chromium: sign up, test, see the attempt, break the receiver, see it parked, repair, resume, redeliver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sourcepulse.catalogue import example_of
from support.web.browser import NAMED, PHONE, Browser
from support.webhooks.hooked_site import ALICE, HEADER, HookedSite
from support.webhooks.receiver import Receiver, Reply, Request

#: The usual schedule is hours long.
FAST = "retry_seconds = [0, 0.3, 1]\npoison_tries = 3\npoison_minutes = 0.01\npark_hours = 0.002\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


# A test asks for it before the browser, so that the browser ends first: a page complains when its gateway is gone.
@pytest.fixture
def site(tmp_path: Path, receiver: Receiver) -> Iterator[HookedSite]:
    with closing(HookedSite(tmp_path / "hooks", settings=FAST, sends=True, allow=receiver.allowed)) as site:
        site.start()
        yield site


@pytest.fixture
def named_site(tmp_path: Path) -> Iterator[HookedSite]:
    with closing(HookedSite(tmp_path / "named", configuration=f'[web]\nhosts = ["{NAMED}"]\n')) as site:
        site.start()
        yield site


def opened(
    browser: Browser, site: HookedSite, path: str, *, size: tuple[int, int] = (1440, 900), script: bool = True
) -> Page:
    browser.context(phone=size == PHONE, script=script).set_extra_http_headers({HEADER: ALICE})
    return browser.open(site.url(path), size=size, script=script)


def sign_up(page: Page, name: str, url: str, topics: str) -> str:
    """Add a hook by the form, and return the secret that the next page shows."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Address").fill(url)
    page.get_by_label("Events").fill(topics)
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("heading", name="Copy the secret now. It is not shown again.").wait_for()
    secret = page.locator("#secret").inner_text()
    page.get_by_role("button", name="I have put it into the receiver: send a test").click()
    page.get_by_role("heading", name="Attempts").wait_for()
    return secret


def is_signed(request: Request, secret: str) -> bool:
    """Return whether the official verifier accepts the signature."""
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


def test_a_hook_from_sign_up_to_redelivery(site: HookedSite, receiver: Receiver, browser: Browser) -> None:
    page = opened(browser, site, "/hooks")
    page.get_by_text("No hooks yet.").wait_for()
    secret = sign_up(page, "chat-room", receiver.url, "hg.#")
    # A page that is open shows what has changed since.
    page.get_by_text("✓ 204").first.wait_for()
    browser.shot(page, "hooks-tested", whole=True)
    assert is_signed(receiver.wait_for(1)[0], secret)
    site.append(example_of("hg.push"))
    delivered = receiver.wait_for(2)[1]
    assert is_signed(delivered, secret)
    expect(page.locator(".tries tbody tr")).to_have_count(2)

    receiver.usual = Reply(status=503, body=b"try later")
    site.append(example_of("hg.tree.closed"), example_of("hg.push"))
    page.locator("p.stands").get_by_text("trying again").wait_for()
    page.get_by_text("503 try later").first.wait_for()
    browser.shot(page, "hooks-failing", whole=True)
    page.locator("p.stands").get_by_text("parked").wait_for()
    page.get_by_text("2 events are kept for it").wait_for()
    browser.shot(page, "hooks-parked", whole=True)

    receiver.usual = Reply()
    before = len(receiver.requests)
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("Resumed: what waits is sent now.").wait_for()
    first, second = receiver.wait_for(before + 2)[before:]
    assert [b'"hg.tree.closed.v1"' in each.body for each in (first, second)] == [True, False]
    page.locator("p.stands").get_by_text("working").wait_for()

    row = page.locator(".tries tbody tr:not(.open)", has_text="hg.push").last
    row.get_by_role("link", name="Open").click()
    page.get_by_text(delivered.headers["webhook-id"]).wait_for()
    row.get_by_role("button", name="Send again").click()
    page.get_by_text("1 event is sent again.").wait_for()
    again = receiver.wait_for(before + 3)[-1]
    assert (again.headers["webhook-id"], again.body) == (delivered.headers["webhook-id"], delivered.body)
    assert is_signed(again, secret)
    browser.shot(page, "hooks-redelivered", whole=True)


def test_a_refused_event_is_set_aside_looked_at_dropped_and_the_secret_renewed(
    site: HookedSite, receiver: Receiver, browser: Browser
) -> None:
    receiver.rule = lambda request: Reply(status=422, body=b"unknown field") if b"hg.push" in request.body else None
    page = opened(browser, site, "/hooks", size=PHONE)
    secret = sign_up(page, "chat-room", receiver.url, "hg.#")
    site.append(example_of("hg.push"))
    page.get_by_text("Answered 422").wait_for()
    browser.shot(page, "hooks-set-aside-phone", whole=True)
    page.get_by_role("link", name="Look").click()
    page.get_by_text('"specversion"').wait_for()
    page.get_by_role("link", name="Drop").click()
    page.get_by_role("heading", name="Drop this event? It will not be sent.").wait_for()
    page.get_by_role("button", name="Drop it").click()
    page.get_by_text("Dropped: the event is not sent.").wait_for()
    assert page.get_by_text("Answered 422").count() == 0

    page.get_by_role("link", name="New secret").click()
    page.get_by_role("button", name="Make a new secret").click()
    renewed = page.locator("#secret").inner_text()
    assert renewed != secret
    page.get_by_role("link", name="I have it. See chat-room").click()
    count = len(receiver.requests)
    page.get_by_role("button", name="Send a test", exact=True).click()
    request = receiver.wait_for(count + 1)[-1]
    # Until the receiver has the new one.
    assert is_signed(request, secret)
    assert is_signed(request, renewed)


def test_the_whole_form_is_used_without_script_and_without_a_pointer(
    site: HookedSite, receiver: Receiver, browser: Browser
) -> None:
    page = opened(browser, site, "/hooks", script=False)
    page.get_by_label("Name").focus()
    for text in ("by-keys", receiver.url, "hg.#"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.get_by_role("button", name="Add", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_text("Copy the secret now.").wait_for()
    page.get_by_role("button", name="I have put it into the receiver: send a test").press("Enter")
    receiver.wait_for(1)
    page.get_by_role("button", name="Pause").press("Enter")
    page.get_by_text("Paused: nothing is sent, and events wait.").wait_for()
    page.get_by_text("Send all since …").press("Enter")
    page.get_by_label("Send all again since").press("Enter")
    page.get_by_text("Nothing is sent again, because nothing").wait_for()
    page.get_by_role("link", name="Remove").press("Enter")
    page.get_by_role("button", name="Remove it").press("Enter")
    page.get_by_text("Removed: nothing is sent to it any more.").wait_for()
    page.get_by_text("No hooks yet.").wait_for()


@pytest.mark.parametrize("script", [True, False])
def test_forms_are_sent_where_the_site_has_a_name_and_no_tls(
    named_site: HookedSite, browser: Browser, script: bool
) -> None:
    # Chromium says so of each page of such a site.
    browser.allow("Cross-Origin-Opener-Policy header has been ignored")
    browser.context(script=script).set_extra_http_headers({HEADER: ALICE})
    page = browser.open(f"http://{NAMED}:{named_site.port}/hooks", script=script)
    sign_up(page, "by-name", "http://127.0.0.1/in", "hg.#")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused: nothing is sent, and events wait.").wait_for()
