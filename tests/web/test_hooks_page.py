# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The list of queues is for the operator only, and says what waits for whom."""

from __future__ import annotations

import html
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.catalogue import example_of
from support.streams.freeze import stop_threads
from support.web.browser import PHONE, Browser, scrolls_sideways
from support.web.gateway import Gateway, MakeGateway


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose log has a queue that is read and one that is not."""
    with closing(Gateway(tmp_path_factory.mktemp("hooks"))) as gateway:
        gateway.start()
        for name, topics in (("alice.<b>chat</b>", ["hg.#"]), ("bug-helper", ["bugzilla.#", "build.finished.#"])):
            with consumer(gateway, name, topics):
                pass
        gateway.append(*map(example_of, ("hg.push", "hg.tree.closed", "bugzilla.bug.changed")))
        yield gateway


def consumer(gateway: Gateway, name: str, topics: list[str]) -> Consumer:
    return Consumer(f"file://{gateway.log}", topics=topics, queue=name, durable=True, state=":memory:")


def texts(answer: str) -> list[list[str]]:
    """Return the cells of each row."""
    rows = re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", answer, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(html.unescape(re.sub(r"<[^>]+>", "", cell)).split()) for cell in row] for row in cells]


def test_a_queue_shows_what_waits_and_whether_it_is_read(site: Gateway) -> None:
    with consumer(site, "bug-helper", ["bugzilla.#", "build.finished.#"]):
        first, second = texts(site.get("/hooks").text)
    assert first[:4] == ["alice.<b>chat</b>", "hg.#", "\u2013 not read now", "2"]
    assert second[:3] == ["bug-helper", "bugzilla.# build.finished.#", "● working"]
    assert second[5] == "now"


def test_who_asks_for_the_list_very_often_at_once_leaves_threads_for_others(site: Gateway) -> None:
    with ExitStack() as stack:
        asking = []
        # So that all of them are there when the gateway goes on.
        stop_threads(site.pid)
        try:
            for _ in range(40):
                connection = socket.create_connection(("127.0.0.1", site.port), timeout=60)
                asking.append(stack.enter_context(connection))
                connection.sendall(
                    b"GET /hooks HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % site.port
                )
        finally:
            os.kill(site.pid, signal.SIGCONT)
        statuses = [connection.makefile("rb").readline().split()[1] for connection in asking]
    assert set(statuses) == {b"200", b"503"}
    assert site.get("/hooks").status == 200


def test_others_than_the_operator_are_refused(site: Gateway) -> None:
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto"):
        answer = site.get("/hooks", {header: "127.0.0.1"})
        assert answer.status == 403
        assert "chat" not in answer.text
        assert "sourcepulse queues" in answer.text
    # What nginx sends where nothing else is configured.
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as plain:
        plain.sendall(f"GET /hooks HTTP/1.0\r\nHost: 127.0.0.1:{site.port}\r\nConnection: close\r\n\r\n".encode())
        assert plain.makefile("rb").readline().split()[1] == b"403"
    assert "Make a queue" not in site.get("/catalogue/hg.push", {"X-Forwarded-For": "1.2.3.4"}).text


def test_a_gateway_with_a_public_name_shows_no_queues_for_any_host(
    make_gateway: MakeGateway,
) -> None:
    gateway = make_gateway(configuration='[web]\nhosts = ["pulse.example.org"]\n')
    gateway.start()
    for host, status in (
        ("pulse.example.org", 403),
        (f"localhost:{gateway.port}", 403),
        (f"127.0.0.1:{gateway.port}", 403),
    ):
        assert gateway.get("/hooks", {"Host": host}).status == status


def test_a_pattern_that_cannot_be_used_is_refused(site: Gateway) -> None:
    assert site.get("/hooks?key=hg.push.%24").status == 400
    assert site.get("/hooks?" + "key=a&" * 20).status == 400


def test_the_printed_programs_make_a_queue(gateway: Gateway, tmp_path: Path) -> None:
    page = gateway.get("/hooks?key=hg.push.%23&key=hg.tree.%23").text
    assert "No queues yet." in page
    terminal, python = (html.unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL))
    words = [sys.executable, "-m", "sourcepulse.cli", *shlex.split(terminal)[1:], "--timeout", "0.2"]
    home = {"XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run(words, check=False, timeout=60, env=home, capture_output=True)
    assert texts(gateway.get("/hooks").text)[0][:2] == ["my-tool", "hg.push.# hg.tree.#"]
    gateway.append(example_of("hg.push"))
    once = python.replace("durable=True", "durable=True, timeout=0.2")
    ran = subprocess.run([sys.executable, "-c", once], timeout=60, env=home, capture_output=True, text=True, check=True)
    assert ran.stdout == "hg.push.v1 server\n"


@pytest.mark.parametrize("size", [(1440, 700), PHONE])
def test_the_list_fits_the_window(browser: Browser, site: Gateway, size: tuple[int, int]) -> None:
    page = browser.open(site.url("/hooks"), size=size, theme="dark" if size == PHONE else "light")
    page.get_by_text("alice.<b>chat</b>").wait_for()
    assert not scrolls_sideways(page)
    browser.shot(page, f"pages-hooks-{'phone' if size == PHONE else 'light'}", whole=True)
