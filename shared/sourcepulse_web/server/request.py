# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One request: guards before any page, headers with every answer, and faults as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.web.http import NO_BODY_CODES
from twisted.web.resource import Resource
from twisted.web.server import Request

from sourcepulse.errors import BrokerUnavailableError
from sourcepulse_web.server.connection.answers import CHUNK_BYTES, Answer
from sourcepulse_web.server.guards import Place, Refusal, check, listed
from sourcepulse_web.server.headers import FORMS_REFERRER_POLICY, HEADERS, reason_of
from sourcepulse_web.server.page import AGAIN_SECONDS, Sentence, sentence

if TYPE_CHECKING:
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

    from sourcepulse_web.server.site import GatewaySite

_LOG_AWAY = 503, "The log of this gateway cannot be read at the moment; ask again soon."
_FAULT = 500, "This page failed; the log of the gateway says why."

log = Logger()


class GatewayRequest(Request):
    """A request of the gateway's site."""

    site: GatewaySite

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._body: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep what `finish` sends, but for a stream, which writes by itself."""
        channel: Any = self.channel
        if channel is None or channel.is_stream:
            super().write(data)
        else:
            self._body.append(data)

    def finish(self) -> None:
        """Send the answer, as fast as the client reads it."""
        channel: Any = self.channel
        body, self._body = b"".join(self._body), []
        if self._disconnected or self.finished or channel.is_stream:
            super().finish()
            return
        if self.method != b"HEAD" and self.code not in NO_BODY_CODES:
            self.setHeader(b"content-length", b"%d" % len(body))
        if len(body) <= CHUNK_BYTES or self.method == b"HEAD":
            super().write(body)
            super().finish()
            return
        answer = Answer(body, channel, super().write)
        answers = self.site.answers
        answers.add(answer)
        self.notifyFinish().addErrback(lambda _: answers.remove(answer))
        self.registerProducer(answer, True)
        answer.start(lambda: self._sent(answer))

    def _sent(self, answer: Answer) -> None:
        self.site.answers.remove(answer)
        self.unregisterProducer()
        super().finish()

    def process(self) -> None:
        """Refuse the request, or let the site answer."""
        channel: Any = self.channel
        for name, value in HEADERS.items():
            self.setHeader(name, value)
        if b"POST" in channel.site.methods_of(self.uri):
            self.setHeader("Referrer-Policy", FORMS_REFERRER_POLICY)
        super().process()

    def render(self, resrc: IResource) -> None:
        """Write the answer, or the refusal in its place."""
        # Twisted names itself and its version.
        self.responseHeaders.removeHeader(b"server")
        here = self.getHost()
        known = self.site.known_hosts(Place(here.host, here.port))
        hosts = self.requestHeaders.getRawHeaders(b"host") or []
        methods = self.site.methods_of(self.uri)
        refusal = check(self.method, self.uri, hosts, known, methods)
        if refusal is None and self.method == b"OPTIONS" and getattr(type(resrc), "render", None) is Resource.render:
            # Streams and their pages answer it themselves (CORS); of all others Twisted would answer with its own page.
            refusal = Refusal(405, "method", f"This page answers {listed(methods)} only.")
        if refusal is None:
            super().render(resrc)
            return
        self.site.refused(refusal.kind)
        if refusal.code == 405:
            self.setHeader(b"allow", b", ".join(methods))
        super().render(Sentence(refusal.code, refusal.text))

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        super().setResponseCode(code, message or reason_of(code))

    def processingFailed(self, reason: Failure) -> None:
        """Answer with a sentence; what failed is in the log, not in the page."""
        is_log_away = reason.check(BrokerUnavailableError) is not None
        if is_log_away:
            # Foreseen, and what failed is named in full by the error.
            log.warn("a request cannot be answered now: {reason}", reason=reason.getErrorMessage())
        else:
            log.failure("a request failed", failure=reason)
        self.site.refused("fault")
        if self.startedWriting:
            self.loseConnection()
            return
        self._body.clear()
        self.responseHeaders.removeHeader(b"server")
        if is_log_away:
            self.setHeader(b"retry-after", str(AGAIN_SECONDS).encode())
        self.write(sentence(self, *(_LOG_AWAY if is_log_away else _FAULT)))
        self.finish()
