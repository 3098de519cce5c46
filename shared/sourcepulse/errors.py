# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The exceptions of sourcepulse, each with what the caller can do about it.

Each has a stable word for its kind, `reason`, by which failures are counted and alarms are raised.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOTHING = 3
EXIT_BROKER = 4
EXIT_REFUSED = 5
EXIT_OUTBOX = 6
EXIT_INTERRUPTED = 130

#: How much of a value is repeated in a message about it.
VALUE_MAX_CHARACTERS = 80


class SourcePulseError(Exception):
    """The base class of all errors that sourcepulse raises; the text is one sentence for a human reader."""

    #: The exit code of a command that fails with this error.
    exit_code = EXIT_FAILURE
    #: A stable word for the kind of failure.
    reason = "failed"


class ConfigError(SourcePulseError):
    """A setting is missing, unknown or malformed; correct it. Nothing was done."""

    exit_code = EXIT_USAGE
    reason = "configuration"


class EventError(SourcePulseError):
    """A value cannot become an event (unknown type, wrong data); correct the caller. Nothing was stored."""

    exit_code = EXIT_USAGE
    reason = "event"


class EventBuriedError(EventError):
    """The event is stored and numbered, but buried, so that it is not sent; the text has the reason."""

    exit_code = EXIT_REFUSED
    reason = "buried"


class DecodeError(SourcePulseError):
    """A received message is not an event of sourcepulse; do not retry, because a repeat will not decode either.

    `raw` holds the received bytes.
    """

    reason = "undecodable"

    def __init__(self, message: str, raw: bytes) -> None:
        super().__init__(message)
        self.raw = raw


class NothingThereError(SourcePulseError):
    """The requested item does not exist or did not arrive in time."""

    exit_code = EXIT_NOTHING
    reason = "missing"


class OutboxError(SourcePulseError):
    """The outbox cannot be used; the text names the file and the remedy."""

    exit_code = EXIT_OUTBOX
    reason = "outbox"


class OutboxLockedError(OutboxError):
    """Another process locked the outbox for longer than the caller may wait; try again later."""

    reason = "outbox-locked"


class RelayRunningError(OutboxLockedError):
    """Another relay already serves this outbox; one is enough."""

    reason = "relay-running"


class OutboxDamagedError(OutboxError):
    """The file is truncated, corrupt, foreign or from a newer version; repair or replace it."""

    reason = "outbox-damaged"


class OutboxForeignError(OutboxDamagedError):
    """The file belongs to another program or a newer version; use another file, or upgrade. Repair cannot help."""

    reason = "outbox-foreign"


class OutboxReplacedError(OutboxError):
    """The file was removed or replaced while it was open; open it again."""

    reason = "outbox-replaced"


class OutboxWriteError(OutboxError):
    """The file cannot be written (read-only, full disk, no permission); nothing was stored."""

    reason = "outbox-unwritable"


class StateError(SourcePulseError):
    """A consumer's state cannot be read or written; the text names the file and the remedy."""

    reason = "state"


class BrokerError(SourcePulseError):
    """An operation at a broker failed."""

    exit_code = EXIT_BROKER
    reason = "broker"


class BrokerUnavailableError(BrokerError):
    """The broker did not answer, blocked, disconnected or sent a nack; later send everything unsettled again."""

    reason = "unreachable"


class BrokerBlockedError(BrokerUnavailableError):
    """The broker stores nothing for now (memory or disk alarm, full store); free what it lacks. We keep trying."""

    reason = "blocked"


class BrokerUntrustedError(BrokerUnavailableError):
    """The certificate of the broker cannot be trusted; renew it, or correct the host name or `?ca=` in the URL."""

    reason = "certificate"


class BrokerRefusedUsError(BrokerUnavailableError):
    """The broker refuses this client (password, virtual host, permission); an admin must act, so retry slowly."""

    reason = "refused"


class ExchangeMissingError(BrokerRefusedUsError):
    """The exchange is missing and this client may not declare it; a consumer waits until the relay does."""

    reason = "exchange-missing"


class DestinationError(BrokerRefusedUsError):
    """The settings of a stream are wrong, or it may not go where they lead; correct them, and it is tried again."""

    reason = "configuration"


class AnnouncementError(BrokerError):
    """An event of the relay about itself or a queue could not be sent, and is dropped; other events are not delayed."""

    reason = "announcement"


class SubscriptionError(BrokerError):
    """The broker cannot provide the requested subscription; change the request."""

    exit_code = EXIT_USAGE
    reason = "subscription"


class VisibilityUnknownError(SourcePulseError):
    """It is unknown right now whether the event is public; try again later. Nothing was sent."""

    reason = "visibility-unknown"


def quoted(text: str) -> str:
    """Return the `repr` of the beginning of a text."""
    return repr(text if len(text) <= VALUE_MAX_CHARACTERS else text[:VALUE_MAX_CHARACTERS] + "...")
