# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How far the `changegroup` hook has told a repository, so that the next push finds what a crash swallowed.

The mark is the last node that was told: what comes after it in the changelog was not. A strip keeps the order of what
it leaves, so that stays true; if it takes that node itself, the hook begins anew.

The mark stands in the first copy that moves it. The collector writes it to a file of its own when the events of that
copy are durable in the outbox, and before it removes the copy: so the mark moves if and only if the events do, whoever
dies where. The youngest first copy that waits says the mark, else the file. A copy without a mark is of the extension,
which needs none: then nobody knows how far the hook got, and it begins anew.
"""

import re
from contextlib import suppress

from sourcepulse_hg.pending.files import replace_file
from sourcepulse_hg.pending.first_copy import DamagedError, decode_copy
from sourcepulse_hg.pending.layout import Place

NAME = "mark"
LOCK_NAME = "mark.lock"
_NODE = re.compile("[0-9a-f]{40}")


def read_mark(place: Place) -> str | None:
    """Return the mark, None if there is none; OSError if it cannot be read."""
    # First copies only ever go to the outbox, after which the file is right: so they come first.
    for waiting in reversed(place.waiting()):
        with suppress(DamagedError, FileNotFoundError):
            return decode_copy(waiting.path.read_bytes()).mark
    try:
        node = (place.ready / NAME).read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    return node if _NODE.fullmatch(node) else None


def keep_mark(place: Place, mark: str | None) -> None:
    """Have the file say this mark; OSError if that fails."""
    path = place.ready / NAME
    if mark is None:
        path.unlink(missing_ok=True)
        return
    # It must not be older than the outbox after a power failure.
    replace_file(path, mark.encode("ascii") + b"\n", like=place.dot_hg, durable=True)
