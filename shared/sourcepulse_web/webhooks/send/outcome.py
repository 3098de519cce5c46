# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an answer of a receiver means for the event, for its source, and for the hook."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus

#: Statuses below 500 after which the same event is tried again, because they say nothing about the event:
#: the receiver is slow, not ready, or asks for a pause.
RETRY_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Outcome(StrEnum):
    """What came of an attempt; `Attempt.outcome` is one of the first five."""

    #: 2xx: the receiver accepted the event.
    DELIVERED = "delivered"
    #: The receiver failed, so that the whole hook waits: no answer, a cut one, 3xx, 408, 425, 429, 5xx.
    RETRY = "retry"
    #: Any other 4xx: the receiver refuses this event; only the source of the event waits.
    REFUSED = "refused"
    #: 410: the receiver wants no events any more, and the hook is off.
    GONE = "gone"
    #: Nothing was POSTed, because it is not known now whether the event is public; only its source waits.
    UNKNOWN = "unknown"
    #: Nothing was POSTed yet: the event is public, and may be sent. No attempt is recorded.
    CLEARED = "cleared"
    #: Nothing was POSTed, because the event is no longer public. No attempt is recorded.
    WITHHELD = "withheld"


def outcome_of(status: int | None) -> Outcome:
    """Return what the status of an answer means; None is the status of no answer, or of a cut one.

    A 3xx is a failure and is not followed, 410 ends the deliveries: Standard Webhooks 1.0.0, "Operational
    considerations". A status that HTTP does not define is a failure of the receiver.
    """
    if status is None:
        return Outcome.RETRY
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == HTTPStatus.GONE:
        return Outcome.GONE
    if 400 <= status < 500 and status not in RETRY_STATUSES:
        return Outcome.REFUSED
    return Outcome.RETRY
