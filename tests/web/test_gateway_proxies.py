# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A gateway behind nginx and Apache, set up as the page prints: HTTP/2, its own host, and events at once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sourcepulse.testing import system_event
from support.web.gateway import MakeGateway
from support.web.proxies import HOST, Proxy, apache, nginx

LIMIT_SECONDS = 60.0


@pytest.mark.parametrize("start", [nginx, apache])
def test_a_proxy_as_the_page_prints_it_passes_streams_on_at_once(
    start: Callable[[Path, int], AbstractContextManager[Proxy]], make_gateway: MakeGateway, tmp_path: Path
) -> None:
    gateway = make_gateway(configuration=f'[web]\nhosts = ["{HOST}"]\n')
    gateway.start()
    with start(tmp_path / "proxy", gateway.port) as proxy:
        assert ask(proxy, "/live") == "2 200 The process turns.\n"
        # Refused by the gateway, not by the proxy.
        assert ask(proxy, "/live", "--header", "Host: evil.example").startswith("2 421 This gateway does not answer")
        stream = subprocess.Popen(proxy.command("/events"), stdout=subprocess.PIPE, text=True)
        try:
            assert stream.stdout is not None
            read_until(stream, "event: hello")
            for number in range(3):
                event = system_event(number)
                gateway.append(event)
                # The next one is sent only when this one has come, so nothing holds it back until more comes.
                read_until(stream, event.id)
        finally:
            stream.kill()
            stream.communicate(timeout=LIMIT_SECONDS)


def test_nginx_as_the_page_prints_it_keeps_the_streams_of_pages_while_the_gateway_is_away(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    gateway = make_gateway(configuration=f'[web]\nhosts = ["{HOST}"]\n')
    gateway.start()
    with nginx(tmp_path / "proxy", gateway.port) as proxy:
        gateway.kill()
        show = ("--header", "Origin: https://other.example", "--dump-header", "-")
        answer = ask(proxy, "/events?topic=hg.%23", *show)
        assert answer.startswith("2 200 ")
        assert "content-type: text/event-stream" in answer
        assert "access-control-allow-origin: https://other.example" in answer
        assert answer.endswith("retry: 5000\n\n")
        assert ask(proxy, "/trees").startswith("2 503 ")


def read_until(stream: subprocess.Popen[str], word: str) -> None:
    """Read lines until one has a word; curl ends, and the test fails, at the limit of the proxy."""
    assert stream.stdout is not None
    for line in stream.stdout:
        if word in line:
            return
    pytest.fail(f"the stream ended before {word}")


def ask(proxy: Proxy, path: str, *options: str) -> str:
    """Return the version of HTTP, the status and the text of an answer."""
    command = proxy.command(path, "--write-out", "\n%{http_version} %{http_code}", *options)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    text, _, status = done.stdout.rpartition("\n")
    return f"{status} {text}"
