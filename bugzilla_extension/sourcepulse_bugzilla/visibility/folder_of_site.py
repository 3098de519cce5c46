# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The one folder that serves a site id; only one may, because a copy of a Bugzilla misses later privacy changes."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sourcepulse.errors import ConfigError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import clear_problem, set_problem
from sourcepulse.outbox.tables import note, notes, remove_notes, set_notes
from sourcepulse_bugzilla.errors import DrainerError, SiteConflictError
from sourcepulse_bugzilla.perl.requests import DEFAULT_PERL, has_extension
from sourcepulse_bugzilla.visibility.folders import (
    forget_folder,
    known_folders,
    perl_of,
    remember_folder,
    remember_perl,
    start_drainer,
)

#: The name in `status` of the problem that two folders have one site id.
TWO_FOLDERS = "bugzilla-two-folders"
OTHERS_WRITE = 0o022

#: The prefixes of the outbox rows that name the folder of a site, and other folders that claim the same site.
_SITE = "bugzilla site "
_RIVAL = "bugzilla rival "

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """The site id of a folder; None if the folder `is_gone`, or cannot be asked now for a `reason`."""

    site: str | None = None
    is_gone: bool = False
    reason: str = ""

    def may_be(self, site: str) -> bool:
        """Return whether the folder is this site, as far as is known."""
        return not self.is_gone and self.site in (None, site)


class Rival(NamedTuple):
    """A folder that may be the same site as another, and the reason if it cannot be asked."""

    folder: Path
    reason: str = ""


#: Asks a folder for its site id.
Ask = Callable[[Outbox, Path], Answer]


def ask_folder(outbox: Outbox, folder: Path) -> Answer:
    """Start the drain.pl of a folder that the outbox names, and return its answer."""
    try:
        if not has_extension(folder):
            return Answer(is_gone=True)
        if not is_ours_alone(outbox.path):
            return Answer(reason=f"{outbox.path} can be written by others, and it names the program to run")
        with start_drainer(outbox, folder) as drainer:
            return Answer(site=drainer.hello().site)
    except (DrainerError, ConfigError) as error:
        return Answer(reason=str(error))
    except OSError as error:
        return Answer(reason=error.strerror or type(error).__name__)


def is_ours_alone(path: Path) -> bool:
    """Return whether only we may write to a file; the outbox names programs that we start."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS_WRITE


def folder_of(outbox: Outbox, site: str) -> Path | None:
    """Return the folder that serves a site, None if no sidecar has recorded one."""
    with outbox.reading() as db:
        folder = note(db, _SITE + site)
    return Path(folder) if folder else None


def open_site(outbox: Outbox, site: str, folder: Path, perl: str, ask: Ask = ask_folder) -> None:
    """Record that this folder serves the site.

    SiteConflictError if another one does; then `status` shows it, and nothing is published until one is claimed.
    """
    while (recorded := folder_of(outbox, site)) != folder:
        others = _unrecorded(outbox) if recorded is None else [recorded]
        answers = {other: _ask_other(outbox, other, folder, ask) for other in others if other != folder}
        for other, answer in answers.items():
            if answer.may_be(site):
                remember_perl(outbox, folder, perl)
                with outbox.writing() as db:
                    set_notes(db, {_rival(site, folder): str(folder)})
                raise _conflict(outbox, site, Rival(other, answer.reason), Rival(folder))
        if _record(outbox, site, folder, instead_of=recorded):
            for other, answer in answers.items():
                if answer.is_gone:
                    forget_folder(outbox, other)
            if recorded is not None:
                logger.info("%s serves the Bugzilla %s from now on, %s no longer does", folder, site, recorded)
            break
    remember_folder(outbox, folder, perl)
    _standing_rivals(outbox, site, ask)


def claim_site(outbox: Outbox, site: str, folder: Path, perl: str, ask: Ask = ask_folder) -> None:
    """Record that this folder serves the site, whatever was recorded, and forget the other folders."""
    recorded = folder_of(outbox, site)
    others = {*_rivals(outbox, site), *([recorded] if recorded else ())}
    for other in _unrecorded(outbox):
        answer = ask(outbox, other)
        if answer.is_gone or answer.site == site:
            others.add(other)
    remember_folder(outbox, folder, perl)
    with outbox.writing() as db:
        set_notes(db, {_SITE + site: str(folder)})
        remove_notes(db, [_rival(site, other) for other in others | {folder}])
    # A folder that also serves another site is kept.
    for other in others.difference(_rows(outbox, _SITE)):
        forget_folder(outbox, other)
    clear_problem(outbox, TWO_FOLDERS, place=site)
    logger.info("%s is the Bugzilla %s from now on", folder, site)


def serving_folder(outbox: Outbox, site: str, ask: Ask = ask_folder) -> Path | None:
    """Return the only folder that may be asked about the events of a site; None if none is known.

    SiteConflictError if an administrator must choose.
    """
    recorded = folder_of(outbox, site)
    if recorded is not None:
        if rivals := _standing_rivals(outbox, site, ask):
            raise _conflict(outbox, site, Rival(recorded), rivals[0])
        return recorded
    # An outbox of an earlier version: a single folder in it is asked for its site id anyway.
    candidates = sorted({*_unrecorded(outbox), *_rivals(outbox, site)})
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    answers = [(folder, ask(outbox, folder)) for folder in candidates]
    possible = [Rival(folder, answer.reason) for folder, answer in answers if answer.may_be(site)]
    if len(possible) > 1:
        raise _conflict(outbox, site, *possible[:2])
    clear_problem(outbox, TWO_FOLDERS, place=site)
    return possible[0].folder if possible else None


def _ask_other(outbox: Outbox, other: Path, folder: Path, ask: Ask) -> Answer:
    """Ask another folder; one that is only another path to ours no longer counts."""
    try:
        if other.samefile(folder):
            return Answer(is_gone=True)
    except OSError:
        pass
    return ask(outbox, other)


def _unrecorded(outbox: Outbox) -> list[Path]:
    """Return the folders whose site id was never recorded."""
    recorded = set(_rows(outbox, _SITE))
    return [folder for folder in known_folders(outbox) if folder not in recorded]


def _standing_rivals(outbox: Outbox, site: str, ask: Ask) -> list[Rival]:
    """Return the folders besides the recorded one that may still be the site; the others are forgotten."""
    standing = []
    for folder in _rivals(outbox, site):
        answer = ask(outbox, folder)
        if answer.may_be(site):
            standing.append(Rival(folder, answer.reason))
        else:
            with outbox.writing() as db:
                remove_notes(db, [_rival(site, folder)])
    if not standing:
        clear_problem(outbox, TWO_FOLDERS, place=site)
    return standing


def _conflict(outbox: Outbox, site: str, *rivals: Rival) -> SiteConflictError:
    """Record the problem, and return an error with the same text, whichever folder came first."""
    first, second = sorted(rivals)
    doubts = [f" ({rival.folder} cannot be asked: {rival.reason})" for rival in rivals if rival.reason]
    sentence = (
        f"{first.folder} and {second.folder} are the same Bugzilla {site}{''.join(doubts)}; nothing of it is published "
        f"until you choose: end the sidecar of the other folder, and run `{_command(outbox, first.folder)}` or "
        f"`{_command(outbox, second.folder)}`"
    )
    set_problem(outbox, TWO_FOLDERS, sentence, place=site)
    return SiteConflictError(sentence)


def _command(outbox: Outbox, folder: Path) -> str:
    perl = perl_of(outbox, folder)
    named = () if perl in (DEFAULT_PERL, shutil.which(DEFAULT_PERL)) else ("--perl", perl)
    where = ("--bugzilla", str(folder), "--outbox", str(outbox.path))
    return shlex.join(["sourcepulse", "bugzilla-sidecar", *where, *named, "--claim", "--once"])


def _record(outbox: Outbox, site: str, folder: Path, *, instead_of: Path | None) -> bool:
    """Record the folder of a site; return False if another process was faster."""
    with outbox.writing() as db:
        known = note(db, _SITE + site)
        if (Path(known) if known else None) != instead_of:
            return False
        set_notes(db, {_SITE + site: str(folder)})
        remove_notes(db, [_rival(site, folder)])
    return True


def _rival(site: str, folder: Path) -> str:
    return f"{_RIVAL}{site} {folder}"


def _rivals(outbox: Outbox, site: str) -> list[Path]:
    return _rows(outbox, f"{_RIVAL}{site} ")


def _rows(outbox: Outbox, prefix: str) -> list[Path]:
    """Return the folders in the rows whose name has this prefix."""
    with outbox.reading() as db:
        return [Path(folder) for folder in notes(db, prefix).values()]
