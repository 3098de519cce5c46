# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The page of hooks: fields are checked when they are left, texts of others stay texts, and it fits every window."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from sourcepulse.catalogue import example_of
from sourcepulse_web.webhooks.hook import State
from sourcepulse_web.webhooks.store.records import KeptConsent
from support.web.browser import PHONE, Browser, scrolls_sideways
from support.webhooks.hooked_site import ALICE, HEADER, HookedSite

HTML = """<script>window.pwned=1</script><img src=x onerror="pwned=1"></bdi></code>'"><b onclick=pwned=1>x</b>{{7*7}}"""
HOSTILE = HTML + "\u202egnp.exe\u2066\u200f\x07\x1b[31m\x85"
SHOWN = "<script>window.pwned=1</script>"
TURNING = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f\x07\x1b\x85"
SAFE = """() => ({
    pwned: window.pwned ?? null,
    links: [...document.links].map(each => each.href).filter(each => !/^https?:/.test(each)),
    made: [...document.querySelectorAll('script:not([src]), img, [onclick], [onerror]')].map(each => each.outerHTML),
})"""
DAY = 86_400.0
WIDE, LAPTOP = (1440, 900), (1280, 800)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HookedSite]:
    """A gateway with a hook in each state; no sender changes them."""
    with closing(HookedSite(tmp_path_factory.mktemp("hooks"))) as site:
        site.start()
        site.add("chat-room", "http://127.0.0.1/in/release-team", "hg.tree.#")
        site.add("bug-helper", "http://127.0.0.1/pulse?team=dom", "bugzilla.#", "hg.#", "build.#")
        long = "http://127.0.0.1/hooks/a-very-long-name-of-a-path-that-does-not-fit-anywhere-on-a-page/" + "x" * 300
        site.add("lab-lights", long, "build.finished.failure.#")
        site.add("old-dashboard", "http://127.0.0.1/events", "#")
        site.add("n" * 40, "http://127.0.0.1/night", "#")
        site.append(*[example_of(type_) for type_ in ("hg.push", "bugzilla.bug.changed") for _ in range(8)])
        site.set_aside("bug-helper")
        fill(site, time.time())
        yield site


def fill(site: HookedSite, now: float) -> None:
    with site.opened_store() as store:
        store.touch_sender(now + DAY)
    site.record("chat-room", at=now - 240)
    site.record("bug-helper", at=now - 900, id="2")
    site.record("lab-lights", at=now - 320, status=None, outcome="retry", reason="there was no answer within 15 s")
    site.record("bug-helper", at=now - 320, status=None, outcome="retry", reason="there was no answer within 15 s")
    values = {"status": 503, "outcome": "retry", "excerpt": HOSTILE, "headers": f"x-hostile: {HOSTILE}", "id": HOSTILE}
    site.record("bug-helper", at=now - 5, tries=3, next_at=now + 1800, source=HOSTILE, routing_key=HOSTILE, **values)
    site.record("old-dashboard", at=now - 40 * DAY, status=410, outcome="gone")
    site.set_standing("bug-helper", failing_since=now - 320, next_at=now + 1800, last_success_at=now - 900)
    site.set_standing("chat-room", last_success_at=now - 240)
    site.set_standing("lab-lights", state=State.PARKED, reason=f"no success for 72 h {HOSTILE}", since=now - 2 * DAY)
    site.set_standing("chat-room", interrupted_at=now - 3600)
    with site.opened_store() as store:
        consent = KeptConsent("http://127.0.0.1/in/release-team", granted=False, asked_at=now - 60, reason=HOSTILE)
        store.set_consent("chat-room", consent)
    assert site.post("/hooks/chat-room/edit", {"handshake": "try"}).status == 200
    site.set_standing("old-dashboard", state=State.OFF, reason="the receiver answered 410", since=now - 40 * DAY)
    site.set_standing("n" * 40, state=State.PAUSED, reason="its owner paused it", since=now - 3600)


def opened(
    browser: Browser, site: HookedSite, path: str, *, size: tuple[int, int] = WIDE, theme: str = "light"
) -> Page:
    browser.context(phone=size == PHONE).set_extra_http_headers({HEADER: ALICE})
    return browser.open(site.url(path), size=size, theme=theme)


@pytest.mark.parametrize(
    ("size", "theme"), [(WIDE, "light"), (WIDE, "dark"), (LAPTOP, "light"), (PHONE, "light"), (PHONE, "dark")]
)
def test_each_page_fits_its_window(browser: Browser, site: HookedSite, size: tuple[int, int], theme: str) -> None:
    letter = site.ask("GET", "/hooks/bug-helper?format=json").document["set_aside_events"][0]["letter"]
    names = ("", "/bug-helper?did=test", "/lab-lights", f"/{'n' * 40}", "/chat-room/edit", "/chat-room/rotate")
    for path in (*names, f"/bug-helper/drop?letter={letter}", f"/bug-helper/look?letter={letter}"):
        page = opened(browser, site, f"/hooks{path}", size=size, theme=theme)
        page.locator("h1").wait_for()
        assert not scrolls_sideways(page), path
        name = path.strip("/").partition("?")[0].replace("/", "-") or "list"
        browser.shot(page, f"hooks-{name}-{size[0]}-{theme}", whole=True)
        page.close()


SMALL = """() => [...document.querySelectorAll('.acts :is(a, button), .do :is(a, button, summary)')]
    .filter(each => each.getBoundingClientRect().height < 24).map(each => each.outerHTML)"""
#: Cells whose text runs over their edge.
OVER = """() => [...document.querySelectorAll('td')].filter(each => each.scrollWidth > each.clientWidth)
    .map(each => each.innerText)"""
NAMES = """() => [...document.querySelectorAll('.acts :is(a, button), .note .do :is(a, button)')]
    .map(each => each.ariaLabel)"""


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_links_are_large_enough_and_say_of_what_they_are_and_texts_stay_in_their_cells(
    browser: Browser, site: HookedSite, size: tuple[int, int]
) -> None:
    number = site.ask("GET", "/hooks/bug-helper?format=json").document["attempts"][0]["number"]
    page = opened(browser, site, f"/hooks/bug-helper?open={number}", size=size)
    page.get_by_role("heading", name="Attempts").wait_for()
    assert page.evaluate(SMALL) == []
    assert page.evaluate(OVER) == []
    names = page.evaluate(NAMES)
    assert None not in names
    assert len(set(names)) == len(names)
    assert page.locator("td.url:visible, .stands + p:visible").count() == (1 if size == PHONE else 6)
    assert "http where an admin allows the host" in page.locator("#url-hint").inner_text()
    browser.shot(page, f"hooks-named-{size[0]}", whole=True)


TOPS = """([parent, ...selectors]) => selectors.map(each => document.querySelector(`${parent} ${each}`))
    .map(each => Math.round(each.getBoundingClientRect().top))"""


def test_on_a_phone_what_matters_comes_first(browser: Browser, site: HookedSite) -> None:
    page = opened(browser, site, "/hooks", size=PHONE)
    row = '[data-key="lab-lights"]'
    name, state, waiting, last, address = page.evaluate(TOPS, [row, "th", ".is", ".n", "td.muted", ".url"])
    assert abs(name - state) < 4
    assert state < waiting < last < address
    heights = page.locator(".list th a").evaluate_all("all => all.map(each => each.getBoundingClientRect().height)")
    assert min(heights) >= 40
    page.close()
    page = opened(browser, site, "/hooks/bug-helper/edit", size=PHONE)
    form, hook = page.evaluate(TOPS, ["", "#form", "#chosen"])
    assert form < hook


def test_times_have_their_age_and_a_hook_that_fails_says_why_and_until_when(browser: Browser, site: HookedSite) -> None:
    page = opened(browser, site, "/hooks/bug-helper")
    stands = page.locator("p.stands").inner_text()
    assert re.search(r"since [\d:]+ \(\d+ min ago\): 503 ", stands)
    assert re.search(r"; the next attempt is at [\d:]+ \(in \d+ min\)|on .* \(in \d+ min\)", stands)
    times = page.locator(".tries tbody th").all_inner_texts()
    assert times
    assert [each for each in times if not re.search(r"[\d:]+\s+\d+ (s|min|h|d) ago", each)] == []
    assert page.locator(".tries th", has_text="Time (UTC)").count() == 1
    assert "(2 d ago)" in opened(browser, site, "/hooks/lab-lights").locator("p.stands").inner_text()


def test_a_hook_to_which_nothing_was_sent_is_called_so_and_says_what_to_do(browser: Browser, site: HookedSite) -> None:
    site.add("brand-new", "http://127.0.0.1/new", "nothing.#")
    page = opened(browser, site, "/hooks/brand-new?did=test")
    stands = " ".join(page.locator("p.stands").inner_text().split())
    assert stands == "brand-new ○ not tried yet send a test to see whether its receiver works"
    page.get_by_text("What the receiver answers is shown below").wait_for()
    expect(page.get_by_text("No attempts yet. What the receiver answers to a test")).to_have_count(1)
    page.close()
    assert site.post("/hooks/brand-new/remove").status == 200


def test_states_are_symbols_and_words(browser: Browser, site: HookedSite) -> None:
    page = opened(browser, site, "/hooks")
    states = page.locator(".list td.is").all_inner_texts()
    assert [" ".join(each.split()) for each in states] == [
        "↻ trying again",
        "● working",
        "\u00d7 parked",
        "‖ paused",
        "\u2013 off",
    ]


def test_a_page_shows_what_may_be_missing_and_what_the_receiver_consented_to(
    browser: Browser, site: HookedSite
) -> None:
    page = opened(browser, site, "/hooks/chat-room")
    expect(page.get_by_text("may be missing.")).to_have_count(1)
    page.get_by_text("Handshake: try, not granted at").wait_for()


def test_each_field_is_checked_when_it_is_left(browser: Browser, site: HookedSite) -> None:
    page = opened(browser, site, "/hooks")
    name, url, topics = (page.get_by_label(label) for label in ("Name", "Address", "Events"))
    name.click()
    page.keyboard.type("Night Report")
    page.keyboard.press("Tab")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_attribute("aria-describedby", "name-hint name-error")
    assert "small letters" in page.locator("#name-error").inner_text()
    page.keyboard.type("http://10.0.0.8/hook")
    page.keyboard.press("Tab")
    expect(url).to_have_attribute("aria-invalid", "true")
    page.keyboard.type("hg.push.#\nbugzilla.#")
    page.keyboard.press("Tab")
    page.get_by_text("Would have matched 16 events in the last 24 hours.").wait_for()
    live = page.get_by_role("link", name="Show them live").get_attribute("href") or ""
    assert live == "/?key=hg.push.%23&key=bugzilla.%23"
    browser.shot(page, "hooks-form-wrong")
    # What is sent with errors goes nowhere, and the focus is on the first of them.
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    expect(name).to_be_focused()
    name.fill("night-report")
    page.keyboard.press("Tab")
    expect(name).not_to_have_attribute("aria-invalid", "true")
    expect(page.locator("#name-error")).to_have_count(0)
    assert topics.input_value() == "hg.push.#\nbugzilla.#"
    assert site.ask("GET", "/hooks/night-report?format=json").status == 404


def test_what_receivers_answer_stays_text(browser: Browser, site: HookedSite) -> None:
    number = site.ask("GET", "/hooks/bug-helper?format=json").document["attempts"][0]["number"]
    for path in (
        "/bug-helper",
        f"/bug-helper?open={number}",
        "/lab-lights",
        "/chat-room",
        f"/bug-helper?open={HTML}&did={HTML}",
    ):
        page = opened(browser, site, f"/hooks{path}")
        page.get_by_role("heading", name="Attempts").wait_for()
        assert page.evaluate(SAFE) == {"pwned": None, "links": [], "made": []}, path
        text = page.inner_text("body")
        assert SHOWN in text, path
        titles = page.evaluate("() => [...document.querySelectorAll('[title]')].map(each => each.title).join()")
        assert [each for each in TURNING if each in text + titles + page.title()] == [], path
        page.close()


def test_an_open_page_shows_what_has_changed_and_keeps_what_is_typed_and_open(
    browser: Browser, site: HookedSite
) -> None:
    page = opened(browser, site, "/hooks/old-dashboard")
    page.get_by_text("Send all since …").click()
    page.get_by_label("Send all again since").fill("2d")
    page.get_by_label("Name").fill("half-typed")
    site.record("old-dashboard", status=200, routing_key="seen.later")
    page.get_by_text("seen.later").wait_for()
    assert page.get_by_label("Send all again since").input_value() == "2d"
    assert page.get_by_label("Name").input_value() == "half-typed"
