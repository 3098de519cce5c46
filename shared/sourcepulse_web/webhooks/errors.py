# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What can be wrong with a hook: its address, its receiver, its name, its queue, or the file that keeps it."""

from __future__ import annotations

from enum import StrEnum

from sourcepulse.errors import (
    EXIT_NOTHING,
    EXIT_OUTBOX,
    EXIT_USAGE,
    NothingThereError,
    SourcePulseError,
)


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

    exit_code = EXIT_USAGE
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


class HookExistsError(SourcePulseError):
    """The name is in use; choose another one, or remove that hook first."""

    exit_code = EXIT_USAGE
    reason = "hook-exists"


class QueueMissingError(NothingThereError):
    """The log has no queue for this hook, because it was replaced; the sender declares it again."""

    reason = "queue-missing"


class TooManyEventsError(SourcePulseError):
    """More events would be redelivered than one request may; ask for fewer. Nothing was done."""

    exit_code = EXIT_USAGE
    reason = "too-many-events"


class HookStoreError(SourcePulseError):
    """The file that keeps the hooks cannot be used; the text names it and the remedy."""

    exit_code = EXIT_OUTBOX
    reason = "hook-store"


class HookStoreLockedError(HookStoreError):
    """Another process locked the hook store for longer than the caller may wait; try again later."""

    reason = "hook-store-locked"


class HookStoreDamagedError(HookStoreError):
    """The hook store is truncated, corrupt, foreign or from a newer version; restore it from a backup."""

    reason = "hook-store-damaged"


class HookStoreReplacedError(HookStoreError):
    """The hook store was removed or replaced while it was open; open it again."""

    reason = "hook-store-replaced"


class HookStoreRefusedError(HookStoreError):
    """The hook store belongs to another user, or others could read or replace it; the text names what to do."""

    reason = "hook-store-refused"
