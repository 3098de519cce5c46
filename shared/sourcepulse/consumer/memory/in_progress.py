# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The events that came and are not settled yet, and what is known of one that comes."""

from __future__ import annotations

from sourcepulse.consumer.memory.event_name import fact_of
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.consumer.received_event import PULLED, Item
from sourcepulse.errors import DecodeError
from sourcepulse.events.event import Event
from sourcepulse.events.safe_text import short
from sourcepulse.outbox.outbox import WITHHELD_TYPE


class InProgress:
    """The unsettled events of a consumer by name, and those of them that were handed out."""

    def __init__(self, state: ConsumerState) -> None:
        self._state = state
        #: The name of each unsettled event, by the fact part of the name.
        self._unsettled: dict[str, str] = {}
        self._in_hand: dict[str, Item] = {}

    def __len__(self) -> int:
        return len(self._unsettled)

    @property
    def pulled(self) -> int:
        """How many events are in hand that were pulled from an outbox."""
        return sum(item.generation == PULLED for item in self._in_hand.values())

    def repeats(self, name: str, event: Event, body: bytes) -> str | None:
        """Return the name of the event that this one repeats, None if it is new.

        DecodeError if another event came first with its source and id.
        """
        known = self._unsettled.get(fact_of(name))
        if known == name or self._state.is_handled(name, event.id):
            return name
        if known is None and not self._state.handled_another(name):
            return None
        if event.type == WITHHELD_TYPE:
            # The event was replayed after its content was withheld; the stand-in adds nothing.
            return known or name
        text = f"an event of {short(event.source)} has the id {short(event.id)} of another one, which came first"
        raise DecodeError(text, body)

    def add(self, name: str) -> None:
        """Note a new event."""
        self._unsettled[fact_of(name)] = name

    def hand_out(self, item: Item) -> None:
        """Note that an event is in hand from now on."""
        self._in_hand[item.name] = item

    def handed_out(self, name: str) -> Item | None:
        """Return the event of this name if it is in hand."""
        return self._in_hand.get(name)

    def all_handed_out(self) -> list[Item]:
        """Return the events that are in hand."""
        return list(self._in_hand.values())

    def settle(self, item: Item) -> None:
        """Forget an event that is settled."""
        self._in_hand.pop(item.name, None)
        self._unsettled.pop(fact_of(item.name), None)

    def forget_waiting(self) -> None:
        """Forget the events that are not in hand, because the broker delivers them again."""
        self._unsettled = {fact_of(name): name for name in self._in_hand}
