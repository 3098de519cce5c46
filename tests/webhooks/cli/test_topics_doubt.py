# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A topic that no event can match is doubted, and one that some event matches is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.catalogue import known_types
from sourcepulse.catalogue.addresses import address
from sourcepulse.events.topics import matches
from sourcepulse_web.webhooks.desk.doubts import topics_doubt

KEYS = [re.sub("<[^>]*>", "a", each.key) for each in map(address, known_types()) if not each.is_stand_in]


@pytest.mark.parametrize(
    ("topic", "meant"),
    [
        ("hg.push", "hg.push.#"),
        ("push", "hg.push.#"),
        ("bild.finished.#", "build.finished.#"),
        ("build.finish.#", "build.finished.#"),
        ("hg.tree.clsoed.#", "hg.tree.closed.#"),
    ],
)
def test_a_wrong_topic_is_doubted_with_the_one_that_is_meant(topic: str, meant: str) -> None:
    assert topics_doubt(["hg.#", topic]) == f"'{topic}' matches no event type; did you mean '{meant}'?"


@pytest.mark.parametrize(
    "topic", ["#", "*.push.#", "hg.push.*", "#.finished.#", "system.relay.up", "bugzilla.#.core.*"]
)
def test_what_an_event_can_match_is_not_doubted(topic: str) -> None:
    assert topics_doubt([topic]) == ""


def test_types_of_the_site_are_known() -> None:
    assert "did you mean" not in topics_doubt(["site.deploy.finished"])
    assert topics_doubt(["site.deploy.finished", "site.deploy.finished.x.y"], ["site.deploy.finished.v1"]) == ""


@given(st.sampled_from(KEYS), st.data())
def test_no_topic_that_matches_a_key_of_a_type_is_doubted(key: str, data: st.DataObject) -> None:
    words = [data.draw(st.sampled_from([word, "*", "#"])) for word in key.split(".")]
    topic = ".".join(words)
    if matches(topic, key):
        assert topics_doubt([topic]) == ""
