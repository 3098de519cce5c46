# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever people write into descriptions, names, reasons and tests stays text on every page."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from sourcepulse.events.event import Event
from sourcepulse.testing import system_event
from support.web.browser import Browser
from support.web.gateway import Gateway
from support.web.tree_events import Tree, like_recorded

#: HTML that runs, ends of attributes and elements, and characters that turn the direction of text or have no shape.
HTML = """<script>window.pwned=1</script><img src=x onerror="pwned=1"></bdi></p>'"><b onclick=pwned=1>x</b>{{7*7}}"""
SHAPELESS = "\u202egnp.exe\u2066\u200f\x07\x1b[31m\x85"
HOSTILE = HTML + SHAPELESS
SHOWN = "<script>window.pwned=1</script>"
SCRIPT_URL = "javascript:window.pwned=1"
REPO = "integration/inbound"
HOSTILE_REPO = "integration/'\"><img src=x onerror=pwned=1>"
SAFE = """() => ({
    pwned: window.pwned ?? null,
    links: [...document.links].map(each => each.href).filter(each => !/^https?:/.test(each)),
    made: [...document.querySelectorAll('script:not([src]), img, [onclick], [onerror]')].map(each => each.outerHTML),
})"""
#: They may stand in no text and in no attribute that is read aloud.
TURNING = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200e\u200f\x07\x1b\x85"


def events(tree: Tree, repo: str) -> list[Event]:
    """Return events of each kind that the pages draw, with hostile text wherever a source lets people write."""
    push = tree.push(f"Bug 1234 - {HOSTILE}", user=HOSTILE, author=HOSTILE, url=SCRIPT_URL, repo_url=SCRIPT_URL)
    build = tree.build(f"linux64-{HTML}", push, platform=HOSTILE, buildtype=HOSTILE)
    finished = build.finished("failure", HOSTILE)
    finished = finished._replace(data={**finished.data, "url": SCRIPT_URL, "workername": HOSTILE, "tags": [HOSTILE]})
    started = build.started()._replace(data={**build.started().data, "reason": HOSTILE, "owners": [HOSTILE]})
    failed = build.failed(f"tests/{HOSTILE}", HOSTILE, test_name=HOSTILE, step_name=HOSTILE, description=HOSTILE)
    status = system_event(len(repo), message=HOSTILE, state="down")
    status = status._replace(data={**status.data, "url": SCRIPT_URL})
    return [push, build.submitted(), started, failed, build.ran(failures=1), finished, bug(repo), status]


def bug(key: str) -> Event:
    """Return a change of the bug that the push names."""
    changed = like_recorded(
        "bugzilla.bug.changed.v1", source="bugzilla://3f0b7a52", key=[key], words=["Core"], at=1_795_345_170.0
    )
    named = {**changed.data["bug"], "id": 1234, "summary": HOSTILE}
    return changed._replace(subject="bug/1234", data={**changed.data, "bug": named})


def check(page: Page, address: str) -> None:
    assert page.evaluate(SAFE) == {"pwned": None, "links": [], "made": []}, address
    text = page.inner_text("body")
    assert SHOWN in text, address
    assert "49" not in text.partition("{{7*7}}")[0][-5:], address
    read = page.evaluate("() => [...document.querySelectorAll('[aria-label]')].map(each => each.ariaLabel).join()")
    titles = page.evaluate("() => [...document.querySelectorAll('[title]')].map(each => each.title).join()")
    assert [each for each in TURNING if each in text + read + titles + page.title()] == [], address


@pytest.mark.parametrize("live", [False, True], ids=["at load", "while the page is open"])
def test_hostile_text_stays_text(browser: Browser, gateway: Gateway, live: bool) -> None:
    tree, other = Tree(REPO), Tree(HOSTILE_REPO)
    first = tree.push("Start")
    gateway.append(first, other.push("Start"))
    hostile = events(tree, REPO)
    push = hostile[0]
    closed = [tree.closed(HOSTILE, user=HOSTILE), tree.refused(HOSTILE, user=HOSTILE)]
    every = [*hostile, *closed, *events(other, HOSTILE_REPO), other.approval(HOSTILE)]
    if not live:
        gateway.append(*every)
    addresses = [
        "/",
        "/trees",
        f"/trees/{REPO}",
        f"/trees/{REPO}?wall=1",
        f"/trees/{quote(HOSTILE_REPO)}",
        "/catalogue/hg.push",
    ]
    addresses += [] if live else [f"/changes/{push.data['last']}", f"/changes/{push.data['last'][:8]}"]
    page = browser.open("about:blank")
    pages = [browser.open(gateway.url(address)) if live else page for address in addresses]
    if live:
        gateway.append(*every)
    for address, page in zip(addresses, pages, strict=True):
        if not live or address.startswith("/catalogue"):
            page.goto(gateway.url(address))
        # A tab behind another paints nothing.
        page.bring_to_front()
        page.wait_for_function("text => document.body.innerText.includes(text)", arg=SHOWN)
        check(page, address)
