# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read what is known of hooks, for one owner or for the admin; nothing is changed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from sourcepulse.errors import quoted
from sourcepulse_web.webhooks.desk.card import Card, Refused
from sourcepulse_web.webhooks.desk.sights import Sight, Sights
from sourcepulse_web.webhooks.errors import UnknownHookError
from sourcepulse_web.webhooks.hook import Hook, check_topics
from sourcepulse_web.webhooks.send.judge import REFUSED_ROW
from sourcepulse_web.webhooks.send.outcome import Outcome
from sourcepulse_web.webhooks.send.schedule import refuses_all
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Figures, Matches, SetAside
from sourcepulse_web.webhooks.store.store import HookStore

#: What `matches` counts.
MATCHES_SECONDS = 86_400.0


class Cards:
    """Reads the store and the log; what is raised is as `Desk` describes it.

    >>> Cards(store, queues, time.time, Sights(store, queues)).all("alice@example.org")
    [Card(hook=Hook(name='chat-room', ...), ...)]
    """

    def __init__(self, store: HookStore, queues: HookQueues, clock: Callable[[], float], sights: Sights) -> None:
        self._store = store
        self._queues = queues
        self._clock = clock
        self._sights = sights

    def hook(self, name: str, owner: str | None) -> Hook:
        """Return a hook that this owner may see; the error names only those that he may."""
        hook = self._store.hook(name)
        if hook is not None and owner in (None, hook.owner):
            return hook
        near = difflib.get_close_matches(name, [each.name for each in self._hooks(owner)], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`sourcepulse webhook list` shows those that there are"
        raise UnknownHookError(f"there is no webhook {quoted(name)}; {hint}")

    def all(self, owner: str | None) -> list[Card]:
        """Return the cards of an owner by name, without their attempts."""
        hooks = self._hooks(owner)
        figures = self._figures(hooks)
        cards = []
        for hook in hooks:
            # One may be removed meanwhile.
            with suppress(UnknownHookError):
                cards.append(self._card(hook, figures[hook.name]))
        return cards

    def whole(self, name: str, owner: str | None, attempts: int, before: int | None = None) -> Card:
        """Return one card with its newest attempts, or those before a number, and what is set aside."""
        hook = self.hook(name, owner)
        card = self._card(hook, self._figures([hook])[name])
        tried, letters = self._store.attempts.of_hook(name, attempts, before), self._letters(name)
        # Last, so that what is withdrawn meanwhile is not shown.
        seen = self._sights.of(name, card.figures, tried, letters)
        return replace(
            card,
            attempts=tuple(tried),
            sights=seen.attempts,
            set_aside=tuple(self._refused(name, *each) for each in zip(letters, seen.set_aside, strict=True)),
            oldest=seen.oldest,
        )

    def matches(self, topics: Sequence[str]) -> Matches:
        """Return how many events of the last 24 hours match some topics."""
        patterns = check_topics(topics)
        if not self._has_log:
            return Matches(0, more=False)
        return self._queues.matches(patterns, self._clock() - MATCHES_SECONDS)

    def _hooks(self, owner: str | None) -> list[Hook]:
        return [hook for hook in self._store.hooks() if owner in (None, hook.owner)]

    @property
    def _has_log(self) -> bool:
        """Whether there is a log: before the first event of a new site there is none, which is no fault."""
        return self._queues.path.exists()

    def _figures(self, hooks: Sequence[Hook]) -> dict[str, Figures]:
        names = [hook.name for hook in hooks]
        return self._queues.figures_of(names) if self._has_log else dict.fromkeys(names, Figures(is_declared=False))

    def _letters(self, name: str) -> list[SetAside]:
        return self._queues.set_aside_list(name) if self._has_log else []

    def _card(self, hook: Hook, figures: Figures) -> Card:
        now = self._clock()
        ends = [each.until for each in self._store.secrets(hook.name) if each.until is not None and each.until > now]
        last = self._store.attempts.of_hook(hook.name, 1)
        troubles = self._store.troubles.of(hook.name)
        refused = [each for each in troubles.values() if each.kind == Outcome.REFUSED]
        events = troubles.get(REFUSED_ROW)
        return Card(
            hook=hook,
            standing=self._store.standing(hook.name),
            figures=figures,
            last=last[0] if last else None,
            refused=len(refused),
            refused_next_at=min((each.next_at for each in refused), default=None),
            was_posted=self._store.attempts.has_event(hook.name),
            refuses_all=events.status if events is not None and refuses_all(events.tries) else None,
            consent=self._store.consent(hook.name),
            old_secret_until=max(ends, default=None),
        )

    def _refused(self, name: str, event: SetAside, sight: Sight | None) -> Refused:
        attempts = self._store.attempts.of_event(event.source, event.id, name)
        return Refused(event, attempts[0] if attempts else None, sight)
