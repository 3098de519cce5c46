# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The body of a POST is read as a form or as JSON, and a request that another site sent is recognised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.test.requesthelper import DummyRequest

from sourcepulse.errors import ConfigError
from sourcepulse_web.pages.hooks.asked import FORM, JSON, check_known, foreign, read


def test_a_form_and_json_say_the_same() -> None:
    form = read(f"{FORM}; charset=utf-8", b"name=+chat+&topics=hg.%23%0D%0A%0D%0Abugzilla.%23&test=on")
    program = read(JSON, b'{"name": "chat", "topics": ["hg.#", "bugzilla.#"], "test": true}')
    for asked in (form, program):
        assert (asked.text("name"), asked.lines("topics"), asked.yes("test")) == ("chat", ["hg.#", "bugzilla.#"], True)
        assert (asked.text("url"), asked.lines("none"), asked.yes("now")) == ("", [], False)


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("text/plain", b"name=chat", "Send a form"),
        ("multipart/form-data; boundary=x", b"--x--", "Send a form"),
        ("", b"name=chat", "Send a form"),
        (FORM, b"name=%ff", "UTF-8"),
        (FORM, b"&".join(b"a=1" for _ in range(40)), "at most 30 fields"),
        (JSON, b"[1]", "JSON object"),
        (JSON, b"{", "not JSON"),
        (JSON, b"[" * 9000, "not JSON"),
        (JSON, b"\xff", "not JSON"),
    ],
)
def test_another_body_is_refused_with_a_sentence(content_type: str, body: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(content_type, body)


def test_a_member_of_another_type_is_named() -> None:
    asked = read(JSON, b'{"name": ["x"], "topics": [1], "test": "yes", "letter": 7, "nme": 1}')
    for call in (lambda: asked.text("name"), lambda: asked.lines("topics"), lambda: asked.yes("test")):
        with pytest.raises(ConfigError, match="must be"):
            call()
    assert asked.text("letter") == "7"
    with pytest.raises(ConfigError, match="unknown member 'nme'"):
        check_known(asked, ("name", "topics", "test", "letter"))


@given(st.binary(max_size=200), st.sampled_from([FORM, JSON]))
def test_no_body_makes_it_fail(body: bytes, content_type: str) -> None:
    try:
        read(content_type, body)
    except ConfigError:
        return


def request(**headers: str) -> DummyRequest:
    made = DummyRequest([b"hooks"])
    for name, value in {"host": "tree.example.org", **headers}.items():
        made.requestHeaders.addRawHeader(name.replace("_", "-"), value)
    return made


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        ({}, False),
        ({"sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "same-origin", "origin": "null"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"origin": "https://tree.example.org"}, False),
        ({"origin": "https://tree.example.org:8443"}, False),
        ({"origin": "https://TREE.example.org"}, False),
        ({"origin": "http://tree.example.org"}, False),
        ({"origin": "https://tree.example.org", "x_forwarded_proto": "https"}, False),
        ({"origin": "http://tree.example.org", "x_forwarded_proto": "https"}, True),
        ({"origin": "ftp://tree.example.org"}, True),
        ({"origin": "chrome-extension://tree.example.org"}, True),
        ({"origin": "://tree.example.org"}, True),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"sec_fetch_site": "same-site", "origin": "https://tree.example.org"}, True),
        ({"sec_fetch_site": ""}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"origin": "https://"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "https://tree.example.org.evil.example"}, True),
        ({"origin": "https://evil.example", "sec_fetch_site": "same-origin"}, True),
        ({"origin": "null", "sec_fetch_site": "none"}, True),
    ],
)
def test_what_another_site_sent_is_recognised(headers: dict[str, str], is_foreign: bool) -> None:
    assert (foreign(request(**headers), ["tree.example.org"]) is not None) == is_foreign


def test_two_origins_are_none() -> None:
    made = request(origin="https://tree.example.org")
    made.requestHeaders.addRawHeader("origin", "https://tree.example.org")
    assert foreign(made, []) is not None
