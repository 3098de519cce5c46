# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The last check before an event is sent: may an anonymous visitor still read it?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sourcepulse.errors import DecodeError, EventError, VisibilityUnknownError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode, encode
from sourcepulse.outbox.outbox import WITHHELD_TYPE, Claimed, Outbox

#: The entry points of the checks of plugins, `open_check(outbox)`, named by the scheme of their sources.
ENTRY_POINT_GROUP = "sourcepulse.visibility"
#: Sources whose events can become private again. Without their plugin none of their events is published.
ASKED_SCHEMES = frozenset({"bugzilla"})
#: An empty value in a routing key.
EMPTY_WORD = "_"
#: A verdict older than this is asked for again.
ANSWER_MAX_AGE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """Whether an event may be sent, and with which data if it was reduced.

    `subject` is for the stand-in of a withheld event; None if the stand-in must not name anything. It has the event's
    routing key unless `keeps_key` is False: then the variable words of the key are empty.
    """

    send: bool
    data: Mapping[str, Any] | None = None
    subject: str | None = None
    keeps_key: bool = True


class Check(Protocol):
    """Decides what an anonymous visitor may read now, for the sources of one scheme."""

    def ask(self, events: Sequence[Claimed]) -> list[Verdict]:
        """Return a verdict for each event, as of this moment.

        VisibilityUnknownError if it is not known now.
        """
        ...

    def look(self, events: Sequence[Claimed]) -> list[Verdict]:
        """Return what `ask` does, for one more reader of events that were published before; it writes nothing.

        Their positions may be those of any file.
        """
        ...

    def close(self) -> None:
        """Release all resources; may be called again."""
        ...


#: Opens the check of a scheme; called when it is first needed.
CheckOpener = Callable[[Outbox], Check]


def check_openers() -> dict[str, CheckOpener]:
    """Load the check openers of the installed plugins, by scheme."""
    from importlib.metadata import entry_points

    return {point.name: point.load() for point in entry_points(group=ENTRY_POINT_GROUP)}


class Judged(NamedTuple):
    """A valid verdict; `body` is the reduced event."""

    send: bool
    body: bytes | None
    subject: str | None
    keeps_key: bool = True


class Checks:
    """The checks of plugins, each opened when it is first needed. Not thread-safe. Close it."""

    def __init__(self, outbox: Outbox, openers: Mapping[str, CheckOpener]) -> None:
        self._outbox = outbox
        self._openers = openers
        self._open: dict[str, Check] = {}

    def close(self) -> None:
        """Close the checks that were opened; may be called again."""
        for check in self._open.values():
            check.close()
        self._open.clear()

    def ask(self, events: Sequence[Claimed]) -> dict[int, Judged]:
        """Return the verdict on each event, by position, before it is published.

        VisibilityUnknownError if one is not known now, or is invalid.
        """
        return self._judge(events, lambda check, theirs: check.ask(theirs))

    def look(self, events: Sequence[Claimed]) -> dict[int, Judged]:
        """Return the verdict on each event that was published, for one more reader, and raise as `ask` does."""
        return self._judge(events, lambda check, theirs: check.look(theirs))

    def _judge(
        self, events: Sequence[Claimed], question: Callable[[Check, Sequence[Claimed]], list[Verdict]]
    ) -> dict[int, Judged]:
        judged = {}
        for scheme in sorted({event.source.partition("://")[0] for event in events}):
            theirs = [event for event in events if event.source.startswith(f"{scheme}://")]
            verdicts = question(self._check(scheme), theirs)
            if len(verdicts) != len(theirs):
                raise VisibilityUnknownError(
                    f"the check of {scheme} events returned {len(verdicts)} verdicts on {len(theirs)} events"
                )
            for event, verdict in zip(theirs, verdicts, strict=True):
                judged[event.position] = _judged(scheme, event, verdict)
        return judged

    def _check(self, scheme: str) -> Check:
        if scheme not in self._open:
            if scheme not in self._openers:
                raise VisibilityUnknownError(
                    f"{scheme} events must be checked before they are published, and no installed plugin can do that"
                )
            self._open[scheme] = self._openers[scheme](self._outbox)
        return self._open[scheme]


def is_asked(source: str, type_: str) -> bool:
    """Return whether an event must be checked before it is sent; its stand-in need not."""
    return source.partition("://")[0] in ASKED_SCHEMES and type_ != WITHHELD_TYPE


class Gate:
    """Passes on the public events of one outbox, and withholds or reduces those that are no longer public.

    Not thread-safe; use it from one thread. A withheld or reduced event stays so, even if it becomes public again.
    """

    def __init__(
        self,
        outbox: Outbox,
        openers: Mapping[str, CheckOpener],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._checks = Checks(outbox, openers)
        self._clock = clock

    def close(self) -> None:
        """Close the checks that were opened."""
        self._checks.close()

    def passing(
        self, events: Sequence[tuple[int, Claimed]], *, ready: Callable[[], object]
    ) -> Iterator[tuple[int, Claimed, str | None]]:
        """Yield the events one by one, each as it may be sent at that moment, or with the reason why it never may.

        `ready` is called before each check, so that a wait (for the connection) does not make the verdict old.
        VisibilityUnknownError if it is not known what may be sent; the events yielded by then were correct.
        """
        rest = list(events)
        while rest:
            asked = [event for _, event in rest if is_asked(event.source, event.type)]
            if not asked:
                yield from ((number, event, None) for number, event in rest)
                return
            ready()
            judged = self._checks.ask(asked)
            answered_at = self._clock()
            for place, (number, event) in enumerate(rest):
                if is_asked(event.source, event.type):
                    # At least one event is yielded per check, however slow the sender is.
                    if place and self._clock() - answered_at > ANSWER_MAX_AGE_SECONDS:
                        break
                    yield number, *self._obey(event, judged[event.position])
                    continue
                yield number, event, None
            else:
                return
            rest = rest[place:]

    def _obey(self, event: Claimed, judged: Judged) -> tuple[Claimed, str | None]:
        if not judged.send:
            key = event.routing_key if judged.keeps_key else _bare_key(event.type, event.routing_key)
            return self._withhold(event, judged.subject, key)
        if judged.body is None:
            return event, None
        # Stored before it is sent, so that a retry and a replay send the same bytes.
        self._outbox.replace_body(event.position, judged.body)
        logger.info("event at position %d reduced: a part of it is no longer public", event.position)
        return event._replace(body=judged.body), None

    def _withhold(self, event: Claimed, subject: str | None, key: str) -> tuple[Claimed, str | None]:
        try:
            body = encode(_stand_in(event, subject))
        except DecodeError as error:
            return event, f"it may no longer be public, and its stored bytes are damaged: {error}"
        self._outbox.withhold(event.position, body, subject, routing_key=key)
        logger.info("event at position %d withheld: it is no longer public", event.position)
        return event._replace(type=WITHHELD_TYPE, body=body, routing_key=key, subject=subject), None


def _judged(scheme: str, event: Claimed, verdict: Verdict) -> Judged:
    """Check a verdict; VisibilityUnknownError if it is invalid, because then no part of it can be trusted."""
    sensible = (
        isinstance(verdict, Verdict)
        and isinstance(verdict.send, bool)
        and (verdict.data is None or isinstance(verdict.data, Mapping))
        and (verdict.subject is None or (isinstance(verdict.subject, str) and verdict.subject != ""))
    )
    if not sensible:
        raise VisibilityUnknownError(f"the check of {scheme} events returned an invalid verdict")
    if not verdict.send or verdict.data is None:
        return Judged(verdict.send, None, verdict.subject, verdict.keeps_key is True)
    try:
        stored = decode(event.body, routing_key=event.routing_key)
        # Data with other members would be a different event, which no check may make.
        if set(verdict.data) == set(stored.data):
            reduced = None if verdict.data == stored.data else encode(stored._replace(data=verdict.data))
            return Judged(send=True, body=reduced, subject=None)
    except (DecodeError, EventError):
        pass
    raise VisibilityUnknownError(
        f"the check of {scheme} events returned data that do not match the event at position {event.position}"
    )


def _bare_key(type_: str, routing_key: str) -> str:
    """Return the key with every variable word empty."""
    words = type_.split(".")[:-1]
    variable = routing_key.split(".")[len(words) :]
    return ".".join([*words, *(EMPTY_WORD for _ in variable)])


def _stand_in(event: Claimed, subject: str | None) -> Event:
    """Return the event to send instead: the same id, time and numbers, and only the type of the original data."""
    original = decode(event.body, routing_key=event.routing_key)
    return Event(
        type=WITHHELD_TYPE,
        source=original.source,
        subject=subject,
        time=original.time,
        data={"type": original.type},
        id=original.id,
        routing_key=original.routing_key,
        numbers=original.numbers,
    )
