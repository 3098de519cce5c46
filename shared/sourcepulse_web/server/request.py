# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One request: what every answer passes, guards before it and headers with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.web.server import Request

from sourcepulse_web.server.page import sentence

if TYPE_CHECKING:
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

log = Logger()


class GatewayRequest(Request):
    """A request of this site."""

    def process(self) -> None:
        for name, value in HEADERS.items():
            self.setHeader(name, value)
        super().process()

    def render(self, resrc: IResource) -> None:
        # Twisted names itself and its version.
        self.responseHeaders.removeHeader(b"server")
        super().render(resrc)

    def processingFailed(self, reason: Failure) -> None:
        """Answer with a sentence; what failed is in the log, not in the page."""
        log.failure("a request failed", failure=reason)
        if self.startedWriting:
            self.loseConnection()
            return
        self.responseHeaders.removeHeader(b"server")
        self.write(sentence(self, 500, "This page failed; the log of the gateway says why."))
        self.finish()
