# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Debian's Chromium, headless, driven through playwright: what a reader sees, and what the browser complains of.

A test asks for `browser` (`tests/web/conftest.py`). Chromium starts with the first such test of a worker and ends when
the next test of that worker needs none, so a file should have only tests with a browser, or none.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser as Process
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, WebError, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from support.component import require

#: A folder; with it, `Browser.shot` writes pictures there.
SCREENSHOTS = "SCREENSHOTS"
#: Of one wait of a test for the page; a loaded machine may need most of it.
WAIT_MS = 60_000
DESK, WALL, PHONE = (1280, 800), (1920, 1080), (390, 844)
#: A name by which a page of this machine is asked for without TLS, which a browser trusts less than an address of it.
NAMED = "pulse.test"
#: The shell has no windows and menus, whose drawing is more than half of the processor time of a page.
_CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
#: A proxy of this machine knows no loopback address.
_ARGUMENTS = (
    *("--no-proxy-server", "--disable-component-update", "--mute-audio"),
    f"--host-resolver-rules=MAP {NAMED} 127.0.0.1",
)
_LOUD = ("error", "warning")
_VIOLATIONS = """addEventListener('securitypolicyviolation', event =>
    reportViolation(`${event.violatedDirective} blocked ${event.blockedURI} ${event.sample}`))"""

_LATER = "() => new Promise(done => setTimeout(done))"


class Fault(NamedTuple):
    """What the browser complained of, or a page did that none of ours may do."""

    kind: str
    text: str


def require_chromium() -> None:
    """Skip the test where it is not installed; with CI set, fail it."""
    require(_CHROMIUM is not None, "Chromium is not installed (Debian: apt-get install chromium-headless-shell)")


class Chromium:
    """One process of Chromium with playwright's driver, for many tests."""

    def __init__(self) -> None:
        self._home = tempfile.mkdtemp(prefix="chromium-")
        # By itself it waits 5 s.
        expect.set_options(timeout=WAIT_MS)
        self._playwright = sync_playwright().start()
        try:
            self.process = self._started()
        except BaseException:
            self.close()
            raise

    def _started(self) -> Process:
        # Root cannot have a sandbox, and a container may forbid one to everybody.
        for sandbox in [True, False] if os.geteuid() else [False]:
            try:
                return self._playwright.chromium.launch(
                    executable_path=_CHROMIUM,
                    args=_ARGUMENTS,
                    chromium_sandbox=sandbox,
                    env={**os.environ, "HOME": self._home},
                )
            except PlaywrightError as error:
                if not sandbox or "sandbox" not in str(error):
                    raise
        raise AssertionError("no attempt was made")

    def close(self) -> None:
        """End it, and the driver."""
        if hasattr(self, "process"):
            self.process.close()
        self._playwright.stop()
        shutil.rmtree(self._home, ignore_errors=True)


class Browser:
    """The browser of one test: nothing is left of an earlier one, and whatever Chromium complains of fails the test.

        page = browser.open(gateway.url("/trees"), theme="dark")
        page.get_by_text("inbound").wait_for()

    All pages of one `reader` share cookies, storage and the shared worker, as tabs do; another is another person.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._contexts: dict[tuple[str, bool, bool], BrowserContext] = {}
        self._faults: list[Fault] = []
        self._allowed: list[str] = []

    def open(
        self,
        url: str,
        *,
        theme: str = "light",
        size: tuple[int, int] = DESK,
        reader: str = "reader",
        script: bool = True,
    ) -> Page:
        """Open a page in a tab of its own; `script=False` turns JavaScript off."""
        page = self.context(reader, phone=size == PHONE, script=script).new_page()
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.goto(url)
        return page

    def context(self, reader: str = "reader", *, phone: bool = False, script: bool = True) -> BrowserContext:
        """Return the context of a reader, made when it is first asked for."""
        name = (reader, phone, script)
        if name not in self._contexts:
            touch: Mapping[str, Any] = {"is_mobile": True, "has_touch": True} if phone else {}
            context = self._process.new_context(java_script_enabled=script, **touch)
            context.set_default_timeout(WAIT_MS)
            context.on("console", self._on_console)
            context.on("weberror", self._on_error)
            context.on("dialog", self._on_dialog)
            context.on("request", self._on_request)
            context.expose_binding("reportViolation", lambda _, text: self._add("policy", str(text)))
            context.add_init_script(_VIOLATIONS)
            self._contexts[name] = context
        return self._contexts[name]

    def allow(self, pattern: str) -> None:
        """Expect complaints that match a regular expression, such as of a connection that the test itself cut."""
        self._allowed.append(pattern)

    def faults(self) -> list[Fault]:
        """Return what the browser complained of so far, apart from what is allowed."""
        for (*_, script), context in self._contexts.items():
            for page in context.pages:
                # Events of the browser arrive while one of its answers is waited for.
                page.evaluate(_LATER) if script else page.title()
        allowed = [re.compile(pattern) for pattern in self._allowed]
        return [fault for fault in self._faults if not any(each.search(fault.text) for each in allowed)]

    def shot(self, page: Page, name: str, *, whole: bool = False) -> None:
        """Write a picture of what is seen, or of the whole page, where the variable SCREENSHOTS names a folder."""
        if folder := os.environ.get(SCREENSHOTS):
            path = Path(folder)
            path.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=path / f"{name}.png", full_page=whole)

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts.values():
            context.close()
        self._contexts.clear()

    def _add(self, kind: str, text: str) -> None:
        self._faults.append(Fault(kind, text))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in _LOUD:
            place = message.location
            self._add(message.type, f"{message.text} ({place['url']}:{place['lineNumber']})")

    def _on_error(self, error: WebError) -> None:
        self._add("exception", f"{error.error.name}: {error.error.message}\n{error.error.stack}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._add("dialog", dialog.message)
        dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        place = urlsplit(request.url)
        if place.scheme not in ("data", "blob", "about") and place.hostname not in ("127.0.0.1", "localhost", NAMED):
            self._add("foreign request", request.url)


def try_now(page: Page) -> None:
    """Click "Try now", if the page has not reached the gateway again by itself.

    No pointer is moved, because that is a reader's, for whom events wait behind a button.
    """
    page.evaluate("document.querySelectorAll('button').forEach((it) => it.textContent === 'Try now' && it.click())")


def scrolls_sideways(page: Page) -> bool:
    """Return whether a reader must scroll a page sideways."""
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    return bool(page.evaluate(wide))
