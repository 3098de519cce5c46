# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which event is meant by an id, and what is sent again of what was asked for."""

from __future__ import annotations

from typing import NamedTuple

from sourcepulse.errors import ConfigError, NothingThereError, quoted
from sourcepulse_web.webhooks.store.log.redelivery import Meant
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import SetAside
from sourcepulse_web.webhooks.store.store import HookStore


class Redelivery(NamedTuple):
    """How many events will be POSTed again, and of those asked for how many not, because they are no longer public.

    `gone` are those that the log has no longer, `waiting` those that wait to be POSTed anyway. Of the events since a
    time only the first are counted: the others are passed over.
    """

    events: int
    withdrawn: int = 0
    gone: int = 0
    waiting: int = 0


def redeliver_one(store: HookStore, queues: HookQueues, name: str, word: str) -> Redelivery:
    """Send the event again that an id, a webhook-id or the number of an attempt means, or raise NothingThereError."""
    found = queues.again_event(name, _event_meant(store, queues, name, word))
    if found.events:
        return Redelivery(found.events)
    if found.is_gone:
        return Redelivery(0, gone=1)
    return Redelivery(0, withdrawn=1) if found.is_withdrawn else Redelivery(0, waiting=1)


def redeliver_failed(queues: HookQueues, name: str) -> Redelivery:
    """Send all again that is set aside."""
    letters = [each.letter for each in queues.set_aside_list(name)]
    count = queues.bring_back(name, letters)
    return Redelivery(count, withdrawn=len(letters) - count)


def find_set_aside(queues: HookQueues, name: str, id_: str | int) -> SetAside:
    """Return the event that is set aside, by its number there or by its id; NothingThereError if it is not there."""
    for event in queues.set_aside_list(name):
        if id_ in (event.letter, event.id):
            return event
    raise NothingThereError(
        f"{name} has set aside no event {quoted(str(id_))}; `sourcepulse webhook show {name}` lists those that it has"
    )


def _event_meant(store: HookStore, queues: HookQueues, name: str, word: str) -> Meant:
    events = {(each.source, each.id): each.position for each in queues.set_aside_list(name) if each.id == word}
    attempts = [] if events else store.attempts.find(name, word)
    for attempt in reversed(attempts):
        events[attempt.source, attempt.id] = attempt.position
    if not events:
        raise NothingThereError(
            f"{name} has no attempt for {quoted(word)} within the last week; `sourcepulse webhook show {name}` lists "
            "the last ones, and --since redelivers those of a time"
        )
    if len(events) > 1:
        raise ConfigError(f"{len(events)} events have the id {quoted(word)}; name one by its webhook-id")
    ((identity, position),) = events.items()
    if not position:
        raise ConfigError(f"{quoted(word)} is a test; send another one: sourcepulse webhook test {name}")
    return Meant(*identity, position)
