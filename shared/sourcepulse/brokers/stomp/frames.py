# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""STOMP's frames, written and read with stomp.py, and the errors that brokers send in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from enum import Enum
from typing import Any

from sourcepulse.brokers.network.connection import ForeignBytesError

_SKIP_LOOKUP = "STOMP_SKIP_HOSTNAME_SCAN"


def _import_without_lookup() -> tuple[Any, Any, Any]:
    # When it is imported, stomp.py looks up this machine's names, however long the resolver takes.
    before = os.environ.get(_SKIP_LOOKUP)
    os.environ[_SKIP_LOOKUP] = "1"
    try:
        from stomp import protocol, transport, utils
    finally:
        if before is None:
            del os.environ[_SKIP_LOOKUP]
        else:
            os.environ[_SKIP_LOOKUP] = before
    return protocol, transport, utils


_protocol, _transport, _utils = _import_without_lookup()
Frame = _utils.Frame
#: RabbitMQ's highest limit plus room for headers: no broker accepts a larger message, so none delivers one.
FRAME_MAX_BYTES = 512 * 1024 * 1024 + 16 * 1024 * 1024
#: A content length with more digits is none.
LENGTH_DIGITS = 12
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*([0-9]{1,12})\r?$", re.MULTILINE)
_ESCAPED = re.compile(r"\\.")
_PLAIN = {"\\n": "\n", "\\r": "\r", "\\c": ":", "\\\\": "\\"}
_COMMAND = re.compile(rb"[A-Z]{1,30}\r?(?:\n|\Z)")
_EOL = b"\r\n"


class NotStompError(ForeignBytesError):
    """The peer's bytes are not a STOMP frame."""


_BaseTransport: Any = _transport.BaseTransport


class _Outlet(_BaseTransport):  # type: ignore[misc] # stomp.py has no types
    """Replaces the connection of stomp.py's protocol, and passes the bytes of each frame to `write`.

    It logs nothing, because stomp.py's own log shows passwords.
    """

    def __init__(self, write: Callable[[bytes], object], vhost: str) -> None:
        super().__init__()
        self.vhost = vhost
        self.current_host_and_port = (vhost, 0)
        self._write = write

    def transmit(self, frame: Any) -> None:
        self._write(_utils.pack(_utils.convert_frame(frame)))


def frames_to(write: Callable[[bytes], object], vhost: str) -> Any:
    """Return stomp.py's STOMP 1.2 requests (send, subscribe, ack, begin, commit, ...), each written as one frame."""
    return _protocol.Protocol12(_Outlet(write, vhost))


def heartbeats(asked_ms: int, connected: Any) -> tuple[float, float]:
    """Return the heartbeat intervals in seconds, ours and the broker's; 0 for none (STOMP 1.2, "Heart-beating")."""
    answer = tuple(connected.headers.get("heart-beat", "0,0").replace(" ", "").split(","))
    ours, theirs = _utils.calculate_heartbeats(answer, (asked_ms, asked_ms))
    return ours / 1000, theirs / 1000


def take_frame(buffer: bytearray, at: int, *, most_bytes: int = FRAME_MAX_BYTES) -> tuple[Any | None, int]:
    """Parse the next frame of the received bytes, from index `at` on.

    Returns the frame, or None if it is not complete, and the index after the parsed bytes; line ends between frames
    are heartbeats. NotStompError if the bytes cannot be a frame, or the frame is longer than `most_bytes`.
    """
    end = len(buffer)
    while at < end and buffer[at] in _EOL:
        at += 1
    if at == end:
        return None, at
    if not _COMMAND.match(buffer, at):
        raise NotStompError(bytes(buffer[at : at + 32]))
    # A stranger may have written the headers. However many there are, the frame has to be read to its end.
    head_end, body = _find_head_end(buffer, at)
    if head_end < 0:
        if end - at > most_bytes:
            raise NotStompError(bytes(buffer[at : at + 32]))
        return None, at
    length = _find_length(buffer, at, head_end)
    if length is None:
        stop = buffer.find(b"\0", body)
        if stop < 0:
            if end - at > most_bytes:
                raise NotStompError(bytes(buffer[at : at + 32]))
            return None, at
    else:
        stop = body + length
        if stop - at > most_bytes:
            raise NotStompError(bytes(buffer[at : at + 32]))
        if stop >= end:
            return None, at
        if buffer[stop] != 0:
            raise NotStompError(bytes(buffer[at : at + 32]))
    command, headers = _read_head(bytes(buffer[at:head_end]))
    return Frame(command, headers, bytes(buffer[body:stop])), stop + 1


def _find_head_end(buffer: bytearray, at: int) -> tuple[int, int]:
    """Return where the head of a frame ends and its body begins; -1 if the end has not arrived."""
    end = buffer.find(b"\n\n", at)
    if end >= 0 and buffer.find(b"\r", at, end) < 0:
        # Nearly always; the expression takes five times as long.
        return end, end + 2
    found = _HEAD_END.search(buffer, at)
    return found.span() if found else (-1, -1)


def _find_length(buffer: bytearray, at: int, end: int) -> int | None:
    """Return the content length in a head, None if there is no valid one."""
    line = buffer.find(b"\ncontent-length:", at, end)
    if line < 0:
        return None
    begin = line + len(b"\ncontent-length:")
    line_end = buffer.find(b"\n", begin, end)
    value = buffer[begin : end if line_end < 0 else line_end]
    if value.isdigit() and len(value) <= LENGTH_DIGITS:
        return int(value)
    found = _CONTENT_LENGTH.search(buffer, at, end)
    return int(found[1]) if found else None


def _read_head(head: bytes) -> tuple[str, dict[str, str]]:
    """Return command and headers; of repeated headers the first counts (STOMP 1.2, "Repeated Header Entries")."""
    text = head.decode("utf-8", "replace")
    command, *lines = text.split("\n")
    if "\\" not in text and "\r" not in text:
        # Nearly always. The first of repeated headers is written last.
        return command, {name: value for name, _, value in (line.partition(":") for line in reversed(lines))}
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.removesuffix("\r").partition(":")
        if "\\" in line:
            name, value = (_ESCAPED.sub(lambda found: _PLAIN.get(found[0], found[0]), part) for part in (name, value))
        headers.setdefault(name, value)
    return command.removesuffix("\r"), headers


#: How many characters of the broker's message are shown.
TEXT_MAX_CHARACTERS = 500
#: Lines of a Java stack trace, whose class names could be mistaken for a reason.
_STACK_LINE = re.compile(r"^\s+at .*$", re.M)
_CAUSE = re.compile(r"^Caused by: *(.*?) *$", re.M)


class Blame(Enum):
    """The cause of an ERROR frame, and so what has to change."""

    #: This message can never be stored: it is too large, or malformed for the broker.
    MESSAGE = "message"
    #: We have no right to write to this routing key, but may have it for others.
    KEY = "routing key"
    #: The login is wrong, or a right is missing; an admin must act.
    US = "us"
    #: The queue exists with other properties.
    QUEUE = "queue"
    #: The queue or the exchange does not exist.
    MISSING = "missing"
    #: Another connection holds the queue.
    LOCKED = "locked"
    #: One of the messages that were sent; if there are several, the broker does not report which.
    UNKNOWN = "unknown"
    #: Nothing has to change; a later attempt may succeed.
    TEMPORARY = "temporary"


#: Messages of RabbitMQ 3.10 to 4.1 and ActiveMQ Classic 5.17 to 6.1; the first match counts.
_SIGNS = (
    # First, because this message contains the name of a queue, which could match any of the others.
    (re.compile(r"store is full|memory limit|usage manager", re.I), Blame.TEMPORARY),
    (
        re.compile(r"message size \d+ (?:is )?larger than|maximum frame size|max(?:imum)? message size", re.I),
        Blame.MESSAGE,
    ),
    (re.compile(r"access to topic '|is not authorized to write to: topic:", re.I), Blame.KEY),
    (re.compile(r"resource_locked|exclusive access to locked queue|cannot obtain exclusive", re.I), Blame.LOCKED),
    (re.compile(r"precondition_failed|inequivalent arg", re.I), Blame.QUEUE),
    (re.compile(r"not_found|no (?:exchange|queue) '", re.I), Blame.MISSING),
    (
        re.compile(
            r"access[_ ](?:refused|denied)|bad connect|password|not authorized|not_allowed|authentication|"
            r"securityexception|version mismatch|invalid protocol version|unsupported (?:stomp )?version",
            re.I,
        ),
        Blame.US,
    ),
    # RabbitMQ sends this for a message right after one that it refuses, for which it then sends no ERROR at all.
    (re.compile(r"\Aprocessing error", re.I), Blame.UNKNOWN),
)


class ErrorFrameError(Exception):
    """The broker sent an ERROR frame; the text is the broker's message, without the password."""

    def __init__(self, frame: Any, secret: str = "") -> None:
        body = frame.body.decode("utf-8", "replace") if isinstance(frame.body, bytes) else str(frame.body or "")
        message = frame.headers.get("message", "")
        if secret:
            message, body = message.replace(secret, "***"), body.replace(secret, "***")
        # ActiveMQ's body is a Java stack trace: its first line says what failed, and the last cause says why.
        first = next((line.strip() for line in body.splitlines() if line.strip()), "")
        causes = _CAUSE.findall(body)
        if causes and causes[-1] not in first:
            first = f"{first}: {causes[-1]}"
        self.text = (first if message in first else f"{message}: {first}".strip(": "))[:TEXT_MAX_CHARACTERS]
        self.blame = blame(_STACK_LINE.sub("", f"{message}\n{body}"))
        super().__init__(self.text)


def blame(words: str) -> Blame:
    """Return the cause that the words of an ERROR frame indicate."""
    return next((found for sign, found in _SIGNS if sign.search(words)), Blame.TEMPORARY)
