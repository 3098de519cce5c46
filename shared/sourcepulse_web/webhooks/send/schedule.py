# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When an event is tried again, when it is set aside, and when its hook is reported as failing or parked.

All times are seconds; `jitter` is between 0 and 1, usually random, and only makes a pause longer.
"""

from __future__ import annotations

from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.store.records import Trouble

#: By how much of itself a pause grows at most, so that hooks of one broken host do not all return at once.
JITTER_SHARE = 0.2
#: A hook is reported as failing with so many failed tries in a row: with the usual schedule, after 5 minutes.
FAILING_TRIES = 3
#: A hook is failing as well when so many different events in a row were refused: its receiver refuses everything.
FAILING_EVENTS = 3
#: A hook is not parked before so many failed tries in a row, however far the clock was set forward.
PARK_TRIES_MIN = 5
#: A try that comes later than so many of the longest pauses, and so many seconds, begins a new row of failures.
LATE_PAUSES = 2
LATE_SECONDS = 60.0
#: The kind of a trouble whose pause the receiver asked for by Retry-After.
ASKED = "asked"
UNKNOWN_MOST_SECONDS = 60.0
#: The shortest time over which an event must be refused, however many were refused alike before it.
POISON_SHORTEST_SECONDS = 5.0
#: So many halves make any time that shortest one.
HALVES_MAX = 30


def retry_pause(failures: int, schedule: Schedule, *, retry_after_s: float | None, jitter: float) -> float:
    """Return how long a hook waits after so many failed tries in a row: 5 s, 5 min, then 30 min, plus the jitter.

    The first pause of the schedule is the one before the first try. A longer Retry-After of the receiver is obeyed, up
    to the limit of the schedule.
    """
    pauses = schedule.retry_s
    pause = pauses[min(failures, len(pauses) - 1)] * (1.0 + JITTER_SHARE * jitter)
    return max(pause, _bounded(retry_after_s, schedule))


def refusal_pause(
    refusals: int,
    since_first_s: float,
    schedule: Schedule,
    *,
    alike: int,
    retry_after_s: float | None = None,
    jitter: float = 0.0,
) -> float:
    """Return how long the source of an event waits after so many refusals, the first of which was `since_first_s` ago.

    The second try comes after the second pause of the schedule, the further ones are spread evenly, and the last one
    comes when the event may be set aside: usually after 0 s, 5 s, 203 s, 402 s and 600 s. `alike` is as in `span_of`.
    """
    tries, span = schedule.poison_tries, span_of(schedule, alike)
    first = min(retry_pause(1, schedule, retry_after_s=None, jitter=0.0), span / max(1, tries - 1))
    due = span if refusals >= tries - 1 else first + (span - first) * (refusals - 1) / (tries - 2)
    pause = max(first, due - max(0.0, since_first_s)) * (1.0 + JITTER_SHARE * jitter)
    # Five tries with a day between them would stop the source for days.
    return max(pause, min(_bounded(retry_after_s, schedule), span))


def unknown_pause(former: int, schedule: Schedule, *, jitter: float) -> float:
    """Return how long a source waits whose events cannot be checked, after so many questions without an answer.

    The second pause of the schedule, doubled each time, at most a minute: the receiver is not burdened by a question.
    """
    first = retry_pause(1, schedule, retry_after_s=None, jitter=0.0)
    return backoff_seconds(former, first=first, most=max(first, UNKNOWN_MOST_SECONDS)) * (1.0 + JITTER_SHARE * jitter)


def is_set_aside(refusals: int, since_first_s: float, schedule: Schedule, *, alike: int) -> bool:
    """Return whether an event was refused often enough for long enough; `alike` is as in `span_of`.

    A negative time is that of a clock that was set back; the number of refusals decides then.
    """
    is_over = since_first_s < 0 or since_first_s >= span_of(schedule, alike)
    return refusals >= schedule.poison_tries and is_over


def is_parked(failures: int, failing_for_s: float, schedule: Schedule) -> bool:
    """Return whether a hook failed for so long that nothing is tried any more until its owner resumes it."""
    return failures >= PARK_TRIES_MIN and failing_for_s >= schedule.park_s


def is_failing(failures: int) -> bool:
    """Return whether a hook that failed so often in a row is reported as failing."""
    return failures >= FAILING_TRIES


def refuses_all(events: int) -> bool:
    """Return whether a receiver that refused so many different events in a row, and accepted none, refuses all.

    Others do not distinguish: for GitLab and Svix each answer but 2xx is a failure of the receiver. Here one
    refused event is a fault of that event, until others are refused as well.
    """
    return events >= FAILING_EVENTS


def is_interrupted(next_at: float, now: float, schedule: Schedule) -> bool:
    """Return whether so much time has passed since the next try was due that nothing was tried: a row of failures ends.

    Nothing waited, the hook was paused, or the sender did not run. That time says nothing about the receiver.
    """
    return now - next_at > LATE_PAUSES * schedule.retry_s[-1] + LATE_SECONDS


def pause_left(trouble: Trouble, now: float, schedule: Schedule) -> float:
    """Return how long a stored wait lasts from now on; never longer than any wait is, if the clock was set back."""
    most = max(schedule.retry_s[-1], schedule.poison_s) * (1.0 + JITTER_SHARE)
    if trouble.kind == ASKED:
        most = max(most, schedule.retry_after_max_s)
    return min(max(0.0, trouble.next_at - now), most)


def span_of(schedule: Schedule, alike: int) -> float:
    """Return over which time an event must be refused before it is set aside.

    `alike` is how many events were set aside with the same status while the receiver accepted others: it works, and
    refuses some events. So the time is shorter after the first of them, and half of that after each further one;
    otherwise a receiver that refuses one event in ten would fall behind its sources for good.
    """
    if not alike or schedule.poison_again_s >= schedule.poison_s:
        return schedule.poison_s
    shorter = schedule.poison_again_s * 0.5 ** min(alike - 1, HALVES_MAX)
    return max(shorter, min(POISON_SHORTEST_SECONDS, schedule.poison_again_s))


def _bounded(retry_after_s: float | None, schedule: Schedule) -> float:
    return min(max(0.0, retry_after_s or 0.0), schedule.retry_after_max_s)
