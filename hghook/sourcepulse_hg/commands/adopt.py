# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`hg sourcepulse-adopt`: publish or delete the first copies that came with a copied or restored repository."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mercurial import error

from sourcepulse_hg.commands.recover import recover_now
from sourcepulse_hg.pending.collect import (
    ELSEWHERE_SUFFIX,
    LOCK_NAME,
    RepositoryFiles,
    find_repository,
)
from sourcepulse_hg.pending.first_copy import (
    Identity,
    encode_copy,
    ensure_folder,
    folder_lock,
    replace_file,
)
from sourcepulse_hg.pending.foreign import Foreign, foreign_copies
from sourcepulse_hg.settings import read_settings

LOCK_WAIT_SECONDS = 30.0


def adopt(ui: Any, repo: Any, *, announce: bool, discard: bool) -> int:
    """List the foreign first copies, or announce or discard them; returns 0 if none is left."""
    if announce and discard:
        raise error.InputError(b"--announce and --discard exclude each other")
    files = find_repository(os.fsdecode(repo.sharedpath))
    if not announce and not discard:
        return _show(ui, foreign_copies(files))
    done = _settle(repo, files, _announce if announce else _discard)
    ui.status(b"sourcepulse: %d first copies %s\n" % (done, b"taken over" if announce else b"discarded"))
    return recover_now(ui, repo) if announce else 0


def _show(ui: Any, foreign: list[Foreign]) -> int:
    for path, copy in foreign:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(copy.time))
        types = ", ".join(event.type for event in copy.events)
        ui.write(f"{path.name}  {stamp} UTC  {types}\n".encode("utf-8", "surrogateescape"))
    if foreign:
        ui.status(
            b"sourcepulse: these came with the files of another repository. Use --discard if that repository has "
            b"published them or still publishes, --announce if this repository replaces it\n"
        )
    else:
        ui.status(b"sourcepulse: there is nothing to decide\n")
    return 1 if foreign else 0


def _settle(repo: Any, files: RepositoryFiles, decide: Callable[[RepositoryFiles, Foreign], None]) -> int:
    elsewhere = Path(os.fsdecode(read_settings(repo).outbox) + ELSEWHERE_SUFFIX)
    try:
        ensure_folder(files.folder, like=files.dot_hg)
        # The repository's lock protects the store, the collector's lock protects its folder.
        with repo.lock(), folder_lock(files.folder / LOCK_NAME, elsewhere=elsewhere, wait_s=LOCK_WAIT_SECONDS) as ours:
            if not ours:
                raise error.Abort(b"another collector is running", hint=b"try again")
            foreign = foreign_copies(files)
            for one in foreign:
                decide(files, one)
            return len(foreign)
    except OSError as failure:
        raise error.Abort(
            b"the first copies cannot be changed: %s" % str(failure).encode("utf-8", "surrogateescape"),
            hint=b"check owner and mode of .hg/sourcepulse, then run this again",
        ) from failure


def _announce(files: RepositoryFiles, foreign: Foreign) -> None:
    copy = foreign.copy._replace(identity=Identity.of(files.dot_hg))
    replace_file(foreign.path, encode_copy(copy), like=files.dot_hg, durable=True)


def _discard(_files: RepositoryFiles, foreign: Foreign) -> None:
    foreign.path.unlink(missing_ok=True)
