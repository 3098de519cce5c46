# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the log withdraws is withdrawn from the attempts as well, because an answer may quote the event."""

from __future__ import annotations

from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore


class Forgetting:
    """Follows the withdrawals of the log; how far is kept in the store.

    >>> forgetting = Forgetting(store, queues)
    >>> forgetting.turn(time.time())
    """

    def __init__(self, store: HookStore, queues: HookQueues) -> None:
        self._store = store
        self._queues = queues
        self._version: tuple[int, int] | None = None

    def turn(self, now: float) -> int:
        """Blank what was withdrawn since the last call, and return how many attempts that were.

        Without a change of the log it costs microseconds. BrokerError and HookStoreError: the next call goes on.
        """
        data_version = self._queues.data_version()
        version = self._queues.openings, data_version
        if version == self._version:
            return 0
        token, after = self._store.forgotten_until()
        found = self._queues.withdrawn(token, after)
        blanked = 0
        if found.events:
            blanked += self._store.attempts.forget(found.events, now)
        for source, number in found.bugs:
            blanked += self._store.attempts.forget_number(source, number, now)
        if token and found.token != token:
            # A new log, or a copy of it that was put back: what the former one had beyond that is not there.
            self._store.note_interruption(now)
        if (found.token, found.until) != (token, after):
            self._store.set_forgotten_until(found.token, found.until)
        self._version = version
        return blanked
