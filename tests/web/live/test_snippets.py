# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The live page offers its filter as a webhook where webhooks are on, and the topics of that let the same events in."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.catalogue import known_types
from sourcepulse.events.topics import matches
from sourcepulse.testing import system_event
from sourcepulse_web.pages.live.query import query_of
from sourcepulse_web.pages.live.snippets import snippets
from sourcepulse_web.stream.filter import filter_of
from sourcepulse_web.webhooks.hook import check_topics
from support.events.recorded import recorded_events
from support.web.gateway import Gateway

EVENTS = [event for name in ("bugzilla", "buildbot", "hg", "system") for event in recorded_events(name)]
WORDS = ("hg", "build", "push", "bugzilla", "*", "#", "v1", "finished", "bug", "changed")
PATTERNS = st.one_of(
    st.sampled_from(known_types()),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(".".join),
)


class FilteredRow(NamedTuple):
    """What a filter looks at."""

    routing_key: str
    type: str
    source: str
    body: bytes = b"{}"


def offered(**asked: list[str]) -> str:
    """Return what the page offers as a webhook."""
    query = query_of({name.encode(): [value.encode() for value in values] for name, values in asked.items()})
    found = {each.name: each.text for each in snippets("http://x", query, webhooks=True)}
    return found["Webhook"]


def topics_of(text: str) -> list[str]:
    words = shlex.split(text, comments=True)
    assert words[:5] == ["sourcepulse", "webhook", "add", "my-hook", "https://receiver.example.org/"]
    assert set(words[5::2]) == {"--topic"}
    return list(check_topics(words[6::2]))


@pytest.mark.parametrize(
    ("asked", "topics", "is_wider"),
    [
        ({}, ["#"], False),
        ({"key": ["hg.push.#", "build.finished.*"]}, ["hg.push.#", "build.finished.*"], False),
        ({"type": ["hg.push.v1", "hg.tree.*"]}, ["hg.push.#", "hg.tree.#"], False),
        ({"key": ["hg.#"], "type": ["hg.push.v1"]}, ["hg.#"], True),
        ({"key": ["hg.#"], "not": ["hg.phase.#"]}, ["hg.#"], True),
        ({"source": ["hg://hg.example.org/a"]}, ["#"], True),
        ({"q": ["crash"]}, ["#"], True),
    ],
)
def test_the_command_has_the_topics_of_the_filter_and_names_what_it_cannot_have(
    asked: dict[str, list[str]], topics: list[str], is_wider: bool
) -> None:
    text = offered(**asked)
    assert topics_of(text) == topics
    assert text.startswith("# A webhook has topics only") == is_wider


@settings(max_examples=200, deadline=None)
@given(keys=st.lists(PATTERNS, max_size=3), types=st.lists(PATTERNS, max_size=3))
def test_whatever_the_page_shows_its_webhook_gets(keys: list[str], types: list[str]) -> None:
    wanted = filter_of({"topic": keys, "type": types})
    topics = topics_of(offered(key=keys, type=types))
    for event in EVENTS:
        # A stand-in comes under the key of the event that it stands in for.
        if event.type.startswith("system.event.withheld."):
            continue
        if wanted.passes(FilteredRow(event.routing_key, event.type, event.source)):  # type: ignore[arg-type]
            assert any(matches(topic, event.routing_key) for topic in topics)


@pytest.mark.parametrize("is_on", [True, False])
def test_the_page_offers_it_only_where_webhooks_are_on(tmp_path: Path, is_on: bool) -> None:
    gateway = Gateway(tmp_path, configuration="[webhooks]\n" if is_on else "")
    try:
        gateway.start()
        gateway.append(system_event(1))
        text = html.unescape(gateway.get("/?" + urlencode({"key": "hg.tree.#"})).text)
        printed = re.search(r"<h2>Webhook</h2>\n<pre>(.*?)</pre>", text, re.DOTALL)
        assert (printed is not None) == is_on
        if printed is not None:
            assert topics_of(printed[1]) == ["hg.tree.#"]
        # As a proxy that speaks TLS says.
        proxied = gateway.get("/", {"X-Forwarded-Proto": "https"}).body.decode()
        assert f"https://127.0.0.1:{gateway.port}/events" in proxied
        assert f"http://127.0.0.1:{gateway.port}/events" not in proxied
    finally:
        gateway.close()


def test_behind_a_proxy_that_names_users_the_filter_leads_to_the_form_and_the_command_has_the_owner(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path, configuration='[webhooks]\nproxy_header = "X-Remote-User"\n')
    try:
        gateway.start()
        path = "/?" + urlencode([("key", "hg.tree.#"), ("key", "hg.push.*")])
        signed_in = {"X-Remote-User": "alice@example.org"}
        text = html.unescape(gateway.get(path, signed_in).text)
        assert "--topic 'hg.tree.#' --topic 'hg.push.*' --owner alice@example.org\n" in text
        (form,) = re.findall(r'<a href="(/hooks\?[^"]+)">Add a webhook', text)
        filled = html.unescape(gateway.get(form, signed_in).text)
        assert re.search(r"<textarea [^>]*>\nhg.tree.#\nhg.push.\*</textarea>", filled)
        assert "--owner you@example.org\n" in html.unescape(gateway.get(path).text)
    finally:
        gateway.close()
