# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The hook store and the queues of the log for work in threads: opened when first needed, and again if they moved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sourcepulse_web.pages.hooks.answers import webhooks_of
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.place import store_of
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore

if TYPE_CHECKING:
    from sourcepulse_web.services import Services
    from sourcepulse_web.webhooks.settings import WebhookSettings


class Room(NamedTuple):
    """What one piece of work uses."""

    desk: Desk
    store: HookStore
    queues: HookQueues
    settings: WebhookSettings
    #: Seconds since 1970.
    now: float


class Rooms:
    """Has one store and one connection to the log, which any thread may use, and a desk for each piece of work."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._where: tuple[Path, Path, str] | None = None
        self._store: HookStore
        self._queues: HookQueues

    @contextmanager
    def opened(self) -> Iterator[Room]:
        """Open what is not open yet; what the store and the log raise passes through."""
        webhooks, log = webhooks_of(self._services), self._services.log.path
        where = (store_of(webhooks, log), log, self._services.settings().exchange)
        with self._lock:
            if where != self._where:
                self._open(*where)
            store, queues = self._store, self._queues
        clock = self._services.clock
        yield Room(Desk(store, queues, webhooks, clock), store, queues, webhooks, clock())

    def _open(self, file: Path, log: Path, exchange: str) -> None:
        store = HookStore(file)
        if self._where is not None:
            self._where = None
            self._store.close()
            self._queues.close()
        self._store, self._queues = store, HookQueues(log, exchange)
        self._where = (file, log, exchange)
