# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Hooks as the templates draw them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode

from sourcepulse_web.pages.hooks import words
from sourcepulse_web.pages.hooks.words import Moment, State
from sourcepulse_web.pages.live.sentences.parts import Part
from sourcepulse_web.pages.trees.texts import many, shown
from sourcepulse_web.webhooks import hook as hooks
from sourcepulse_web.webhooks.desk import card as cards
from sourcepulse_web.webhooks.desk.card import Card
from sourcepulse_web.webhooks.desk.sights import Sight, SightState
from sourcepulse_web.webhooks.hook import Attempt, Handshake, Hook
from sourcepulse_web.webhooks.store.records import Delivered, Matches

#: Of up to a thousand events that are set aside, so many are shown, the oldest first.
REFUSED_SHOWN = 20


class Row(NamedTuple):
    """One hook of the list."""

    name: str
    owner: str
    url: str
    topic: str
    more: int
    topics: str
    state: State
    waiting: int
    last: Moment


class Event(NamedTuple):
    """What may be seen of an event: a sentence and its time, or why there is none."""

    parts: tuple[Part, ...] = ()
    at: Moment | None = None
    absence: str = ""
    #: Whether it may be sent again, as far as is known.
    can_send: bool = True


class Try(NamedTuple):
    """One attempt."""

    number: int
    at: Moment
    event: Event
    key: str
    id: str
    source: str
    tries: int
    good: bool
    answer: str
    took: str
    next: str
    #: Only of the opened one: what identifies it, and the whole answer.
    webhook_id: str
    type: str
    reason: str
    headers: str
    excerpt: str


class Refused(NamedTuple):
    """One event that is set aside."""

    letter: int
    event: Event
    key: str
    id: str
    at: Moment
    text: str
    #: Whether it may be sent again.
    can_send: bool


class Figure(NamedTuple):
    """A number and what it counts."""

    number: str
    text: str


class Chosen(NamedTuple):
    """The hook that is looked at."""

    row: Row
    topics: tuple[str, ...]
    doubt: str
    waits: str
    resume: str
    can_pause: bool
    #: By an admin, so that its owner can neither resume, test nor remove it.
    is_held: bool
    handshake: str
    consent: str
    bearer: bool
    old_secret_until: Moment | None
    lost: int
    interrupted_at: Moment | None
    withheld: int
    figures: tuple[Figure, ...]
    #: The oldest event that waits, and since when; None if none waits.
    oldest: Event | None
    waits_since: Moment | None
    refused: tuple[Refused, ...]
    more_refused: int
    attempts: tuple[Try, ...]


class Form(NamedTuple):
    """A form with what was typed, and what is wrong with it by field; "" is the whole form."""

    name: str = ""
    url: str = ""
    topics: tuple[str, ...] = ()
    handshake: str = Handshake.OFF.value
    errors: Mapping[str, str] = MappingProxyType({})
    #: How many events would have matched; None if that was not asked.
    matches: Matches | None = None
    #: About a receiver that is not found yet.
    doubt: str = ""
    #: About topics that match no event type.
    topics_doubt: str = ""

    def error(self, field: str) -> str:
        """Return what is wrong with a field, or "" if nothing is."""
        return self.errors.get(field, "")

    @property
    def live(self) -> str:
        """The address where such events are seen."""
        return "/?" + urlencode([("key", topic) for topic in self.topics])

    @property
    def said(self) -> str:
        """How many events would have matched, as a sentence; "" if that was not asked."""
        if self.matches is None:
            return ""
        least = "at least " if self.matches.more else ""
        return f"Would have matched {least}{many(self.matches.count, 'event')} in the last 24 hours."

    @property
    def lines(self) -> str:
        """The topics as they are typed."""
        return "\n".join(self.topics)


def form_of(hook: Hook) -> Form:
    """Return the form that changes a hook."""
    return Form(name=hook.name, url=hook.url, topics=hook.topics, handshake=hook.handshake.value)


def row_of(card: Card, now: float, *, runs: bool = True) -> Row:
    """Return a hook as a line of the list; `runs` is whether the sender does."""
    state = words.state_of(card, runs=runs)
    topics = tuple(shown(each) for each in card.hook.topics)
    return Row(
        name=card.hook.name,
        owner=shown(card.hook.owner),
        url=shown(card.hook.url),
        topic=topics[0] if topics else "",
        more=max(0, len(topics) - 1),
        topics=", ".join(topics),
        state=state,
        waiting=card.figures.waiting,
        last=words.last_answer(card.last, now),
    )


def chosen_of(card: Card, delivered: Delivered, now: float, *, runs: bool = True, doubt: str = "") -> Chosen:
    """Return a hook with its figures, attempts and what is set aside."""
    apart = frozenset((each.event.source, each.event.id) for each in card.set_aside)
    until, interrupted = card.old_secret_until, card.standing.interrupted_at
    return Chosen(
        row=row_of(card, now, runs=runs),
        topics=tuple(shown(each) for each in card.hook.topics),
        doubt=doubt,
        waits=words.waits(card, now),
        # Only owners have forms here, and what an admin paused is not theirs to resume.
        resume="" if card.standing.is_paused_by_admin else words.RESUME.get(card.look, ""),
        can_pause=card.standing.state is hooks.State.ON,
        is_held=card.standing.is_paused_by_admin,
        handshake=card.hook.handshake.value,
        consent=words.consent(card, now),
        bearer=bool(card.hook.bearer_file),
        old_secret_until=None if until is None else words.clock(until, now),
        lost=card.figures.lost,
        interrupted_at=None if interrupted is None else words.clock(interrupted, now),
        withheld=card.standing.withheld,
        figures=_figures(card, delivered, now),
        oldest=None if card.oldest is None else _event(card.oldest, now),
        waits_since=None if card.figures.oldest_at is None else words.clock(card.figures.oldest_at, now),
        refused=tuple(_refused(each, now) for each in card.set_aside[:REFUSED_SHOWN]),
        more_refused=max(0, len(card.set_aside) - REFUSED_SHOWN),
        attempts=_tries(card, now, apart),
    )


def refused_of(card: Card, letter: str, now: float) -> Refused | None:
    """Return an event that is set aside by its number; None if there is none."""
    return next((_refused(each, now) for each in card.set_aside if str(each.event.letter) == letter), None)


def _figures(card: Card, delivered: Delivered, now: float) -> tuple[Figure, ...]:
    now_ = card.figures
    oldest = f", oldest {words.age(now_.oldest_at, now)}" if now_.waiting and now_.oldest_at is not None else ""
    median = words.NEVER if delivered.median_s is None else words.took(delivered.median_s)
    return (
        Figure(f"{now_.waiting:,}", f"waiting{oldest}"),
        Figure(f"{now_.set_aside:,}", "set aside"),
        Figure(f"{delivered.count:,}", "delivered in 24 hours"),
        Figure(median, "median time of answer"),
    )


def _refused(refused: cards.Refused, now: float) -> Refused:
    event, attempt, sight = refused
    is_withdrawn = event.withdrawn or (sight is not None and sight.state is SightState.WITHDRAWN)
    if is_withdrawn:
        text = "It is not public any more, so it will not be sent."
    elif attempt is None or attempt.status is None:
        text = f"{shown(event.reason)}."
    else:
        answer = words.answer(attempt).partition(" ")[2]
        text = f"Answered {attempt.status}, {many(attempt.tries, 'time')}{': ' if answer else ''}{answer}"
    return Refused(
        letter=event.letter,
        event=_event(sight, now),
        key=shown(event.routing_key),
        id=event.id,
        at=words.clock(event.dead_at, now),
        text=text,
        can_send=not is_withdrawn,
    )


def _event(sight: Sight | None, now: float) -> Event:
    if sight is None:
        return Event()
    at = None if sight.at is None else words.clock(sight.at, now)
    can_send = sight.state not in (SightState.WITHDRAWN, SightState.TEST)
    return Event(sight.parts, at, sight.absence, can_send)


def _tries(card: Card, now: float, apart: frozenset[tuple[str, str]]) -> tuple[Try, ...]:
    """Return the attempts; what comes next is said at the newest one of an event, while the hook is on."""
    found, seen = [], set[tuple[str, str]]()
    sends = card.standing.state is hooks.State.ON
    for each, sight in zip(card.attempts, card.sights, strict=True):
        event = each.source, each.id
        each_try = _try(each, sight, now, apart)
        is_over = event in seen or (not sends and each.next_at is not None)
        found.append(each_try._replace(next="") if is_over else each_try)
        seen.add(event)
    return tuple(found)


def _try(attempt: Attempt, sight: Sight, now: float, apart: frozenset[tuple[str, str]]) -> Try:
    return Try(
        number=attempt.number,
        at=words.clock(attempt.at, now),
        event=_event(sight, now),
        key=shown(attempt.routing_key or attempt.type),
        id=attempt.id,
        source=shown(attempt.source),
        tries=attempt.tries,
        good=words.is_good(attempt),
        answer=words.answer(attempt),
        took=words.took(attempt.took_s),
        next=words.comes_next(attempt, now, apart),
        webhook_id=attempt.webhook_id,
        type=shown(attempt.type),
        reason=shown(attempt.reason),
        headers=_shown_lines(attempt.headers),
        excerpt=_shown_lines(attempt.excerpt),
    )


def _shown_lines(text: str) -> str:
    return "\n".join(shown(line) for line in text.splitlines())
