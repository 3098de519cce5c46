# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The page of a hook names events as the live page does, with links, and of a withdrawn one it shows nothing."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sourcepulse.catalogue import example_of
from sourcepulse.events.event import Event
from sourcepulse_web.pages.hooks.words import rules
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from support.events.bugzilla_events import Site
from support.web.gateway import EXCHANGE
from support.webhooks.hooked_site import HookedSite

SECRET = "the-quick-brown-secret"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HookedSite]:
    with closing(HookedSite(tmp_path)) as site:
        site.start()
        site.add("chat", "http://127.0.0.1/in", "#")
        yield site


def try_all(site: HookedSite, *events: Event) -> list[int]:
    """Publish events, record an attempt for each, and return the numbers of the attempts."""
    site.append(*events)
    with closing(HookQueues(site.log, EXCHANGE)) as queues:
        held = queues.look("chat", 100)
    names = ("position", "source", "id", "type", "routing_key")
    return [
        site.record("chat", status=503, outcome="retry", **{name: getattr(each, name) for name in names})
        for each in held
    ]


def words(site: HookedSite, path: str) -> str:
    """Return the text of a page."""
    return " ".join(html.unescape(re.sub("<[^>]*>", "", site.ask("GET", path).text)).split())


def test_the_page_names_events_in_sentences_with_their_times_and_links(site: HookedSite) -> None:
    push, build = example_of("hg.push"), example_of("build.finished")
    try_all(site, push, build)
    site.set_aside("chat")
    text, page = words(site, "/hooks/chat"), site.ask("GET", "/hooks/chat").text
    sentence = f"{push.data['user']} pushed {push.data['count']} change"
    assert text.count(sentence) == 2, "as an attempt, and set aside"
    assert page.count(f'<a href="/changes/{push.data["last"]}">') >= 2
    assert f'<a href="{build.data["url"]}">' in page
    assert f'<time datetime="{push.time[:19]}' in page
    oldest = " ".join(site.ask("GET", "/hooks/chat?format=json").document["oldest"]["sentence"].split())
    assert re.search(r"Oldest that waits, since [^(]+ \(\d+ s ago\): " + re.escape(oldest), text)


def test_once_an_event_is_withdrawn_no_page_shows_anything_of_it(site: HookedSite) -> None:
    bugzilla = Site()
    numbers = try_all(site, *[bugzilla.changed(1, SECRET) for _ in range(3)])
    site.set_aside("chat")
    letter = site.ask("GET", "/hooks/chat?format=json").document["set_aside_events"][0]["letter"]
    paths = (
        "/hooks/chat",
        f"/hooks/chat?open={numbers[0]}",
        f"/hooks/chat/look?letter={letter}",
        f"/hooks/chat/drop?letter={letter}",
        "/hooks/chat?format=json",
    )
    assert all(SECRET in site.ask("GET", path).text for path in paths)
    site.append(bugzilla.bug_hidden(1))
    for path in paths:
        answer = site.ask("GET", path)
        assert (answer.status, SECRET in answer.text) == (200, False), path
    page = site.ask("GET", "/hooks/chat").text
    assert (page.count(">Send again<"), page.count(">Drop<")) == (0, 1)
    assert words(site, "/hooks/chat").count("no longer public") == 4, "three attempts, and what waits"
    assert "Set aside: It is not public any more" in words(site, "/hooks/chat")


def test_what_a_bugzilla_hid_before_the_log_hears_of_it_is_not_opened_either(site: HookedSite) -> None:
    number, *_ = try_all(site, Site().changed(1, SECRET))
    site.set_aside("chat")
    (event,) = site.ask("GET", "/hooks/chat?format=json").document["set_aside_events"]
    paths = ("/hooks/chat", f"/hooks/chat?open={number}", f"/hooks/chat/look?letter={event['letter']}")
    assert all(SECRET in site.ask("GET", path).text for path in paths)
    with site.opened_store() as store:
        store.attempts.forget([(event["source"], event["id"])], 2e9)
    assert [path for path in paths if SECRET in site.ask("GET", path).text] == []


def test_the_rules_name_the_shorter_time_of_a_refused_event_where_there_is_one() -> None:
    usual = WebhookSettings()
    off = replace(usual, schedule=replace(usual.schedule, poison_again_s=usual.schedule.poison_s))
    with_it, without = (next(each for each in rules(made, None) if "set aside" in each) for made in (usual, off))
    assert "5 times over 10 min, or over 1 min at most within an hour of another one, is set aside" in with_it
    assert "5 times over 10 min, is set aside" in without
