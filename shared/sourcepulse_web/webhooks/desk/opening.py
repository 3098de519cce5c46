# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The desk of one gateway, opened for as long as it is used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.place import Place
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore


@contextmanager
def open_desk(place: Place, *, create: bool = True, clock: Callable[[], float] = time.time) -> Iterator[Desk]:
    """Open the hook store and the log; the store is created if it is missing, or else NothingThereError is raised.

    Opening takes about a millisecond, so that each request of a page can have a desk of its own.
    """
    with (
        HookStore(place.store, create=create) as store,
        HookQueues(place.log, place.exchange, private=place.own_log) as queues,
    ):
        yield Desk(store, queues, place.settings, clock)
