# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A page that is altered becomes the fresh one, whatever differs, and keeps the elements that both have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Page

from support.web.browser import Browser
from support.web.document_site import DocumentSite

ROUNDS = 300
#: Builds both trees, alters one, and returns where they differ; "" for nowhere.
ALTER = """async (pairs) => {
    const { alter } = await import('/static/alter.js');
    const made = ([name, attributes, children]) => {
        const element = document.createElement(name);
        for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
        element.append(...children.map(each => typeof each === 'string' ? each : made(each)));
        return element;
    };
    return pairs.flatMap(([old, fresh]) => {
        const [a, b] = [made(old), made(fresh)];
        document.body.replaceChildren(a);
        const whole = b.outerHTML;
        const now = alter(a, b);
        return now.isEqualNode(b) && b.outerHTML === whole ? [] : [[now.outerHTML, whole]];
    });
}"""
KEPT = """async () => {
    const { alter } = await import('/static/alter.js');
    const list = (...keys) => {
        const ol = document.createElement('ol');
        for (const key of keys) {
            const li = document.createElement('li');
            li.dataset.key = key;
            const link = document.createElement('a');
            link.href = '#' + key;
            li.append(link);
            ol.append(li);
        }
        return ol;
    };
    const old = list('a', 'b', 'c', 'd');
    document.body.replaceChildren(old);
    const [, b, , d] = old.children;
    b.firstChild.focus();
    const details = document.createElement('details');
    old.append(details);
    details.open = true;
    const fresh = list('x', 'b', 'y', 'd', 'e');
    fresh.append(document.createElement('details'));
    alter(old, fresh);
    return [document.activeElement === b.firstChild, old.children[1] === b, old.children[3] === d, details.open,
        old.children.length];
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentSite]:
    with closing(DocumentSite(tmp_path_factory.mktemp("site"))) as site:
        yield site


@pytest.fixture
def page(site: DocumentSite, browser: Browser) -> Page:
    browser.allow("404")
    return browser.open(site.url("/nowhere"))


def tree(dice: random.Random, depth: int = 3) -> list[Any]:
    """Return an element with attributes, texts and children, some with keys, also twice the same."""
    attributes = {name: str(dice.randrange(3)) for name in ("class", "title", "data-key") if dice.random() < 0.4}
    children: list[Any] = []
    for _ in range(dice.randrange(5) if depth else 0):
        children.append(tree(dice, depth - 1) if dice.random() < 0.7 else dice.choice(["one", "two", " "]))
    return [dice.choice(["p", "b", "ul"]), attributes, children]


def test_what_is_altered_is_like_the_fresh_one(page: Page) -> None:
    dice = random.Random(18)
    assert page.evaluate(ALTER, [[tree(dice), tree(dice)] for _ in range(ROUNDS)]) == []


def test_what_both_have_stays_with_its_focus(page: Page) -> None:
    assert page.evaluate(KEPT) == [True, True, True, True, 6]
