# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A form that was open while the gateway started again comes back as it was filled in, and one click sends it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from sourcepulse.catalogue import example_of
from support.web.gateway import Answer
from support.webhooks.hooked_site import BOB, HookedSite

URL, TYPED = "http://127.0.0.1/in", "http://127.0.0.1/typed"
OURS = {"Sec-Fetch-Site": "same-origin"}
WHY = "the gateway was started again since. Nothing was done."
_FIELD = re.compile(r'<input (?:type="hidden" |id="[a-z]+" )name="([a-z]+)"(?: type="url")? value="([^"]*)"')
_AREA = re.compile(r"<textarea[^>]*>\n(.*?)</textarea>", re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HookedSite]:
    with closing(HookedSite(tmp_path_factory.mktemp("hooks"))) as site:
        site.start()
        site.add("room", URL)
        yield site


def filled_in(answer: Answer, path: str) -> dict[str, str]:
    """Return what the form that is sent to a path has in its fields, as a browser sends it with one click."""
    form = re.search(rf'<form[^>]* action="{path}".*?</form>', answer.text, re.DOTALL)
    assert form is not None, answer.text
    fields = dict(_FIELD.findall(form[0])) | dict(zip(("topics",), _AREA.findall(form[0]), strict=False))
    return {name: html.unescape(value) for name, value in fields.items()}


def names(site: HookedSite) -> set[str]:
    return {each["name"] for each in site.ask("GET", "/hooks?format=json").document["hooks"]}


def test_what_was_typed_into_the_form_of_a_new_hook_is_sent_with_one_click(site: HookedSite) -> None:
    typed = {"name": "typed", "url": TYPED, "topics": "hg.#\nbugzilla.#", "token": site.tokens("/hooks")["/hooks"]}
    typed["handshake"] = "try"
    site.stop()
    site.start()
    back = site.send_form("/hooks", typed, **OURS)
    assert (back.status, WHY in back.text, names(site)) == (403, True, {"room"})
    assert 'value="try" selected' in back.text
    assert "whsec_" not in back.text
    again = filled_in(back, "/hooks")
    assert again | {"token": "", "handshake": "try"} == typed | {"token": ""}
    assert again["token"] != typed["token"]
    done = site.send_form("/hooks", again, Origin=f"http://127.0.0.1:{site.port}")
    assert (done.status, "whsec_" in done.text, names(site)) == (200, True, {"room", "typed"})
    assert site.ask("GET", "/hooks/typed?format=json").document["url"] == TYPED


def test_a_change_and_each_action_come_back_with_their_fields(site: HookedSite) -> None:
    site.append(example_of("hg.push"))
    letter = str(site.set_aside("room"))
    letter = str(site.ask("GET", "/hooks/room?format=json").document["set_aside_events"][0]["letter"])
    for action, fields, code in (
        ("edit", {"url": TYPED, "topics": "bugzilla.#"}, 303),
        ("pause", {}, 303),
        ("resume", {}, 303),
        ("test", {}, 303),
        ("redeliver", {"since": "2h"}, 303),
        ("drop", {"letter": letter}, 303),
        ("rotate", {"now": "1"}, 200),
        ("remove", {}, 303),
    ):
        before = site.ask("GET", "/hooks/room?format=json").text
        back = site.send_form(f"/hooks/room/{action}", {**fields, "token": "of-another-process"}, **OURS)
        assert (back.status, WHY in back.text) == (403, True), action
        assert site.ask("GET", "/hooks/room?format=json").text == before
        again = filled_in(back, f"/hooks/room/{action}")
        if action == "rotate":
            assert 'name="now" value="1" checked' in back.text
            again["now"] = "1"
        assert {name: value for name, value in again.items() if name != "token"} == fields
        assert site.send_form(f"/hooks/room/{action}", again, **OURS).status == code, action
    assert "room" not in names(site)


def test_what_another_site_may_have_filled_in_gets_no_token(site: HookedSite) -> None:
    site.add("guarded", URL)
    forged = {"name": "forged", "url": TYPED, "topics": "#", "token": "x"}
    own = site.tokens("/hooks/guarded")["/hooks/guarded/pause"]
    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ):
        for path, fields in (("/hooks", forged), ("/hooks/guarded/pause", {"token": "x"})):
            answer = site.send_form(path, fields, **headers)
            assert (answer.status, "token" in answer.text, TYPED in answer.text) == (403, False, False), headers
    # Of another user's hook nothing is shown either.
    for action in ("edit", "pause", "remove"):
        theirs = site.send_form(f"/hooks/guarded/{action}", {"url": TYPED, "token": own}, user=BOB, **OURS)
        none = site.send_form(f"/hooks/no-such-hook/{action}", {"url": TYPED, "token": own}, user=BOB, **OURS)
        assert (theirs.status, theirs.text) == (404, none.text.replace("no-such-hook", "guarded"))
    assert "forged" not in names(site)
    assert site.ask("GET", "/hooks/guarded?format=json").document["state"] == "not tried yet"
