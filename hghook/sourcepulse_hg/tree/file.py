# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Find the file with the state of a tree: it is in the store, so that it is part of the transactions."""

import os
from typing import Any

#: Below the store; beside the pending first copies.
NAME = b"sourcepulse/tree.json"
#: The prefix of the folder in which `hg debugupgraderepo` leaves the old store.
UPGRADE_BACKUP_PREFIX = b"upgradebackup."


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


def has_state(repo: Any) -> bool:
    """Return whether the tree of a repository has a state at all; most have none, and pay only for this check."""
    return bool(repo.ui.config(b"sourcepulse", b"tree_command")) or state_file(repo.sharedpath, repo.spath) is not None
