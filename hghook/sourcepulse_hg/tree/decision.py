# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decide whether a push passes: the state of the tree, who pushes and what the last changeset says, nothing else."""

from sourcepulse_hg.tree.settings import TreeSettings, is_listed
from sourcepulse_hg.tree.state import APPROVAL, OPEN, TreeState

#: More of a description is not searched.
DESCRIPTION_MAX_CHARACTERS = 64 * 1024


def passes(state: TreeState, settings: TreeSettings, *, user: str | None, description: str | None) -> bool:
    """Tell whether a push passes; `description` is None for one without changesets, which no words can approve."""
    if state.state == OPEN or (settings.users and is_listed(user, settings.users)):
        return True
    if description is None:
        return False
    words = settings.approval_words if state.state == APPROVAL else settings.closed_words
    text = description[:DESCRIPTION_MAX_CHARACTERS]
    return any(word.search(text) for word in words)
