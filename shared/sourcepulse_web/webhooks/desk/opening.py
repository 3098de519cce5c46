# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The desk of one gateway, opened for as long as it is used."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.errors import HookStoreRefusedError
from sourcepulse_web.webhooks.place import Place
from sourcepulse_web.webhooks.store.place import name_of
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore


@contextmanager
def open_desk(place: Place, *, create: bool = True, clock: Callable[[], float] = time.time) -> Iterator[Desk]:
    """Open the hook store and the log; the store is created if it is missing, or else NothingThereError is raised.

    HookStoreRefusedError where a file that root created would lock the gateway's own user out.
    """
    if create:
        for path in (place.store, place.log):
            _check_creator(path)
    with (
        HookStore(place.store, create=create) as store,
        HookQueues(place.log, place.exchange, private=place.own_log) as queues,
    ):
        yield Desk(store, queues, place.settings, clock, own_types=place.own_types, trees=place.trees)


def _check_creator(path: Path) -> None:
    """Raise HookStoreRefusedError if this is root and the file would be created in the folder of another user."""
    if os.geteuid() != 0 or path.exists() or not path.parent.is_dir():
        return
    owner = path.parent.stat().st_uid
    if owner != 0:
        user = name_of(owner)
        raise HookStoreRefusedError(
            f"there is no {path} yet, and one that root created would lock {user} out; start `sourcepulse web` first, "
            f"or run the command as {user}"
        )
