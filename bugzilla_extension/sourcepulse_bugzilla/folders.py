# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which Bugzillas an outbox serves, and with which Perl: the check before publishing asks the same ones."""

from __future__ import annotations

from pathlib import Path

from sourcepulse.outbox import Outbox
from sourcepulse_bugzilla.drainer import DEFAULT_PERL

#: What the outbox calls a Bugzilla among its sources.
ORIGIN_KIND = "bugzilla"
#: How the rows of the outbox that name the Perl of a folder begin.
_PERL = "bugzilla perl "


def remember_folder(outbox: Outbox, folder: Path, perl: str) -> None:
    """Remember a folder and its Perl; cheap when both are known already."""
    outbox.remember_origin(ORIGIN_KIND, str(folder))
    if _perl_of(outbox, str(folder)) != perl:
        with outbox.writing() as db:
            db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (f"{_PERL}{folder}", perl))


def known_folders(outbox: Outbox) -> list[tuple[Path, str]]:
    """Give every folder with its Perl."""
    locations = [origin.location for origin in outbox.origins() if origin.kind == ORIGIN_KIND]
    return [(Path(location), _perl_of(outbox, location)) for location in locations]


def _perl_of(outbox: Outbox, folder: str) -> str:
    with outbox.reading() as db:
        row = db.execute("SELECT value FROM meta WHERE name = ?", (_PERL + folder,)).fetchone()
    # A repaired outbox has forgotten it.
    return str(row[0]) if row else DEFAULT_PERL
