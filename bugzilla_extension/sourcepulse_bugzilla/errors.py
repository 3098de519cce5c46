# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What can go wrong between Bugzilla and the outbox; no sentence here holds anything of a bug."""

from __future__ import annotations

from sourcepulse.errors import EXIT_OUTBOX, EXIT_USAGE, SourcePulseError


class RowError(SourcePulseError):
    """A row cannot become events, now or later; bury it with this sentence, which names places and no values."""


class DrainerError(SourcePulseError):
    """drain.pl did not do what it was asked for; try again later, nothing was lost."""


class DrainerGoneError(DrainerError):
    """drain.pl ended or did not answer in time; start it again."""


class PausedError(DrainerError):
    """Bugzilla is down for maintenance; try again slowly."""


class LockedError(DrainerError):
    """Another drainer serves this Bugzilla; one is enough."""

    # As a second relay of an outbox.
    exit_code = EXIT_OUTBOX


class SetupError(DrainerError):
    """The extension is not set up in this Bugzilla; an administrator must act."""

    exit_code = EXIT_USAGE


class SiteConflictError(SetupError):
    """Two folders say that they are the same Bugzilla; its sentence has the command that chooses one."""
