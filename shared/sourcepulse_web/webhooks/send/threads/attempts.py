# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the threads finished, as the attempt that is recorded of it."""

from __future__ import annotations

from sourcepulse.events.safe_text import reason_line
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.send.outcome import Outcome
from sourcepulse_web.webhooks.send.threads.posting import Checked, Posted


def attempt_of(posted: Posted, outcome: Outcome, next_at: float | None) -> Attempt:
    """Return a POST as it is recorded."""
    job, answer = posted.job, posted.answer
    event = job.event
    return Attempt(
        hook=job.hook.name, at=posted.at, position=event.position, webhook_id=job.webhook_id, source=event.source,
        id=event.id, type=event.type, routing_key=event.routing_key, tries=job.tries, outcome=outcome.value,
        status=answer.status, reason=reason_line(answer.reason), took_s=answer.took_s,
        headers="" if answer.accepted else answer.headers, excerpt="" if answer.accepted else answer.excerpt,
        next_at=next_at,
    )  # fmt: skip


def attempt_without_post(checked: Checked, next_at: float | None) -> Attempt:
    """Return a question without an answer as it is recorded: nothing was POSTed."""
    job, event = checked.job, checked.job.event
    return Attempt(
        hook=job.hook.name, at=checked.at, position=event.position, webhook_id=job.webhook_id, source=event.source,
        id=event.id, type=event.type, routing_key=event.routing_key, tries=job.tries, outcome=Outcome.UNKNOWN.value,
        status=None, reason=reason_line(checked.reason), took_s=0.0, next_at=next_at,
    )  # fmt: skip
