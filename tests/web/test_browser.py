# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The browser of the tests notices what a page of ours may not do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.web.browser import PHONE, Browser, scrolls_sideways

_POLICY = "default-src 'none'; script-src 'self'; require-trusted-types-for 'script'"
_PAGES = {
    "/quiet": "<!doctype html><title>quiet</title><p>nothing happens",
    "/loud": "<!doctype html><title>loud</title><script>document.title = 'ran'</script><script src=/loud.js></script>",
    "/loud.js": "document.documentElement.innerHTML = '<b>x</b>'",
    "/asks": "<!doctype html><title>asks</title><script src=/asks.js></script>",
    "/asks.js": "alert('are you there?'); console.error('no answer'); setTimeout(() => nobody())",
    "/elsewhere": "<!doctype html><title>elsewhere</title><img src=http://elsewhere.invalid/a.png>",
    "/wide": "<!doctype html><meta name=viewport content='width=device-width'><pre>" + "wide " * 200,
}


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = _PAGES.get(self.path, "").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_that_does_nothing_wrong_has_no_faults(browser: Browser, site: str) -> None:
    page = browser.open(f"{site}/quiet")
    assert page.title() == "quiet"
    # Chromium asks for an icon, which this site does not have; that is no fault of a page.
    assert browser.faults() == []


def test_what_the_policy_blocks_is_a_fault(browser: Browser, site: str) -> None:
    page = browser.open(f"{site}/loud")
    assert page.title() == "loud"
    policies = {fault.text.partition(" ")[0] for fault in browser.faults() if fault.kind == "policy"}
    browser.allow("")
    assert policies == {"script-src-elem", "require-trusted-types-for"}


def test_errors_dialogs_and_requests_to_other_hosts_are_faults(browser: Browser, site: str) -> None:
    browser.open(f"{site}/asks")
    browser.open(f"{site}/elsewhere")
    kinds = {fault.kind for fault in browser.faults()}
    browser.allow("")
    assert {"dialog", "error", "exception", "policy"} <= kinds


def test_a_phone_is_narrow_and_readers_are_apart(browser: Browser, site: str) -> None:
    assert scrolls_sideways(browser.open(f"{site}/wide", size=PHONE))
    page = browser.open(f"{site}/quiet", theme="dark")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.evaluate("localStorage.setItem('seen', 'yes')")
    assert browser.open(f"{site}/quiet").evaluate("localStorage.getItem('seen')") == "yes"
    assert browser.open(f"{site}/quiet", reader="another").evaluate("localStorage.getItem('seen')") is None
    browser.shot(page, "quiet")
