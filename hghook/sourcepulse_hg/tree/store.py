# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep the state of a tree: its own as part of a transaction, what a service said beside the first copies."""

from __future__ import annotations

import os
from typing import Any

from sourcepulse_hg.pending.files import ensure_folder, replace_file
from sourcepulse_hg.pending.first_copy import FOLDER
from sourcepulse_hg.tree.file import NAME, state_file
from sourcepulse_hg.tree.state import NEVER_SET, TreeChange, TreeState, TreeStateError, decode_state, encode_state

#: Under this name a transaction's change is among those that Mercurial keeps of it (`tr.changes`).
CHANGE = b"sourcepulse-tree"
_GENERATOR = b"sourcepulse-tree"
_SERVICE_NAME = b"tree-service.json"


def read_state(repo: Any) -> TreeState:
    """Read the state that was set last; TreeStateError if the file is damaged or cannot be read."""
    path = state_file(repo.sharedpath, repo.spath)
    if path is None:
        return NEVER_SET
    try:
        with open(path, "rb") as file:
            return decode_state(file.read())
    except OSError as problem:
        raise TreeStateError(f"{os.fsdecode(path)}: {problem.strerror}") from problem


def note_change(tr: Any, change: TreeChange) -> None:
    """Make a new state part of a transaction: with it the file and the event stay or go."""
    content = encode_state(change.new)
    tr.addfilegenerator(_GENERATOR, (NAME,), lambda file: file.write(content), location=b"")
    tr.changes[CHANGE] = change


def service_state(repo: Any) -> TreeState | None:
    """Return what a service said when it was last told of, None if never or unreadable: then it is told again."""
    try:
        with open(_service_file(repo), "rb") as file:
            return decode_state(file.read())
    except (OSError, TreeStateError):
        return None


def remember_service_state(repo: Any, state: TreeState) -> None:
    """Note what a service said; OSError if that fails."""
    path = _service_file(repo)
    ensure_folder(os.path.dirname(path), like=repo.sharedpath)
    replace_file(path, encode_state(state), like=repo.sharedpath)


def _service_file(repo: Any) -> bytes:
    return os.path.join(repo.sharedpath, FOLDER.encode("ascii"), _SERVICE_NAME)
