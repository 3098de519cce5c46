# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What can be wrong with a hook: its address is not allowed, its receiver is not reached, or there is no such hook."""

from __future__ import annotations

from sourcepulse.errors import EXIT_NOTHING, EXIT_REFUSED, NothingThereError, SourcePulseError


class AddressRefusedError(SourcePulseError):
    """The host of a webhook has an address that may not be reached; change the host, or allow it by name."""

    exit_code = EXIT_REFUSED
    reason = "address-refused"


class NoAnswerError(SourcePulseError):
    """The receiver could not be found, reached or understood; it is tried again. The text has no secret."""

    exit_code = EXIT_NOTHING
    reason = "no-answer"


class UnknownHookError(NothingThereError):
    """There is no hook of this name, or it belongs to another owner; look it up with `sourcepulse webhook list`."""

    reason = "unknown-hook"
