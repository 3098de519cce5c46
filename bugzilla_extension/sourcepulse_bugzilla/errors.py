# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The errors between Bugzilla and the outbox; their messages contain nothing of a bug."""

from __future__ import annotations

from sourcepulse.errors import EXIT_OUTBOX, EXIT_USAGE, SourcePulseError


class RowError(SourcePulseError):
    """A row can never become events; bury it with this message, which names places and no values."""


class DrainerError(SourcePulseError):
    """drain.pl did not do what was requested; try again later, nothing is lost."""


class DrainerGoneError(DrainerError):
    """drain.pl ended or did not answer in time; start it again."""


class PausedError(DrainerError):
    """Bugzilla is down for maintenance; try again slowly."""


class LockedError(DrainerError):
    """Another drainer already serves this Bugzilla."""

    # The same as for a second relay of an outbox.
    exit_code = EXIT_OUTBOX


class SetupError(DrainerError):
    """The extension is not set up in this Bugzilla; an administrator must act."""

    exit_code = EXIT_USAGE


class SiteConflictError(SetupError):
    """Two folders claim to be the same Bugzilla; the message has the command that chooses one."""
