# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One connection: limits of sizes and times before there is a request, and errors as sentences there, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.web.http import HTTPChannel, datetimeToString

from sourcepulse_web.server.guards import check_body, check_framing
from sourcepulse_web.server.headers import HEADERS, reason_of

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from sourcepulse_web.server.site import GatewaySite

#: A request line or header, and all of them together.
LINE_MAX_BYTES = 10_240
HEADERS_MAX_BYTES = 16_384
HEADERS_MAX = 100
#: From the first byte of a request to the end of its headers, however slowly they come. A browser opens connections
#: ahead of need, so before the first byte the limit is that of an idle one.
HEADERS_SECONDS = 5.0
#: From there to the end of the body of a form.
BODY_SECONDS = 15.0
#: How long a refused client may go on sending, so that it can read the answer.
LINGER_SECONDS = 2.0


class GatewayChannel(HTTPChannel):
    """A connection of the gateway's site, which accepts a body only where there are forms."""

    MAX_LENGTH = LINE_MAX_BYTES
    totalHeadersSize = HEADERS_MAX_BYTES
    maxHeaders = HEADERS_MAX
    site: GatewaySite
    transport: Any
    _requestProducer: Any
    #: The method and the address of the request that is read. Twisted sets them, and types them as other things.
    _command: Any
    _path: Any

    def __init__(self) -> None:
        super().__init__()
        self._deadline: Any = None
        self._is_refused = False
        #: Whether it serves a stream, which looks after itself.
        self.is_stream = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connected(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._forget_deadline()
        self.site.disconnected(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._deadline is None and not self._handlingRequest:
            self._expect("request", HEADERS_SECONDS)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        # What follows a refused beginning may have been read already.
        if not self._is_refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._is_refused:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        if self._is_refused:
            return False
        refusal = check_framing(line)
        if refusal is not None:
            self.refuse(*refusal)
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        if self._is_refused:
            return
        refusal = check_body(self.site.methods_of(self._path), self._command, self.length)
        if refusal is not None:
            self.refuse(*refusal)
            return
        if self.length:
            self._expect("body", BODY_SECONDS)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if self._is_refused:
            return
        self._forget_deadline()
        super().allContentReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        del line
        self.refuse(431, "size", f"A line of the request has more than {LINE_MAX_BYTES} bytes.")

    def refuse(self, code: int, kind: str, text: str) -> None:
        """Answer a request that cannot be read, and close."""
        if self._is_refused:
            return
        self._is_refused = True
        self.clearLineBuffer()
        self._forget_deadline()
        self.setTimeout(None)
        self.site.refused(kind)
        body = f"{text}\n".encode()
        fields = {
            **HEADERS,
            "Date": datetimeToString().decode(),
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        status = b"HTTP/1.1 %d %s\r\n" % (code, reason_of(code))
        self._networkProducer.unregisterProducer()
        self.transport.write(status + head.encode() + b"\r\n" + body)
        # Closed with unread data, the connection would be reset, and the client might lose the answer.
        self.transport.loseWriteConnection()
        self._deadline = self.callLater(LINGER_SECONDS, self._abort)

    @property
    def has_waiting(self) -> bool:
        """Return whether something of an answer has not left this process."""
        waiting = self._requestProducer is not None or self.transport.dataBuffer or self.transport._tempDataBuffer
        return bool(waiting) and not self.is_stream

    def cut(self) -> None:
        """Close the connection, and drop what waits to be sent."""
        self.transport.abortConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted's own answer has neither headers nor a sentence.
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self.refuse(431, "size", f"The headers are more than {HEADERS_MAX} or have over {HEADERS_MAX_BYTES} bytes.")
        else:
            self.refuse(400, "malformed", "The request is not HTTP.")

    def _expect(self, what: str, limit_s: float) -> None:
        self._forget_deadline()
        self._deadline = self.callLater(limit_s, lambda: self._too_slow(what, limit_s))

    def _forget_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _too_slow(self, what: str, limit_s: float) -> None:
        self._deadline = None
        self.refuse(408, "slow", f"The {what} did not come within {limit_s:.0f} s.")

    def _abort(self) -> None:
        self._deadline = None
        self.transport.abortConnection()
