# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""nginx and Apache as the page prints them sign users in, and name them whatever a client sends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from support.web.proxies import HOST, USERS, Proxy, apache, nginx
from support.webhooks.hooked_site import ALICE, BOB, FORM, HEADER, JSON, HookedSite

LIMIT_SECONDS = 60.0
NEW = {"name": "chat-room", "url": "http://127.0.0.1/in", "topics": ["hg.#"]}
#: Ways to write the address of the page that a proxy might not recognise as it.
ODD = (
    "/%68ooks",
    "//hooks",
    "/./hooks",
    "/x/../hooks",
    "/hooks/",
    "/hooks/chat-room?format=json",
    "/HOOKS",
    "/hooks;x",
)


def ask(proxy: Proxy, path: str, *options: str, user: str = "") -> tuple[int, str]:
    """Return status and text of what a client gets, who may sign in."""
    known = ("--user", f"{user}:{USERS[user]}") if user else ()
    command = proxy.command(path, "--path-as-is", "--write-out", "\n%{http_code}", *known, *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


@pytest.mark.parametrize("start", [nginx, apache])
def test_the_proxy_names_the_user_whatever_a_client_sends(
    start: Callable[..., AbstractContextManager[Proxy]], tmp_path: Path
) -> None:
    with closing(HookedSite(tmp_path / "hooks", configuration=f'[web]\nhosts = ["{HOST}"]\n')) as site:
        site.start()
        as_alice = ("--header", f"{HEADER}: {ALICE}")
        body = ("--header", f"Content-Type: {JSON}", "--data", json.dumps(NEW))
        # With the first block of the page only, in which no user can sign in.
        with start(tmp_path / "without-users", site.port) as proxy:
            for sent in ((), body):
                status, text = ask(proxy, "/hooks?format=json", *sent, *as_alice)
                assert (status, ALICE in text) == (403, False), text
        with start(tmp_path / "proxy", site.port, users=True) as proxy:
            status, text = ask(proxy, "/hooks", *body, *as_alice, user=ALICE)
            assert status == 201, text
            # Of another site.
            assert ask(proxy, "/hooks", *body, "--header", "Origin: https://evil.example", user=ALICE)[0] == 403
            assert ask(proxy, "/hooks", *body, "--header", f"Origin: https://{HOST}", user=ALICE)[0] == 400
            assert names(ask(proxy, "/hooks?format=json", user=ALICE)) == (ALICE, ["chat-room"])
            assert names(ask(proxy, "/hooks?format=json", *as_alice, user=BOB)) == (BOB, [])
            for path in ODD:
                for sent in (as_alice, (*as_alice, *as_alice), ("--header", f"{HEADER.lower()}: {ALICE}")):
                    status, text = ask(proxy, path, *sent)
                    assert (status in (301, 401, 403, 404), "chat-room" in text) == (True, False), path
                    status, text = ask(proxy, path, *sent, user=BOB)
                    assert "127.0.0.1/in" not in text, path
            form = ("--header", f"Content-Type: {FORM}", "--data", "name=x")
            assert ask(proxy, "/hooks", *form, user=ALICE)[0] == 403


def names(answer: tuple[int, str]) -> tuple[str, list[str]]:
    status, text = answer
    assert status == 200, text
    document: dict[str, Any] = json.loads(text)
    return document["user"], [hook["name"] for hook in document["hooks"]]
