# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Store the state of a tree: its own as part of a transaction, that of a service beside the first copies."""

from __future__ import annotations

import os
from typing import Any

from sourcepulse_hg.pending.first_copy import FOLDER, UPGRADE_BACKUP_PREFIX, ensure_folder, replace_file
from sourcepulse_hg.tree.state import NEVER_SET, TreeChange, TreeState, TreeStateError, decode_state, encode_state

#: Below the store, beside the pending first copies.
NAME = b"sourcepulse/tree.json"
#: The key of the change in Mercurial's `tr.changes`.
CHANGE = b"sourcepulse-tree"
_GENERATOR = b"sourcepulse-tree"
_SERVICE_NAME = b"tree-service.json"


def state_file(dot_hg: bytes, store: bytes) -> bytes | None:
    """Find the file with the tree's state, None if the state was never set.

    `hg debugupgraderepo` makes a new store and leaves the file in the old one. That is found too, so that a closed tree
    stays closed.
    """
    path = os.path.join(store, NAME)
    if os.path.exists(path):
        return path
    for name in sorted(os.listdir(dot_hg), reverse=True):
        if name.startswith(UPGRADE_BACKUP_PREFIX):
            path = os.path.join(dot_hg, name, b"store", NAME)
            if os.path.exists(path):
                return path
    return None


def read_state(repo: Any) -> TreeState:
    """Return the state that was set last; raises TreeStateError if the file is damaged or cannot be read."""
    path = state_file(repo.sharedpath, repo.spath)
    if path is None:
        return NEVER_SET
    try:
        with open(path, "rb") as file:
            return decode_state(file.read())
    except OSError as problem:
        raise TreeStateError(f"{os.fsdecode(path)}: {problem.strerror}") from problem


def note_change(tr: Any, change: TreeChange) -> None:
    """Make a new state part of a transaction, so that its file and event are committed or rolled back with it."""
    content = encode_state(change.new)
    tr.addfilegenerator(_GENERATOR, (NAME,), lambda file: file.write(content), location=b"")
    tr.changes[CHANGE] = change


def service_state(repo: Any) -> TreeState | None:
    """Return the last published state of a service; None if there is none or the file is unreadable."""
    try:
        with open(_service_file(repo), "rb") as file:
            return decode_state(file.read())
    except (OSError, TreeStateError):
        return None


def remember_service_state(repo: Any, state: TreeState) -> None:
    """Record the published state of a service; raises OSError."""
    path = _service_file(repo)
    ensure_folder(os.path.dirname(path), like=repo.sharedpath)
    replace_file(path, encode_state(state), like=repo.sharedpath)


def _service_file(repo: Any) -> bytes:
    return os.path.join(repo.sharedpath, FOLDER, _SERVICE_NAME)
