# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What can be wrong with a hook: its address is not allowed, its receiver is not reached, or there is no such hook."""

from __future__ import annotations

from enum import StrEnum

from sourcepulse.errors import EXIT_NOTHING, EXIT_REFUSED, NothingThereError, SourcePulseError


class Problem(StrEnum):
    """Why an attempt has no whole answer: a stable word, by which attempts are counted."""

    #: There is a whole answer.
    NONE = "none"
    #: The URL, the secret or the file of the bearer token; the owner or the admin must act.
    SETTINGS = "settings"
    #: The name has no address, or was not looked up in time.
    NAME = "name"
    #: The name has an address that is not allowed.
    ADDRESS = "address"
    #: No connection, or it broke.
    CONNECTION = "connection"
    #: The certificate is not trusted.
    CERTIFICATE = "certificate"
    TLS = "tls"
    #: Not within the seconds of an attempt.
    TIME = "time"
    #: The answer ended before its announced end.
    CUT = "cut"
    NOT_HTTP = "not-http"
    #: The headers of the answer are too long.
    TOO_LONG = "too-long"


class AddressRefusedError(SourcePulseError):
    """The host of a webhook has an address that may not be reached; change the host, or allow it by name."""

    exit_code = EXIT_REFUSED
    reason = "address-refused"


class NoAnswerError(SourcePulseError):
    """The receiver could not be found, reached or understood; it is tried again. The text has no secret."""

    exit_code = EXIT_NOTHING
    reason = "no-answer"

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(message)
        self.problem = problem


class UnknownHookError(NothingThereError):
    """There is no hook of this name, or it belongs to another owner; look it up with `sourcepulse webhook list`."""

    reason = "unknown-hook"
