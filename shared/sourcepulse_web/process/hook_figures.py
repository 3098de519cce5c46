# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the store and the log know of all webhooks together: read in a thread, kept for /ready and /metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from sourcepulse.errors import BrokerError, NothingThereError, SourcePulseError
from sourcepulse_web.services import HookFigures
from sourcepulse_web.webhooks.desk.card import Look
from sourcepulse_web.webhooks.hook import Standing, State
from sourcepulse_web.webhooks.place import Place
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Figures
from sourcepulse_web.webhooks.store.store import HookStore


class Reader:
    """Reads the figures; called by one thread at a time.

    >>> reader = Reader(lambda: place)
    >>> reader.read().waiting
    0
    """

    def __init__(self, place: Callable[[], Place]) -> None:
        self._place = place
        #: Kept open, because they remember where the oldest event was.
        self._queues: HookQueues | None = None
        self._waiting: dict[str, Figures] = {}
        #: The number of the last attempt that is counted; None before the first look.
        self._counted_to: int | None = None
        self._attempts: Counter[str] = Counter()

    def read(self) -> HookFigures:
        """Return the figures of now, or why there are none."""
        place = self._place()
        try:
            with HookStore(place.store, create=False) as store:
                self._count(store)
                seen_at, standings = store.sender_seen_at(), store.standings()
        except NothingThereError:
            # The sender makes the store when it is first started.
            return HookFigures(attempts=dict(self._attempts))
        except SourcePulseError as error:
            return HookFigures(attempts=dict(self._attempts), problem=str(error))
        # Where the log cannot be read, which /ready names, the former figures stay.
        with suppress(BrokerError):
            self._waiting = self._opened(place).figures_of(list(standings))
        found = [self._waiting.get(name, Figures()) for name in standings]
        return HookFigures(
            sender_seen_at=seen_at,
            states=Counter(look_of(each).value for each in standings.values()),
            waiting=sum(each.waiting for each in found),
            oldest_at=min((each.oldest_at for each in found if each.oldest_at is not None), default=None),
            set_aside=sum(each.set_aside for each in found),
            lost=sum(each.lost for each in found),
            attempts=dict(self._attempts),
        )

    def close(self) -> None:
        """Close what is open; a later call opens it again."""
        if self._queues is not None:
            self._queues.close()
            self._queues = None

    def _opened(self, place: Place) -> HookQueues:
        if self._queues is None:
            self._queues = HookQueues(place.log, place.exchange)
        return self._queues

    def _count(self, store: HookStore) -> None:
        """Count the attempts since the last look."""
        last, counts = store.attempts.counts_after(self._counted_to)
        if self._counted_to is not None and last < self._counted_to:
            # Another store has taken its place, with numbers of its own.
            last, counts = store.attempts.counts_after(0)
        if self._counted_to is not None:
            self._attempts.update(counts)
        self._counted_to = last


def look_of(standing: Standing) -> Look:
    """Return the state as the word that lists and pages show, or "working" for one that was not tried yet."""
    if standing.state is State.ON:
        return Look.WORKING if standing.failing_since is None else Look.FAILING
    return Look(standing.state.value)
