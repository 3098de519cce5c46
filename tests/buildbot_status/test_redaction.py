# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""No secret gets into an event: what Buildbot knows as secret, what a URL holds, what a name gives away."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_buildbot.mapping.redaction import REDACTED, Redactor, looks_secret


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://user:pw@host/path", "https://host/path"),
        ("ssh://git@host/path", "ssh://host/path"),
        ("see https://u:p@h/a and ftp://x:y@z/", "see https://h/a and ftp://z/"),
        ("https://u:p@ss@h/", "https://h/"),
        ("https://h/?token=abc&x=1", f"https://h/?token={REDACTED}&x=1"),
        ("https://h/?x=1&access_token=abc#top", f"https://h/?x=1&access_token={REDACTED}#top"),
        ("https://h/?X-Amz-Signature=abc", f"https://h/?X-Amz-Signature={REDACTED}"),
        ("https://h/?key=monkey&author=bob", "https://h/?key=monkey&author=bob"),
        ("mail bob@example.org", "mail bob@example.org"),
        ("https://h/@bob", "https://h/@bob"),
        ("half \ud800 a pair", "half ? a pair"),
    ],
)
def test_credentials_in_urls_are_taken_out_of_texts(text: str, redacted: str) -> None:
    assert Redactor().text(text) == redacted


@pytest.mark.parametrize(
    "name", ["token", "deploy_token", "API_KEY", "my.password", "passwd", "ssh-private-key", "auth"]
)
def test_a_property_with_the_name_of_a_secret_is_redacted(name: str) -> None:
    assert looks_secret(name)
    assert Redactor().property(name, {"a": 1}) == REDACTED


@pytest.mark.parametrize("name", ["monkey", "author", "passed", "tokenizer", "branch", "key", "compass"])
def test_a_name_that_only_looks_alike_does_not(name: str) -> None:
    assert not looks_secret(name)


def test_a_secret_that_is_the_beginning_of_another_leaves_nothing_of_it() -> None:
    redactor = Redactor()
    redactor.learn(["abcabc"])
    redactor.learn(["abcabcdef", " ", ""])
    assert redactor.text("abcabcdef abcabc ab") == f"{REDACTED} {REDACTED} ab"


def test_a_short_secret_is_an_ordinary_word() -> None:
    redactor = Redactor()
    redactor.learn(["build", "1", " ab  "])
    assert redactor.text("A build was forced, 1 ab") == "A build was forced, 1 ab"


def test_values_of_every_kind_become_what_json_can_say() -> None:
    value = {"a": (1, 2.5, float("nan"), None, True, b"by\xfftes", {1}), 2: object}
    redacted = Redactor().value(value)
    assert json.loads(json.dumps(redacted, allow_nan=False)) == redacted
    assert redacted["a"][:6] == [1, 2.5, None, None, True, "by\ufffdtes"]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_json, st.lists(st.text(min_size=6).filter(lambda text: len(text.strip()) >= 6), min_size=1, max_size=3))
def test_no_known_secret_is_in_any_text_of_a_value(value: object, secrets: list[str]) -> None:
    redactor = Redactor()
    redactor.learn(secrets)
    redacted = redactor.value({"before": value, "".join(secrets): [f"x{secret}y" for secret in secrets]})

    def texts(part: object) -> list[str]:
        if isinstance(part, dict):
            return [text for pair in part.items() for one in pair for text in texts(one)]
        if isinstance(part, list):
            return [text for one in part for text in texts(one)]
        return [part] if isinstance(part, str) else []

    for text in texts(redacted):
        for secret in secrets:
            if secret.strip() and secret not in REDACTED:
                assert secret not in text.replace(REDACTED, "\0")
