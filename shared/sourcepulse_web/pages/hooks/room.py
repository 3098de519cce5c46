# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The hook store and the queues of the log for work in threads, kept open from one piece of work to the next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sourcepulse_web.pages.catalogue.own import own_types_reader
from sourcepulse_web.pages.hooks.answers import webhooks_of
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.errors import HookStoreError
from sourcepulse_web.webhooks.place import store_of
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore

if TYPE_CHECKING:
    from sourcepulse_web.services import Services


class Room(NamedTuple):
    """What one piece of work uses."""

    desk: Desk
    store: HookStore
    queues: HookQueues
    #: Seconds since 1970.
    now: float


class _Files(NamedTuple):
    """Open files, and where they are: store, log and exchange."""

    where: tuple[Path, Path, str]
    store: HookStore
    queues: HookQueues

    def close(self) -> None:
        self.queues.close()
        self.store.close()


class Rooms:
    """Opens files for each piece of work, because one that waits for a lock must not keep others from reading."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        #: As many as there were pieces of work at once.
        self._free: list[_Files] = []

    @contextmanager
    def opened(self) -> Iterator[Room]:
        """Yield what is open, and keep it for the next one; what the store and the log raise passes through."""
        webhooks, log = webhooks_of(self._services), self._services.log.path
        files = self._taken((store_of(webhooks, log), log, self._services.settings().exchange))
        clock = self._services.clock
        is_usable = True
        try:
            types = own_types_reader(self._services).read().schemas
            trees = self._services.settings().trees
            desk = Desk(files.store, files.queues, webhooks, clock, own_types=types, trees=trees)
            yield Room(desk, files.store, files.queues, clock())
        except HookStoreError:
            # It may have been replaced. The log opens itself again.
            is_usable = False
            raise
        finally:
            if is_usable:
                self._put_back(files)
            else:
                files.close()

    def _taken(self, where: tuple[Path, Path, str]) -> _Files:
        with self._lock:
            found = self._free.pop() if self._free else None
        if found is not None and found.where == where:
            return found
        if found is not None:
            found.close()
            return self._taken(where)
        file, log, exchange = where
        return _Files(where, HookStore(file), HookQueues(log, exchange))

    def _put_back(self, files: _Files) -> None:
        with self._lock:
            self._free.append(files)
