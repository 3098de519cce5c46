# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the actions print about what happens next, and what to do for it."""

from __future__ import annotations

import logging
import time

from sourcepulse_web.webhooks.desk.card import Card, Look
from sourcepulse_web.webhooks.hook import State

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))

logger = logging.getLogger(__name__)


def counted(number: int, what: str) -> str:
    """Return `1 event`, `2 events`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """Return how long a time is: `5 min`."""
    age = max(0, int(seconds))
    return next((f"{age // unit} {name}" for unit, name in _UNITS if age >= unit), f"{age} s")


def after_test(card: Card) -> str:
    """Return what sends the events that wait, after a test that was accepted; "" if there is no such test."""
    if card.accepted_test is None:
        return ""
    waiting = card.figures.waiting
    if not waiting:
        return "the last test was accepted; nothing waits"
    waits, them = ("waits", "it") if waiting == 1 else ("wait", "them")
    resume = f"`sourcepulse webhook resume {card.hook.name}` sends {them} at once"
    return f"the last test was accepted; {counted(waiting, 'event')} {waits}; {resume}"


def warn_if_not_running(running: bool) -> None:
    """Log how the sender is started, if it does not run."""
    if not running:
        logger.warning("the sender does not run: start `sourcepulse web`, or `sourcepulse webhook run`")


def warn_of_wait(card: Card) -> None:
    """Log what keeps events of a hook waiting, and what sends them at once, if something does."""
    name = card.hook.name
    if card.standing.state is not State.ON:
        logger.warning("%s is %s; first: sourcepulse webhook resume %s", name, card.look.value, name)
    elif card.look is Look.FAILING and card.figures.waiting:
        due = "" if card.standing.next_at is None else f", the next attempt is due in {_left(card.standing.next_at)}"
        logger.warning("%s is failing%s; at once: sourcepulse webhook resume %s", name, due, name)


def _left(moment: float) -> str:
    return span(moment - time.time())
