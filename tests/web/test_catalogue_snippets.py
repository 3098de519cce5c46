# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The programs of the catalogue run as they are printed, and show what comes."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from queue import Empty, Queue
from threading import Thread
from uuid import uuid4

import pytest

from sourcepulse.catalogue import example_of
from support.component import require
from support.web.browser import Browser
from support.web.gateway import Gateway

LIMIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all programs."""
    with closing(Gateway(tmp_path_factory.mktemp("gateway"))) as gateway:
        gateway.start()
        yield gateway


def programs(gateway: Gateway, type_: str) -> dict[str, str]:
    """Return the programs of a type by their language."""
    found = re.findall(
        r'<pre tabindex="0" class="(\w+)"[^>]*>(.*?)</pre>', gateway.get(f"/catalogue/{type_}").text, re.S
    )
    return {language: html.unescape(text) for language, text in found}


def append(gateway: Gateway, type_: str) -> None:
    """Append one more event: a repeat of one would be left out."""
    gateway.append(example_of(type_)._replace(id=str(uuid4()), numbers=None))


@contextmanager
def running(command: list[str]) -> Iterator[Queue[str]]:
    """Run a program and yield the lines that it prints."""
    lines: Queue[str] = Queue()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    reader = Thread(target=lambda out: [lines.put(line) for line in out], args=(process.stdout,))
    reader.start()
    try:
        yield lines
    finally:
        process.kill()
        process.wait()
        reader.join()


def until(lines: Queue[str], gateway: Gateway, type_: str, text: str) -> str:
    """Append such events until a program, which may have just started, prints a line with a text."""
    for _ in range(int(LIMIT_SECONDS / 0.2)):
        append(gateway, type_)
        try:
            while text not in (line := lines.get(timeout=0.2)):
                pass
        except Empty:
            continue
        return line
    raise AssertionError("the program printed nothing")


def test_the_python_program_prints_what_comes(gateway: Gateway) -> None:
    text = programs(gateway, "hg.tree.closed")["python"]
    with running([sys.executable, "-u", "-c", text]) as lines:
        assert until(lines, gateway, "hg.tree.closed", "hg.") == "hg.tree.closed.v1 server closed\n"


def test_the_command_of_the_terminal_prints_what_comes(gateway: Gateway) -> None:
    require(shutil.which("curl") is not None, "curl is not installed")
    text = programs(gateway, "hg.push")["sh"]
    with running(["sh", "-c", f"exec {text}"]) as lines:
        assert until(lines, gateway, "hg.push", 'data: {"specversion"').startswith("data: {")


@pytest.mark.parametrize("type_", ["build.finished", "system.event.withheld"])
def test_the_program_of_the_browser_logs_what_comes(gateway: Gateway, browser: Browser, type_: str) -> None:
    text = programs(gateway, type_)["js"]
    page = browser.open(gateway.url("/catalogue"))
    said: Queue[str] = Queue()
    page.on("console", lambda message: said.put(message.text))
    page.evaluate(f"() => {{ {text} }}")
    for _ in range(100):
        append(gateway, type_)
        page.wait_for_timeout(100)
        if not said.empty():
            break
    assert said.get(timeout=1).startswith(f"{type_}.v1 ")
