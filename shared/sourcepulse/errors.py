# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every failure that has a name, each with what the caller can do about it."""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOTHING = 3
EXIT_BROKER = 4
EXIT_REFUSED = 5
EXIT_OUTBOX = 6
EXIT_INTERRUPTED = 130


class SourcePulseError(Exception):
    """The root of all errors that sourcepulse raises; its text is one sentence fit for a person."""

    #: What a command that ends with this error returns to the shell.
    exit_code = EXIT_FAILURE


class ConfigError(SourcePulseError):
    """A setting is missing, unknown or malformed; correct it, nothing was done."""

    exit_code = EXIT_USAGE


class EventError(SourcePulseError):
    """A value cannot become an event (unknown type, wrong data); correct the caller, nothing was stored."""

    exit_code = EXIT_USAGE


class DecodeError(SourcePulseError):
    """A received message is not one of ours; set it aside, a repeat will not decode either.

    `raw` holds the bytes as they came.
    """

    def __init__(self, message: str, raw: bytes) -> None:
        super().__init__(message)
        self.raw = raw


class NothingThereError(SourcePulseError):
    """What was asked for does not exist or did not come in time."""

    exit_code = EXIT_NOTHING


class OutboxError(SourcePulseError):
    """The outbox cannot be used; its text names the file and the repair."""

    exit_code = EXIT_OUTBOX


class OutboxLockedError(OutboxError):
    """Another process held the outbox for longer than the caller may wait; try again later."""


class RelayRunningError(OutboxLockedError):
    """Another relay serves this outbox already; one is enough."""


class OutboxDamagedError(OutboxError):
    """The file is truncated, corrupt, foreign or of a newer version; repair or replace it."""


class OutboxForeignError(OutboxDamagedError):
    """The file is another program's, or of a newer version; name another file or upgrade, nothing is to be repaired."""


class OutboxReplacedError(OutboxError):
    """The file was removed or another one was put in its place while it was open; open it again."""


class OutboxWriteError(OutboxError):
    """The file or its disk refuses writes (read-only, full, no permission); nothing was stored."""


class StateError(SourcePulseError):
    """What a consumer remembers cannot be read or written; its text names the file and the way out."""


class BrokerError(SourcePulseError):
    """Something went wrong between us and a broker."""

    exit_code = EXIT_BROKER


class BrokerUnavailableError(BrokerError):
    """The broker did not answer, blocked, closed or nacked; try later, everything unsettled again."""


class BrokerRefusedUsError(BrokerUnavailableError):
    """The broker says no to us (password, virtual host, permission); an admin must act, retry slowly."""


class ExchangeMissingError(BrokerRefusedUsError):
    """The exchange is not there and we may not make it; a consumer waits for it, for the relay makes it again."""


class SubscriptionError(BrokerError):
    """The broker cannot give the subscription that was asked for; change the request."""

    exit_code = EXIT_USAGE


class VisibilityUnknownError(SourcePulseError):
    """Nobody can say now whether the public may see this; try later, nothing was sent."""
