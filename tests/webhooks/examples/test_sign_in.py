# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""nginx behind a single sign-on, as the page prints it, names the user whom that names, whatever a browser sends."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.fenced_blocks import block
from support.web.proxies import Proxy, nginx
from support.webhooks.receiver import Receiver, Reply, Request

LIMIT_SECONDS = 60.0
PRINTED = "shared/docs/webhooks.md: location = /sign-in/check {"
HEADER = "x-remote-user"
NAME = "alice@example.org"
FORGED = ("--header", f"{HEADER}: mallory@example.org", "--header", "X_Remote_User: mallory@example.org")
SIGNED_IN = ("--cookie", f"session={NAME}")


def ask(proxy: Proxy, path: str, *options: str) -> int:
    command = proxy.command(path, "--output", "/dev/null", "--write-out", "%{http_code}", *options)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    return int(done.stdout)


def users(request: Request) -> list[str]:
    """Return the values of the header; the gateway takes one with underscores for another header."""
    lines = [line.partition(":") for line in request.lines]
    return [value.strip() for name, _, value in lines if name.lower() == HEADER]


def decides(request: Request) -> Reply:
    """Answer as a single sign-on does."""
    user = request.headers.get("cookie", "").removeprefix("session=")
    return Reply(status=202, headers=(("x-auth-request-email", user),)) if user else Reply(status=401)


def test_the_gateway_hears_of_the_user_whom_the_single_sign_on_names(tmp_path: Path) -> None:
    with Receiver(usual=Reply(status=200)) as gateway, Receiver(rule=decides) as service:
        text = block(PRINTED).text
        text = text.replace("127.0.0.1:4180", f"127.0.0.1:{service.port}")
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}")
        with nginx(tmp_path / "proxy", gateway.port, inside=text) as proxy:
            assert [ask(proxy, path, *FORGED) for path in ("/hooks", "/hooks/chat-room", "/sign-in/check")] == [
                401,
                401,
                404,
            ]
            assert gateway.requests == []
            for options in (SIGNED_IN, (*SIGNED_IN, *FORGED), (*SIGNED_IN, *FORGED, "--data", "name=x")):
                assert ask(proxy, "/hooks/chat-room", *options) == 200
                assert users(gateway.requests[-1]) == [NAME]
            assert (gateway.requests[-1].body, service.requests[-1].body) == (b"name=x", b"")
            assert ask(proxy, "/trees", *SIGNED_IN, *FORGED) == 200
            assert users(gateway.requests[-1]) == []
