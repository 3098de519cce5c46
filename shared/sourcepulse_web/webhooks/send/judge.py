# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What one answer changes: the troubles of a hook, how it stands, and what leaves its queue. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sourcepulse_web.webhooks.errors import Problem
from sourcepulse_web.webhooks.hook import Standing, State
from sourcepulse_web.webhooks.notices.events import ADDRESS, DELIVERED, GONE, NETWORK, REFUSALS, STATUS
from sourcepulse_web.webhooks.post.post import Answer
from sourcepulse_web.webhooks.send.outcome import Outcome, outcome_of
from sourcepulse_web.webhooks.send.schedule import (
    ASKED,
    is_failing,
    is_interrupted,
    is_parked,
    is_set_aside,
    pause_left,
    refusal_pause,
    refuses_all,
    retry_pause,
)
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.store.records import Trouble

#: Where the troubles of a hook have that of the hook itself, its failed tries in a row; no event has this position.
HOOK = 0
#: Where they have the row of tries without success in between, of any event and kind, by which a hook is parked.
ROW = -1
#: Where they have how many different events were refused since the last success, however long that is ago, or since the
#: owner resumed the hook; it begins when the first of them was POSTed.
REFUSED_ROW = -2
#: By how much an event that is set aside, with none accepted since the one before, lowers what is sure of its receiver,
#: and what is sure at most. One that begins to refuse everything, with a status that it used for some events before, so
#: loses six of them within two minutes.
DOUBT = 2
SURE_MAX = 8
#: How long an event that is set aside makes the time of the next one shorter. Ten minutes for less than one event an
#: hour keep no source behind, and after a quiet hour an outage of seconds must set nothing aside.
ALIKE_SECONDS = 3_600.0
#: The kinds of these troubles; the other kinds are outcomes.
SET_ASIDE = "set-aside"
IN_A_ROW = "row"
EVENTS_IN_A_ROW = "events-row"
#: A queue keeps so many dead letters, and none may be lost for a newer one.
SET_ASIDE_MAX = 1_000
HOUR_SECONDS = 3600.0
#: The reason of a report of a hook that the sender itself failed at.
FAULT = "fault"


def last_set_aside(status: int | None) -> int:
    """Return where the troubles of a hook have the last event that was set aside with a status.

    It has when that was, and in `tries` how sure it is that the receiver works and refuses some events. No other row is
    there, because a status that refuses an event is at least 400.
    """
    return -(status or 0)


class News(StrEnum):
    """What the bus hears of a hook; the names are those of the methods of `Notices`."""

    FAILING = "failing"
    REFUSED = "refused"
    PARKED = "parked"
    RESUMED = "resumed"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One piece of news: its reason in a word of `notice_events`, and since when it is so."""

    news: News
    reason: str
    status: int | None
    since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known when an answer arrives; `now` is in seconds since 1970, `jitter` between 0 and 1."""

    position: int
    standing: Standing
    troubles: Mapping[int, Trouble]
    #: How many events of the hook are set aside.
    set_aside: int
    schedule: Schedule
    now: float
    jitter: float
    #: Whether the event was refused before in the row of refused events, also if it was set aside since.
    was_refused: bool = False
    #: When the POST began, in seconds since 1970; None for `now`.
    sent_at: float | None = None

    @property
    def failures(self) -> int:
        """How many tries in a row failed because of the receiver."""
        trouble = self._going_on(HOOK)
        return trouble.tries if trouble else 0

    def row(self, next_at: float, status: int | None) -> Trouble:
        """Return the row of tries without success, with this one, whose next one is due then."""
        former = self._going_on(ROW)
        if former is None or former.first_at > self.now:
            # A clock that was ahead at the first failure: how long it has lasted is counted from now on.
            return Trouble(1, self.now, next_at, status, IN_A_ROW)
        due = self.now + pause_left(former, self.now, self.schedule)
        return Trouble(former.tries + 1, former.first_at, max(due, next_at), status, IN_A_ROW)

    def refused(self, status: int | None) -> Trouble:
        """Return the row of events that were refused without success in between, with this one."""
        former = self.troubles.get(REFUSED_ROW)
        if former is None or former.first_at > self.now:
            # As the attempt is recorded, so that a later attempt for this event finds it within the row.
            began_at = self.now if self.sent_at is None else self.sent_at
            return Trouble(1, began_at, self.now, status, EVENTS_IN_A_ROW)
        return former._replace(tries=former.tries + (not self.was_refused), next_at=self.now, status=status)

    def is_parked(self, row: Trouble) -> bool:
        """Return whether a row is long enough to park the hook."""
        return is_parked(row.tries, self.now - row.first_at, self.schedule)

    def is_alone(self) -> bool:
        """Return whether no other event is in trouble."""
        return not any(position > HOOK and position != self.position for position in self.troubles)

    def next_due(self, due: float | None = None) -> float | None:
        """Return when the first of the events that were refused is tried again; `due` is when this one is, if it is."""
        others = [it.next_at for at, it in self.troubles.items() if at > HOOK and at != self.position]
        return min([*others, *([] if due is None else [due])], default=None)

    def _going_on(self, position: int) -> Trouble | None:
        trouble = self.troubles.get(position)
        return None if trouble is None or is_interrupted(trouble.next_at, self.now, self.schedule) else trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an answer changes; `pause_s` is how long its source waits, or the hook."""

    outcome: Outcome
    standing: Standing
    #: By position; None for one that is over.
    troubles: dict[int, Trouble | None] = field(default_factory=dict)
    #: The event leaves the queue, because it was accepted.
    settles: bool = False
    #: Why the event is set aside; "" if it is not.
    set_aside: str = ""
    hook_pause_s: float | None = None
    source_pause_s: float | None = None
    #: When the event is tried again, in seconds since 1970; None if it is not.
    next_at: float | None = None
    reports: tuple[Report, ...] = ()


def judge(answer: Answer, was: Situation) -> Change:
    """Return what an answer changes for a hook that is as it was when the event was sent."""
    outcome = outcome_of(answer.status)
    if outcome is Outcome.DELIVERED:
        return _delivered(answer, was)
    if outcome is Outcome.GONE:
        return _gone(answer, was)
    return _refused(answer, was) if outcome is Outcome.REFUSED else _failed(answer, was)


def _delivered(answer: Answer, was: Situation) -> Change:
    reports: tuple[Report, ...] = ()
    if was.standing.failing_since is not None or ROW in was.troubles:
        reports = (_report(News.RESUMED, DELIVERED, answer, was.standing),)
    standing = replace(
        was.standing,
        delivered=was.standing.delivered + 1,
        last_success_at=was.now,
        failing_since=None,
        next_at=None,
    )
    return Change(
        outcome=Outcome.DELIVERED,
        standing=standing,
        troubles={was.position: None, HOOK: None, ROW: None, REFUSED_ROW: None},
        settles=True,
        reports=reports,
    )


def _failed(answer: Answer, was: Situation) -> Change:
    """Make the whole hook wait, because the receiver is at fault."""
    failures = was.failures + 1
    pause = retry_pause(failures, was.schedule, retry_after_s=answer.retry_after_s, jitter=was.jitter)
    row = was.row(was.now + pause, answer.status)
    # Not that of the row, which may be of an event whose source waits longer.
    standing = _failing(was, row, was.now + pause, was.troubles.get(REFUSED_ROW))
    reports: tuple[Report, ...] = ()
    if is_failing(failures):
        reports = (_report(News.FAILING, _cause(answer), answer, standing),)
    if was.is_parked(row):
        return _parked(answer, was, standing, _cause(answer), {HOOK: None, ROW: None}, Outcome.RETRY)
    kind = ASKED if answer.retry_after_s else Outcome.RETRY
    return Change(
        outcome=Outcome.RETRY,
        standing=standing,
        troubles={HOOK: Trouble(failures, row.first_at, was.now + pause, answer.status, kind), ROW: row},
        hook_pause_s=pause,
        next_at=was.now + pause,
        reports=reports,
    )


def _refused(answer: Answer, was: Situation) -> Change:
    """Make the source of the event wait, or set the event aside after enough refusals."""
    former = was.troubles.get(was.position)
    refusals, first_at = (former.tries + 1, former.first_at) if former else (1, was.now)
    alike = _alike(answer, was)
    since_first_s = was.now - first_at
    if is_set_aside(refusals, since_first_s, was.schedule, alike=alike):
        return _set_aside(answer, was, refusals, alike)
    pause = refusal_pause(
        refusals, since_first_s, was.schedule, alike=alike, retry_after_s=answer.retry_after_s, jitter=was.jitter
    )
    due = was.now + pause
    row, events = was.row(due, answer.status), was.refused(answer.status)
    trouble = Trouble(refusals, first_at, due, answer.status, Outcome.REFUSED)
    # It has answered, so that the hook itself is not in trouble.
    troubles = {was.position: trouble, HOOK: None, ROW: row, REFUSED_ROW: events}
    standing = _failing(was, row, was.next_due(due), events)
    if was.is_parked(row):
        return _parked(answer, was, standing, REFUSALS, {**troubles, ROW: None}, Outcome.REFUSED)
    return Change(
        outcome=Outcome.REFUSED,
        standing=standing,
        troubles=troubles,
        source_pause_s=pause,
        next_at=due,
        reports=_refuses_all(answer, events, standing),
    )


def _alike(answer: Answer, was: Situation) -> int:
    """Return how many events were set aside with this status by a receiver that works, so far as that is sure.

    None if the last of them was more than an hour ago, or by the clock is still to come. Each one counts if the
    receiver accepted another event since the one before. Otherwise it is in doubt, and lowers the number: of many
    sources, several may be at such an event at once, but a receiver that accepts nothing any more is soon given the
    whole time again.
    """
    last, success_at = was.troubles.get(last_set_aside(answer.status)), was.standing.last_success_at
    if last is None or success_at is None or not 0.0 <= was.now - last.first_at <= ALIKE_SECONDS:
        return 0
    return last.tries if success_at > last.first_at else max(0, last.tries - DOUBT)


def _set_aside(answer: Answer, was: Situation, refusals: int, alike: int) -> Change:
    row, events = was.row(was.now, answer.status), was.refused(answer.status)
    standing = _failing(was, row, was.next_due(), events)
    kept: dict[int, Trouble | None] = {was.position: None, HOOK: None, ROW: None, REFUSED_ROW: events}
    if was.set_aside >= SET_ASIDE_MAX:
        # It was resumed without room for another one; the event stays in the queue.
        return _parked(answer, was, standing, REFUSALS, kept, Outcome.REFUSED)
    sure = min(alike + 1, SURE_MAX)
    kept[last_set_aside(answer.status)] = Trouble(sure, was.now, was.now, answer.status, SET_ASIDE)
    reason = f"refused {refusals} times, at last: {answer.reason}"
    report = _report(News.REFUSED, REFUSALS, answer, standing)
    if was.set_aside + 1 >= SET_ASIDE_MAX or was.is_parked(row):
        parked = _parked(answer, was, standing, REFUSALS, kept, Outcome.REFUSED)
        return replace(parked, set_aside=reason, reports=(report, *parked.reports))
    if was.is_alone() and not refuses_all(events.tries):
        # Nothing is tried again now, so that the hook does not fail; the row goes on if the next event is refused.
        standing = replace(standing, failing_since=None, next_at=None)
    kept[ROW] = row
    reports = (report, *_refuses_all(answer, events, standing))
    return Change(outcome=Outcome.REFUSED, standing=standing, troubles=kept, set_aside=reason, reports=reports)


def _gone(answer: Answer, was: Situation) -> Change:
    """Switch the hook off; the event stays in the queue."""
    standing = _failing(was, was.row(was.now, answer.status), None, was.troubles.get(REFUSED_ROW))
    troubles: dict[int, Trouble | None] = {was.position: None, HOOK: None, ROW: None, REFUSED_ROW: None}
    if standing.state is not State.ON:
        return Change(outcome=Outcome.GONE, standing=standing, troubles=troubles)
    reason = "its receiver answered 410 Gone: it wants no events any more; resume the webhook if that was an error"
    standing = replace(standing, state=State.OFF, reason=reason, since=was.now)
    report = _report(News.DISABLED, GONE, answer, standing)
    return Change(outcome=Outcome.GONE, standing=standing, troubles=troubles, reports=(report,))


def _parked(
    answer: Answer,
    was: Situation,
    standing: Standing,
    cause: str,
    troubles: dict[int, Trouble | None],
    outcome: Outcome,
) -> Change:
    """Stop trying until the owner resumes the hook; a hook that its owner paused meanwhile stays paused."""
    if standing.state is not State.ON:
        return Change(outcome=outcome, standing=standing, troubles=troubles)
    if cause == REFUSALS and was.set_aside + 1 >= SET_ASIDE_MAX:
        reason = f"{SET_ASIDE_MAX:,} events are set aside; send them again or drop them, and resume the webhook"
    else:
        hours = (was.now - (standing.failing_since or was.now)) / HOUR_SECONDS
        reason = (
            f"nothing was accepted for {hours:.0f} hours, at last: {answer.reason}; resume it when its receiver works"
        )
    report = _report(News.PARKED, cause, answer, standing)
    parked = replace(standing, state=State.PARKED, reason=reason, since=was.now, next_at=None)
    return Change(outcome=outcome, standing=parked, troubles=troubles, reports=(report,))


def _failing(was: Situation, row: Trouble, next_at: float | None, events: Trouble | None) -> Standing:
    """Return the standing of a hook that fails, since the first event of a row that was refused if all are."""
    since = row.first_at
    if events is not None and refuses_all(events.tries):
        since = min(since, events.first_at)
    return replace(was.standing, failing_since=since, next_at=next_at)


def _refuses_all(answer: Answer, events: Trouble, standing: Standing) -> tuple[Report, ...]:
    return (_report(News.FAILING, REFUSALS, answer, standing),) if refuses_all(events.tries) else ()


def _cause(answer: Answer) -> str:
    if answer.status is not None:
        return STATUS
    return ADDRESS if answer.problem is Problem.ADDRESS else NETWORK


def _report(news: News, reason: str, answer: Answer, standing: Standing) -> Report:
    return Report(news=news, reason=reason, status=answer.status, since=standing.failing_since)
