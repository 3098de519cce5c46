# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The Bugzillas that an outbox serves, and the Perl of each: the check before publishing asks the same ones."""

from __future__ import annotations

from pathlib import Path

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.tables import note, remove_notes, set_notes
from sourcepulse_bugzilla.perl.child import Child
from sourcepulse_bugzilla.perl.requests import DEFAULT_PERL, Drainer, command_for

#: The name in the outbox of a source that is a Bugzilla.
ORIGIN_KIND = "bugzilla"
#: How long the drain.pl of a folder may take to answer.
ANSWER_WAIT_SECONDS = 15.0
#: The prefix of the outbox rows that name the Perl of a folder.
_PERL = "bugzilla perl "


def remember_folder(outbox: Outbox, folder: Path, perl: str) -> None:
    """Record a folder that is served and its Perl; cheap when both are known already."""
    remember_perl(outbox, folder, perl)
    outbox.remember_origin(ORIGIN_KIND, str(folder))


def remember_perl(outbox: Outbox, folder: Path, perl: str) -> None:
    if perl_of(outbox, folder) != perl:
        with outbox.writing() as db:
            set_notes(db, {f"{_PERL}{folder}": perl})


def forget_folder(outbox: Outbox, folder: Path) -> None:
    outbox.forget_origin(ORIGIN_KIND, str(folder))
    with outbox.writing() as db:
        remove_notes(db, [f"{_PERL}{folder}"])


def known_folders(outbox: Outbox) -> list[Path]:
    return [Path(origin.location) for origin in outbox.origins() if origin.kind == ORIGIN_KIND]


def perl_of(outbox: Outbox, folder: Path) -> str:
    with outbox.reading() as db:
        return note(db, f"{_PERL}{folder}") or DEFAULT_PERL


def start_drainer(outbox: Outbox, folder: Path) -> Drainer:
    """Start the drain.pl of a folder with its Perl; ConfigError or SetupError if that is not possible."""
    return Drainer(Child(command_for(folder, perl_of(outbox, folder)), wait_s=ANSWER_WAIT_SECONDS))
