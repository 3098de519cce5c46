# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an ERROR frame means: STOMP has no codes, so the brokers' own words are read."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

#: Of the broker's words, so many are repeated.
TEXT_MAX_CHARACTERS = 500
#: The names of Java's classes mean nothing.
_STACK_LINE = re.compile(r"^\s+at .*$", re.M)
_CAUSE = re.compile(r"^Caused by: *(.*?) *$", re.M)


class Blame(Enum):
    """Who has to change something."""

    #: This message can never be stored: it is too large, or malformed for the broker.
    MESSAGE = "message"
    #: The right to write to this routing key is missing; to others it may be there.
    KEY = "routing key"
    #: Login or right is missing, or the exchange; an admin must act.
    US = "us"
    #: The queue exists and was declared otherwise.
    QUEUE = "queue"
    #: The queue or the exchange is not there.
    MISSING = "missing"
    #: Another connection holds the queue.
    LOCKED = "locked"
    #: Any of the messages under way, if there are several: the broker does not tell.
    UNTOLD = "untold"
    #: Nobody; it may go better later.
    NOBODY = "nobody"


#: RabbitMQ 3.10 to 4.1 and ActiveMQ Classic 5.17 to 6.1; the first that is found counts.
_SIGNS = (
    # First, for it names a queue, and who named that one is free to.
    (re.compile(r"store is full|memory limit|usage manager", re.I), Blame.NOBODY),
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
    # RabbitMQ, for a message that comes right behind the one that it refuses, whose own ERROR is then never sent.
    (re.compile(r"\Aprocessing error", re.I), Blame.UNTOLD),
)


class ErrorFrameError(Exception):
    """The broker sent an ERROR frame; the text holds its words, without a secret."""

    def __init__(self, frame: Any, secret: str = "") -> None:
        body = frame.body.decode("utf-8", "replace") if isinstance(frame.body, bytes) else str(frame.body or "")
        message = frame.headers.get("message", "")
        if secret:
            message, body = message.replace(secret, "***"), body.replace(secret, "***")
        # ActiveMQ's body is a Java stack: its first line says what failed, and the last cause why.
        first = next((line.strip() for line in body.splitlines() if line.strip()), "")
        causes = _CAUSE.findall(body)
        if causes and causes[-1] not in first:
            first = f"{first}: {causes[-1]}"
        self.text = (first if message in first else f"{message}: {first}".strip(": "))[:TEXT_MAX_CHARACTERS]
        self.blame = blame(_STACK_LINE.sub("", f"{message}\n{body}"))
        super().__init__(self.text)


def blame(words: str) -> Blame:
    """Read from an ERROR frame's words who has to change something."""
    return next((found for sign, found in _SIGNS if sign.search(words)), Blame.NOBODY)
