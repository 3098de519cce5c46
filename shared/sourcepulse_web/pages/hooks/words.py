# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Hooks in words: states with their symbols, answers, times and limits."""

from __future__ import annotations

from typing import NamedTuple

from sourcepulse.events.event import format_time
from sourcepulse_web.pages.trees.texts import date, lasting, many, shown
from sourcepulse_web.webhooks.desk.card import Card, Look
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.send.outcome import Outcome
from sourcepulse_web.webhooks.settings import WebhookSettings

#: Of an answer, in the list of attempts.
FIRST_WORDS_CHARACTERS = 60
#: Below the one in milliseconds, from the other on without a fraction.
SHORT_SECONDS, LONG_SECONDS = 0.1, 10.0
NEVER = "\u2013"


class State(NamedTuple):
    """A symbol, a class and a word."""

    symbol: str
    look: str
    word: str


STATES = {
    Look.NOT_TRIED: State("○", "skipped", Look.NOT_TRIED.value),
    Look.WORKING: State("●", "passed", "working"),
    Look.FAILING: State("↻", "warnings", "trying again"),
    Look.PAUSED: State("‖", "skipped", "paused"),
    Look.PARKED: State("\u00d7", "new", "parked"),
    Look.OFF: State("\u2013", "skipped", "off"),
}
#: Of a hook whose receiver refuses every event; what is set aside is not tried again.
REFUSING = State("△", "warnings", "failing")
#: Of a hook that would work, while the sender does not run.
IDLE = State("△", "warnings", "not sent now")
#: Of a hook to which nothing was sent but tests, of which the last failed.
UNTRIED = State("△", "warnings", Look.NOT_TRIED.value)
#: What a hook can be brought back from, and the word on the button.
RESUME = {Look.FAILING: "Try now", Look.PAUSED: "Resume", Look.PARKED: "Resume", Look.OFF: "Resume"}
_NEXT = {
    Outcome.GONE: "switched off",
    Outcome.WITHHELD: "not sent",
}


def state_of(card: Card, *, runs: bool = True) -> State:
    """Return the state of a hook; `runs` is whether the sender does."""
    if card.look is Look.FAILING and card.refuses_all is not None:
        return REFUSING
    if card.look not in (Look.NOT_TRIED, Look.WORKING):
        return STATES[card.look]
    if not runs:
        return IDLE
    return STATES[card.look] if card.failed_test is None else UNTRIED


class Moment(NamedTuple):
    """A time: in words that stand behind another word, exactly, and from now: `6 min ago`, `in 30 min`."""

    words: str
    exact: str
    age: str = ""

    @property
    def aged(self) -> str:
        """Return the words and how far away it is: `at 11:26:01 (6 min ago)`."""
        return f"{self.words} ({self.age})"


def moment(at: float, now: float) -> Moment:
    """Return `at 11:26:01` of this day (UTC), `on 20 Nov` of another one."""
    exact, today = format_time(at), format_time(now)
    if exact[:10] == today[:10]:
        return Moment(f"at {exact[11:19]}", exact, away(at, now))
    year = "" if exact[:4] == today[:4] else f" {exact[:4]}"
    return Moment(f"on {date(exact)}{year}", exact, away(at, now))


def clock(at: float, now: float) -> Moment:
    """Return `11:26:01`, with the date before it if that is another one."""
    exact, today = format_time(at), format_time(now)
    before = "" if exact[:10] == today[:10] else f"{date(exact)} "
    return Moment(f"{before}{exact[11:19]}", exact, away(at, now))


def away(at: float, now: float) -> str:
    """Return how far a time is from now: `6 min ago`, or `in 30 min`."""
    return f"in {age(now, at)}" if at > now else f"{age(at, now)} ago"


def waits(card: Card, now: float) -> str:
    """Return what a hook does now, or waits for, behind its state."""
    standing, waiting = card.standing, card.figures.waiting
    events = many(waiting, "event")
    if card.look is Look.FAILING:
        since = f"since {clock(standing.failing_since or now, now).aged}{_trouble(card)}"
        tried = "" if standing.next_at is None else f"; the next attempt is {moment(standing.next_at, now).aged}"
        if card.refuses_all is not None:
            return f"{since}; every event is refused, at last with {card.refuses_all}{tried}{_accepted_test(card)}"
        if not waiting:
            return f"{since}; nothing waits now"
        tried += _accepted_test(card)
        kept = "" if waiting == 1 else f"; order is kept: {many(waiting - 1, 'event')} behind the first"
        return f"{since}{tried}{kept}"
    if card.look not in (Look.NOT_TRIED, Look.WORKING):
        reason = f": {shown(standing.reason)}" if standing.reason else ""
        kept = f". {events} {'is' if waiting == 1 else 'are'} kept for it" if card.look is not Look.OFF else ""
        return f"since {clock(standing.since, now).aged}{reason}{kept}{_accepted_test(card)}"
    if card.failed_test is not None:
        done = f"the last test failed: {answer(card.failed_test)}"
    elif standing.last_success_at is None:
        done = "send a test to see whether its receiver works" if not waiting else f"{events} to be sent"
    else:
        done = f"last accepted {moment(standing.last_success_at, now).aged}"
    return f"{done}{_refused(card, now)}"


def _trouble(card: Card) -> str:
    """Return what the receiver answered last, if that is what fails."""
    return "" if card.trouble is None else f": {answer(card.trouble)}"


def _accepted_test(card: Card) -> str:
    """Return that the last test was accepted, and the button that sends what waits."""
    if card.accepted_test is None or not card.figures.waiting or card.standing.is_paused_by_admin:
        return ""
    return f"; the last test was accepted: {RESUME[card.look]} sends what waits at once"


def _refused(card: Card, now: float) -> str:
    """Return what is tried again of single events, whose sources wait while the others go on."""
    if not card.refused:
        return ""
    tried = "" if card.refused_next_at is None else f", the next {moment(card.refused_next_at, now).words}"
    refused = many(card.refused, "event")
    return f"; {refused} {'is' if card.refused == 1 else 'are'} refused and tried again{tried}; other sources go on"


def consent(card: Card, now: float) -> str:
    """Return what the receiver answered when it was asked for consent; "" if it was not asked."""
    answer = card.consent
    if answer is None:
        return ""
    if not answer.granted:
        return f"not granted {moment(answer.asked_at, now).words}: {shown(answer.reason)}"
    rate = f", {shown(answer.rate)} a minute at most" if answer.rate else ""
    return f"granted {moment(answer.asked_at, now).words}{rate}"


def answer(attempt: Attempt) -> str:
    """Return `204` or `503 try later`: the status, and the first words of the answer; without one, the reason."""
    if attempt.status is None:
        return first_words(shown(attempt.reason)) or attempt.outcome
    words = "" if is_good(attempt) else first_words(" ".join(attempt.excerpt.split()))
    return f"{attempt.status} {shown(words)}".strip()


def first_words(text: str) -> str:
    """Return the first words of a text, with … if there are more."""
    if len(text) <= FIRST_WORDS_CHARACTERS:
        return text
    words = text[: FIRST_WORDS_CHARACTERS + 1].rpartition(" ")[0] or text[:FIRST_WORDS_CHARACTERS]
    return f"{words} …"


def is_good(attempt: Attempt) -> bool:
    """Return whether the receiver accepted."""
    return attempt.outcome == Outcome.DELIVERED


def last_answer(attempt: Attempt | None, now: float) -> Moment:
    """Return `200 at 11:26:01`, or `no answer on 20 Nov`."""
    if attempt is None:
        return Moment(NEVER, "")
    at = moment(attempt.at, now)
    return Moment(f"{'no answer' if attempt.status is None else attempt.status} {at.words}", at.exact)


def comes_next(attempt: Attempt, now: float, set_aside: frozenset[tuple[str, str]]) -> str:
    """Return what comes after an attempt: `next at 12:00:53 (in 30 min)`, `set aside`, or nothing."""
    if (attempt.source, attempt.id) in set_aside and attempt.outcome == Outcome.REFUSED and attempt.next_at is None:
        return "set aside"
    if attempt.next_at is not None and attempt.next_at > now:
        return f"next {moment(attempt.next_at, now).aged}"
    return next((text for outcome, text in _NEXT.items() if attempt.outcome == outcome), "")


def took(seconds: float) -> str:
    """Return `12 ms`, `0.2 s`, `15 s`."""
    if seconds < SHORT_SECONDS:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < LONG_SECONDS else f"{seconds:.0f} s"


def age(at: float | None, now: float) -> str:
    """Return the first part of `5 min 3 s`."""
    return "" if at is None else " ".join(lasting(int(now - at)).split()[:2])


def span(seconds: float) -> str:
    """Return `5 s`, `10 min`, `3 days`."""
    if seconds < 1:
        return took(seconds)
    text = lasting(int(seconds))
    return f"{text[:-1]}{'day' if text == '1 d' else 'days'}" if text.endswith(" d") else text


def rules(settings: WebhookSettings, keep_s: float | None) -> list[str]:
    """Return in sentences when an event is tried again, set aside and lost, as this gateway is set.

    `keep_s` is how long its log keeps an event; None if it is the log of a relay, which decides that.
    """
    kept = "as long as the log keeps them" if keep_s is None else f"for {span(keep_s)}"
    schedule = settings.schedule
    *pauses, last = [span(each) for each in schedule.retry_s[1:] or schedule.retry_s]
    before = f"after {', '.join(pauses)} and then " if pauses else ""
    limit = span(settings.post_seconds)
    refused = f"{many(schedule.poison_tries, 'time')} over {span(schedule.poison_s)}"
    if schedule.poison_again_s < schedule.poison_s:
        refused += f", or over {span(schedule.poison_again_s)} at most within an hour of another one"
    return [
        f"A receiver has {limit} to answer.",
        f"No answer, 3xx, 408, 425, 429 and 5xx are tried again {before}every {last}; a Retry-After is obeyed.",
        f"An event that is answered with another 4xx, {refused}, is set aside, and the rest goes on.",
        "410 switches the hook off.",
        f"After {span(schedule.park_s)} of only failures the hook is parked; its events wait here {kept}.",
    ]


def address_hint(settings: WebhookSettings) -> str:
    """Return what an address must be, as this gateway is set."""
    schemes = "https, or http where an admin allows the host" if settings.allow else "https only"
    return f"{'https or http' if settings.http else schemes}; one event a POST"
