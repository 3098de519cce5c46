# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The last question before an event is sent: may everybody still see what it tells?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol

from sourcepulse.errors import DecodeError, VisibilityUnknownError
from sourcepulse.event import Event
from sourcepulse.outbox import WITHHELD_TYPE, Claimed, Outbox
from sourcepulse.serialize import decode, encode

#: Where plugins offer their checks: `open_check(outbox)`, by the scheme of their sources.
ENTRY_POINT_GROUP = "sourcepulse.visibility"
#: Sources whose facts can become private again. Without their plugin nothing of theirs is published.
ASKED_SCHEMES = frozenset({"bugzilla"})
#: What was allowed so long ago is asked again.
ANSWER_MAX_AGE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Check(Protocol):
    """Knows what everybody may see now, for the sources of one scheme."""

    def ask(self, events: Sequence[Claimed]) -> list[bool]:
        """Tell for each event whether it may be published at this moment.

        VisibilityUnknownError if that cannot be said now.
        """
        ...

    def close(self) -> None:
        """Let go of whatever was asked; may be called again."""
        ...


#: Opens the check of a scheme when it is first needed.
CheckOpener = Callable[[Outbox], Check]


def check_openers() -> dict[str, CheckOpener]:
    """Load what the installed plugins offer, by scheme."""
    return {point.name: point.load() for point in entry_points(group=ENTRY_POINT_GROUP)}


class Gate:
    """Lets the public events of one outbox pass, and withholds what is no longer public.

    Whoever uses it gives it one thread. What it withheld stays so, whatever becomes public later.
    """

    def __init__(
        self,
        outbox: Outbox,
        openers: Mapping[str, CheckOpener],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._openers = openers
        self._clock = clock
        self._open: dict[str, Check] = {}

    def close(self) -> None:
        """Let go of all that was asked."""
        for check in self._open.values():
            check.close()
        self._open.clear()

    def passing(
        self, events: Sequence[tuple[int, Claimed]], *, ready: Callable[[], object]
    ) -> Iterator[tuple[int, Claimed, str | None]]:
        """Give the events one by one, each as it may be sent at that moment, or with a reason why it never may.

        `ready` is called before each question: what makes the sender wait would make the answer old.
        VisibilityUnknownError if nobody can say what may be sent; what was given by then was right.
        """
        rest = list(events)
        while rest:
            asked = [event for _, event in rest if self._is_asked(event)]
            if not asked:
                yield from ((number, event, None) for number, event in rest)
                return
            ready()
            allowed = self._ask(asked)
            answered_at = self._clock()
            for place, (number, event) in enumerate(rest):
                if self._is_asked(event):
                    # At least one is given for each answer, however slow the sender is.
                    if place and self._clock() - answered_at > ANSWER_MAX_AGE_SECONDS:
                        break
                    if event.position not in allowed:
                        yield number, *self._withhold(event)
                        continue
                yield number, event, None
            else:
                return
            rest = rest[place:]

    def _is_asked(self, event: Claimed) -> bool:
        return event.source.partition("://")[0] in ASKED_SCHEMES and event.type != WITHHELD_TYPE

    def _ask(self, events: Sequence[Claimed]) -> set[int]:
        """Give the positions of those that may be sent."""
        allowed = set()
        for scheme in sorted({event.source.partition("://")[0] for event in events}):
            theirs = [event for event in events if event.source.startswith(f"{scheme}://")]
            answers = self._check(scheme).ask(theirs)
            if len(answers) != len(theirs):
                raise VisibilityUnknownError(
                    f"the check of {scheme} events gave {len(answers)} answers to {len(theirs)} questions"
                )
            allowed |= {event.position for event, answer in zip(theirs, answers, strict=True) if answer is True}
        return allowed

    def _check(self, scheme: str) -> Check:
        if scheme not in self._open:
            if scheme not in self._openers:
                raise VisibilityUnknownError(
                    f"events of {scheme} are checked before they are published, and nothing installed can do that"
                )
            self._open[scheme] = self._openers[scheme](self._outbox)
        return self._open[scheme]

    def _withhold(self, event: Claimed) -> tuple[Claimed, str | None]:
        try:
            body = encode(_stand_in(event))
        except DecodeError as error:
            return event, f"it may no longer be public, and its stored bytes are damaged: {error}"
        self._outbox.withhold(event.position, body)
        logger.info("event at position %d withheld: it is no longer public", event.position)
        return event._replace(type=WITHHELD_TYPE, body=body), None


def _stand_in(event: Claimed) -> Event:
    """Give what is sent instead: the same id, key, time and numbers, and of what it told only the type."""
    told = decode(event.body, routing_key=event.routing_key)
    return Event(
        type=WITHHELD_TYPE,
        source=told.source,
        subject=None,
        time=told.time,
        data={"type": told.type},
        id=told.id,
        routing_key=told.routing_key,
        numbers=told.numbers,
    )
