# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A hook with all that is known of it: how it stands, what waits, what was set aside, what was tried."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sourcepulse.events.event import format_time
from sourcepulse_web.webhooks.desk.sights import Sight, sight_json
from sourcepulse_web.webhooks.hook import Attempt, Hook, Standing, State
from sourcepulse_web.webhooks.send.outcome import Outcome
from sourcepulse_web.webhooks.store.records import Figures, KeptConsent, SetAside


class Look(StrEnum):
    """The state of a hook in a word or few, as lists, JSON and pages show it."""

    #: Nothing was POSTed to it but perhaps tests that failed, so that nothing shows that its receiver works.
    NOT_TRIED = "not tried yet"
    WORKING = "working"
    #: On, and being tried again after a failure.
    FAILING = "failing"
    PAUSED = "paused"
    PARKED = "parked"
    OFF = "off"


class Refused(NamedTuple):
    """An event that is set aside, and the last attempt for it, if that is still kept."""

    event: SetAside
    attempt: Attempt | None
    #: What may be seen of it now; None for one that was not looked at, because there are many.
    sight: Sight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One hook; times are seconds since 1970.

    >>> card = desk.show("chat-room")
    >>> card.look, card.figures.waiting, card.last.status
    (<Look.WORKING: 'working'>, 0, 200)
    """

    hook: Hook
    standing: Standing
    #: What waits, how much is set aside, and what the log lost.
    figures: Figures
    #: The newest attempt.
    last: Attempt | None
    #: How many events were refused and are tried again, and when the first of them is, also while the hook works.
    refused: int = 0
    refused_next_at: float | None = None
    #: Whether an attempt for an event is kept, whatever came of it; a test is none.
    was_posted: bool = False
    #: The last status of a receiver that refuses every event; None if it does not.
    refuses_all: int | None = None
    #: What the receiver answered when its consent was asked; None if it was not.
    consent: KeptConsent | None = None
    #: Until when the former secret signs as well; None if there is one secret.
    old_secret_until: float | None = None
    #: Only of `Desk.show`: the newest first, and what is set aside, oldest first.
    attempts: tuple[Attempt, ...] = ()
    #: What may be seen now of the events of these attempts, in the same order.
    sights: tuple[Sight, ...] = ()
    set_aside: tuple[Refused, ...] = ()
    #: What may be seen of the oldest event that waits; None if none waits.
    oldest: Sight | None = None

    @property
    def look(self) -> Look:
        """Return the state in one word."""
        if self.standing.state is not State.ON:
            return Look(self.standing.state.value)
        if self.standing.failing_since is not None:
            return Look.FAILING
        is_accepted = self.last is not None and self.last.outcome == Outcome.DELIVERED
        is_known = is_accepted or self.standing.last_success_at is not None or self.was_tried
        return Look.WORKING if is_known else Look.NOT_TRIED

    @property
    def was_tried(self) -> bool:
        """Return whether the receiver ever got an event, accepted or not; a test does not count."""
        return self.was_posted or bool(self.standing.delivered or self.refused or self.figures.set_aside)

    @property
    def failed_test(self) -> Attempt | None:
        """Return the last test if it failed and no event was accepted yet, so that nothing shows that it works."""
        is_failed = self.last is not None and self.last.position == 0 and self.last.outcome != Outcome.DELIVERED
        return self.last if is_failed and self.standing.last_success_at is None and not self.was_tried else None

    @property
    def trouble(self) -> Attempt | None:
        """Return the last answer that shows why a hook fails; None if it does not, or such an answer is not known.

        It is not always the last answer: a failing hook may have accepted a test.
        """
        if self.look is not Look.FAILING:
            return None
        known = (self.last, *self.attempts)
        return next((each for each in known if each is not None and each.outcome != Outcome.DELIVERED), None)

    @property
    def accepted_test(self) -> Attempt | None:
        """Return the last test if it was accepted while events wait for an owner, or for their next attempt."""
        is_stuck = self.look in (Look.FAILING, Look.PARKED, Look.OFF)
        is_test = self.last is not None and self.last.position == 0 and self.last.outcome == Outcome.DELIVERED
        return self.last if is_stuck and is_test else None


def card_json(card: Card) -> dict[str, Any]:
    """Return a card as `list --json` prints it, without any secret; the schema is webhooks.v1."""
    hook, standing = card.hook, card.standing
    return {
        "name": hook.name,
        "url": hook.url,
        "topics": list(hook.topics),
        "owner": hook.owner,
        "handshake": hook.handshake.value,
        "bearer_file": hook.bearer_file,
        "state": card.look.value,
        "reason": standing.reason,
        "since": _moment(standing.since or None),
        "failing_since": _moment(standing.failing_since),
        "last_success_at": _moment(standing.last_success_at),
        "next_at": _moment(standing.next_at),
        "waiting": card.figures.waiting,
        "oldest_at": _moment(card.figures.oldest_at),
        "refused": card.refused,
        "refused_next_at": _moment(card.refused_next_at),
        "set_aside": card.figures.set_aside,
        "delivered": standing.delivered,
        "withheld": standing.withheld,
        "lost": card.figures.lost,
        "interrupted_at": _moment(standing.interrupted_at),
        "consent": None if card.consent is None else _consent_json(card.consent),
        "old_secret_until": _moment(card.old_secret_until),
        "last": None if card.last is None else attempt_json(card.last),
    }


def whole_json(card: Card) -> dict[str, Any]:
    """Return a card as `show --json` prints it: with its attempts and what is set aside."""
    letters = [
        {
            "letter": event.letter,
            "at": format_time(event.dead_at),
            "source": event.source,
            "id": event.id,
            "type": event.type,
            "routing_key": event.routing_key,
            "reason": event.reason,
            "attempt": None if attempt is None else attempt_json(attempt),
            "event": None if sight is None else sight_json(sight),
        }
        for event, attempt, sight in card.set_aside
    ]
    attempts = [
        {**attempt_json(each), "event": sight_json(sight)}
        for each, sight in zip(card.attempts, card.sights, strict=True)
    ]
    oldest = None if card.oldest is None else sight_json(card.oldest)
    return {**card_json(card), "oldest": oldest, "attempts": attempts, "set_aside_events": letters}


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as it is printed."""
    return {
        "number": attempt.number,
        "at": format_time(attempt.at),
        "webhook_id": attempt.webhook_id,
        "source": attempt.source,
        "id": attempt.id,
        "type": attempt.type,
        "routing_key": attempt.routing_key,
        "tries": attempt.tries,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "reason": attempt.reason,
        "took_s": round(attempt.took_s, 3),
        "headers": attempt.headers,
        "excerpt": attempt.excerpt,
        "next_at": _moment(attempt.next_at),
    }


def _consent_json(consent: KeptConsent) -> dict[str, Any]:
    return {
        "granted": consent.granted,
        "asked_at": format_time(consent.asked_at),
        "rate": consent.rate,
        "reason": consent.reason,
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(seconds)
