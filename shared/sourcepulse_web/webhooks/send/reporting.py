# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the bus hears of a hook: each report becomes a call of `Notices`, with what waits for the hook now."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sourcepulse.errors import SourcePulseError
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.events import Circumstances
from sourcepulse_web.webhooks.notices.notices import Notices
from sourcepulse_web.webhooks.send.judge import News, Report
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Figures

logger = logging.getLogger(__name__)


class Reporter:
    """Reports of hooks; never raises, because no POST may wait for it."""

    def __init__(self, notices: Notices, queues: HookQueues) -> None:
        self._notices = notices
        self._queues = queues

    def report(self, hook: Hook, reports: Iterable[Report], *, type_: str, now: float) -> None:
        """Report something of a hook; `type_` is the type of the event that it is about."""
        for report in reports:
            figures = self._figures(hook.name)
            about = Circumstances(
                reason=report.reason,
                status=report.status,
                since=report.since,
                waiting=figures.waiting,
                set_aside=figures.set_aside,
            )
            try:
                self._send(hook, report.news, about, type_, now)
            except Exception:
                logger.exception("the bus does not hear of the webhook %s", hook.name)

    def _send(self, hook: Hook, news: News, about: Circumstances, type_: str, now: float) -> None:
        if news is News.FAILING:
            self._notices.failing(hook, about, at=now)
        elif news is News.REFUSED:
            self._notices.refused(hook, about, at=now, type_=type_)
        elif news is News.PARKED:
            self._notices.parked(hook, about, at=now)
        elif news is News.RESUMED:
            self._notices.resumed(hook, about, at=now)
        else:
            self._notices.disabled(hook, about, at=now)

    def _figures(self, name: str) -> Figures:
        try:
            return self._queues.figures(name)
        except SourcePulseError:
            return Figures()
