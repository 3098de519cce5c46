# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The feed of the pages: one stream for all tabs, which resumes, and a state word that claims only what is known."""

from __future__ import annotations

import time

from playwright.sync_api import Page

from sourcepulse.events.event import Event
from support.web.browser import Browser, try_now
from support.web.feed import streams, until
from support.web.gateway import Gateway, MakeGateway
from support.web.tree_events import Tree

CI = "buildbot://ci"
ALLOWED = r"ERR_|net::|status of 5"


def live(page: Page) -> Page:
    page.locator("#state:is(.live, .quiet)").wait_for()
    return page


def users(page: Page) -> list[str]:
    """Return who pushed what is shown, oldest first."""
    return [text.split()[0] for text in reversed(page.locator(".row > p").all_inner_texts())]


def test_all_tabs_share_one_stream_and_each_shows_what_its_filter_lets_through(site: Gateway, browser: Browser) -> None:
    ones, twos = Tree("ones"), Tree("twos")
    first = live(browser.open(site.url("/?key=hg.push.ones")))
    second = live(browser.open(site.url("/?key=hg.push.twos")))
    third = live(browser.open(site.url("/?key=hg.push.%23&not=hg.push.twos")))
    site.append(ones.push("a", user="ann"), twos.push("b", user="bo"), ones.push("c", user="cy"))
    for page, expected in ((first, ["ann", "cy"]), (second, ["bo"]), (third, ["ann", "cy"])):
        page.locator(".row").nth(len(expected) - 1).wait_for()
        assert users(page) == expected
    assert streams(site) == 1
    for page in (first, second):
        page.close()
    site.append(ones.push("d", user="di"))
    third.locator(".row", has_text="di pushed").wait_for()
    third.close()
    until(lambda: streams(site) == 0)


def test_without_a_shared_worker_a_tab_has_its_own_stream(site: Gateway, browser: Browser) -> None:
    tree = Tree("alone")
    browser.context("old").add_init_script("delete self.SharedWorker")
    pages = [live(browser.open(site.url("/?key=hg.push.alone"), reader="old")) for _ in range(2)]
    assert streams(site) == 2
    site.append(tree.push("a", user="ann"))
    for page in pages:
        page.locator(".row", has_text="ann pushed").wait_for()


def test_a_restart_neither_loses_nor_doubles_an_event(make_gateway: MakeGateway, browser: Browser) -> None:
    browser.allow(ALLOWED)
    gateway = make_gateway()
    gateway.start()
    tree = Tree("inbound")
    pages = [live(browser.open(gateway.url(f"/?key=hg.push.inbound&q={each}"))) for each in ("", "pushed")]
    gateway.append(tree.push("a", user="u1"))
    for page in pages:
        page.locator(".row", has_text="u1 pushed").wait_for()
    gateway.kill()
    pages[0].locator("#state.broken").wait_for()
    gateway.append(tree.push("b", user="u2"), tree.push("c", user="u3"))
    pages[0].locator(".banner.broken", has_text="What you see ends there.").wait_for()
    assert pages[0].locator("#slot").inner_text().startswith("stopped at ")
    gateway.start()
    try_now(pages[0])
    for page in pages:
        live(page)
        page.locator(".row", has_text="u3 pushed").wait_for()
        assert users(page) == ["u1", "u2", "u3"]
        assert page.locator(".banner.broken").count() == 0
        assert page.locator(".hatch").count() == 0
    gateway.restart()
    gateway.append(tree.push("d", user="u4"))
    for page in pages:
        page.locator(".row", has_text="u4 pushed").wait_for()
        assert users(page) == ["u1", "u2", "u3", "u4"]


def test_a_log_that_was_replaced_shows_as_a_reset(make_gateway: MakeGateway, browser: Browser) -> None:
    browser.allow(ALLOWED)
    gateway = make_gateway()
    gateway.start()
    tree = Tree("inbound")
    gateway.append(tree.push("a", user="u1"))
    page = live(browser.open(gateway.url("/")))
    gateway.stop()
    for path in gateway.log.parent.glob("log.db*"):
        path.unlink()
    gateway.append(tree.push("b", user="u2"))
    gateway.start()
    page.locator(".hatch", has_text="Reset").wait_for()
    page.locator(".row", has_text="u2 pushed").wait_for()
    assert users(page) == ["u1", "u2"]
    assert "An unknown number of events" in page.locator(".hatch").inner_text()


def test_the_state_word_follows_the_heartbeats_in_each_tab(make_gateway: MakeGateway, browser: Browser) -> None:
    gateway = make_gateway()
    gateway.start()
    gateway.append(heartbeat(1, late_s=240))
    pages = []
    for _ in range(2):
        pages.append(browser.open(gateway.url("/")))
        pages[-1].locator("#state.behind").wait_for()
        assert pages[-1].locator("#age").inner_text() == f"4 min late: 212 events of {CI} on their way"
    gateway.append(heartbeat(2, late_s=None, interval_s=1))
    # The page hears of it with the next keep-alive, and a second later than three intervals it is silent.
    for page in pages:
        page.locator(".banner.broken", has_text=f"No word from {CI} since").wait_for()
        assert page.locator("#state").inner_text() == "broken"
    # It ended as it was asked to, after it was stuck for a while.
    gateway.append(stopped())
    for page in pages:
        page.locator("#state:not(.broken)").wait_for()
        page.locator(".banner.broken", has_text="No word").wait_for(state="detached")


def stopped() -> Event:
    data = {"message": "the relay ends as it was asked to", "until": None, "url": None, "figures": None}
    return Event.of("system.relay.stopped.v1", source="system://a", key=["stopped", "1"], subject="relay",
                    time=time.time(), data=data, words=[])  # fmt: skip


def heartbeat(number: int, *, late_s: int | None, interval_s: int = 3600) -> Event:
    waiting = 0 if late_s is None else 212
    state = {"source": CI, "sequence": None, "types": [], "pending": waiting, "oldest_age_s": late_s}
    data = {"interval_s": interval_s, "epoch": "e", "pending": waiting, "oldest_age_s": late_s, "buried": 0}
    return Event.of("system.relay.heartbeat.v1", source="system://a", key=[str(number)], subject="relay",
                    time=time.time(), data={**data, "sources": [state], "truncated": []}, words=[])  # fmt: skip


CONDITION = """async (given) => {
  const { condition } = await import("/static/state.js");
  const at = (seconds) => 1e9 - seconds * 1000;
  const usual = { interval_s: 30, names: "buildbot://ci", worst: "buildbot://ci", waiting: 212 };
  const beats = given.beats.map(([ago_s, late_s]) => ({ ...usual, at: at(ago_s), late_s }));
  const heard = at(given.heard), last = at(given.last);
  return condition({ now: 1e9, open: given.open, heard, last, beats, late_s: given.late }).join("|");
}"""
STATES = [
    ({}, "live|last event |4 s ago|"),
    ({"last": 8040}, "quiet|no event for |2 h 14 min|; the bus answered 6 s ago, so nothing is wrong"),
    ({"last": 8040, "beats": []}, "quiet|no event for |2 h 14 min|; the gateway answered 1 s ago, so nothing is wrong"),
    ({"beats": [[6, 240]]}, "behind||4 min late|: 212 events of buildbot://ci on their way"),
    ({"beats": [[6, 60]]}, "live|last event |4 s ago|"),
    ({"late": 10}, "live|last event |4 s ago|"),
    ({"late": 12}, "behind||12 s late|: the gateway reads too slowly"),
    ({"beats": [[90, 0]]}, "live|last event |4 s ago|"),
    ({"beats": [[6, 240], [91, 0]]}, "broken|no word from buildbot://ci for |1 min 31 s|"),
    ({"heard": 36}, "broken|nothing heard for |36 s|"),
    ({"open": False, "heard": 72, "beats": [[91, 0]]}, "broken|nothing heard for |1 min 12 s|"),
]


def test_the_state_word_means_what_the_design_says_and_the_worst_wins(site: Gateway, browser: Browser) -> None:
    page = browser.open(site.url("/?key=nothing.here"))
    usual = {"open": True, "heard": 1, "last": 4, "beats": [[6, 0]], "late": 0}
    assert [page.evaluate(CONDITION, usual | given) for given, _ in STATES] == [word for _, word in STATES]


def test_patterns_match_in_the_browser_as_on_the_bus(site: Gateway, browser: Browser) -> None:
    page = browser.open(site.url("/?key=nothing.here"))
    row = '{ key, type: "hg.push.v1", source: "hg://h/r" }'
    why = f'async ([needs, key]) => (await import("/static/state.js")).why(needs, {row})'
    for topic, keys, others in (
        ("hg.push.#", ["hg.push", "hg.push.a", "hg.push.a.b"], ["hg.pushed", "build.push"]),
        ("*.push.*", ["hg.push.a"], ["hg.push", "hg.push.a.b"]),
        ("#.a", ["a", "hg.push.a"], ["hg.push.ba"]),
        ("#", ["a", "hg.push"], []),
        ("hg.#.b", ["hg.b", "hg.a.b"], ["hg"]),
    ):
        assert [page.evaluate(why, [{"topics": [topic]}, key]) for key in keys] == [topic] * len(keys)
        assert [page.evaluate(why, [{"topics": [topic]}, key]) for key in others] == [""] * len(others)
    assert page.evaluate(why, [{"exclude": ["hg.#"]}, "hg.push"]) == ""
    assert page.evaluate(why, [{"types": ["hg.push.*"], "sources": ["hg://h/r"]}, "k"]) == "hg.push.*"
    assert page.evaluate(why, [{"sources": ["hg://h/other"]}, "k"]) == ""
