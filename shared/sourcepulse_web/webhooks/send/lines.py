# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""All hooks in the sender's memory, which follow what other processes write into the hook store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sourcepulse_web.webhooks.errors import UnknownHookError
from sourcepulse_web.webhooks.hook import Hook, Standing, State
from sourcepulse_web.webhooks.notices.events import OWNER
from sourcepulse_web.webhooks.send.judge import HOOK, News, Report
from sourcepulse_web.webhooks.send.line import Line, is_same_receiver
from sourcepulse_web.webhooks.send.reporting import Reporter
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Trouble
from sourcepulse_web.webhooks.store.store import HookStore

#: How often the store is read although nothing seems to have changed.
RELOAD_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all lines share; `monotonic` is the clock of waits, `clock` that of what is stored."""

    store: HookStore
    queues: HookQueues
    reporter: Reporter
    schedule: Schedule
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    #: Between 0 and 1, by which a pause is longer.
    jitter: Callable[[], float]


class Lines:
    """The lines by name; used by the sender's thread only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.by_name: dict[str, Line] = {}
        self._version: int | None = None
        self._reload_at = float("-inf")

    def reload(self) -> bool:
        """Read the hook store if another process changed it, and return whether it was read.

        What the store raises passes through.
        """
        version = self._parts.store.data_version()
        if version == self._version and self._parts.monotonic() < self._reload_at:
            return False
        standings, troubles = self._parts.store.standings(), self._parts.store.troubles.all()
        found: dict[str, Line] = {}
        for hook in self._parts.store.hooks():
            try:
                line = self._followed(hook, standings.get(hook.name), troubles.get(hook.name, {}))
            except UnknownHookError:
                # Removed since the list was read.
                continue
            if line is not None:
                found[hook.name] = line
        self.by_name = found
        self._version, self._reload_at = version, self._parts.monotonic() + RELOAD_SECONDS
        return True

    def in_flight(self) -> bool:
        """Return whether something is POSTed."""
        return any(line.in_flight is not None for line in self.by_name.values())

    def is_gone(self, line: Line) -> bool:
        """Return whether a hook was removed since the store was read, also if another one has its name now."""
        try:
            return self._parts.store.added_at(line.name) != line.added_at
        except UnknownHookError:
            return True

    def is_free(self, name: str) -> bool:
        """Return whether the store has no hook of this name now."""
        return self._parts.store.hook(name) is None

    def forget_events(self) -> None:
        """Hold no events: the log was opened again."""
        for line in self.by_name.values():
            line.forget_events()

    def forget_troubles(self) -> None:
        """Forget which events were refused: the log is another one, with other events at their positions."""
        for line in self.by_name.values():
            line.troubles = {at: trouble for at, trouble in line.troubles.items() if at <= HOOK}

    def _followed(self, hook: Hook, standing: Standing | None, troubles: Mapping[int, Trouble]) -> Line | None:
        """Return the line of a hook, new or changed; None for a hook that was just added, until the next time."""
        if standing is None:
            return None
        added_at = self._parts.store.added_at(hook.name)
        line = self.by_name.get(hook.name)
        secrets = tuple((secret.value, secret.until) for secret in self._parts.store.secrets(hook.name))
        now, monotonic = self._parts.clock(), self._parts.monotonic()
        if line is None or line.added_at != added_at:
            line = Line(hook=hook, added_at=added_at, standing=standing, secrets=secrets, seen_state=standing.state)
            line.wait_again(troubles, now, monotonic, self._parts.schedule)
        elif not is_same_receiver(line.hook, hook):
            # The receiver is another one, which is tried at once.
            self._parts.store.troubles.clear(hook.name)
            line.wait_again({}, now, monotonic, self._parts.schedule)
        elif _is_due_sooner(line.troubles, troubles) or self._is_resumed(line, standing):
            line.wait_again(troubles, now, monotonic, self._parts.schedule)
        is_resumed = self._is_resumed(line, standing)
        # Its owner had it tried at once: what was reported is over, and is reported again if it goes on.
        ended = line.standing.failing_since if standing.failing_since is None else None
        if is_resumed or ended is not None:
            report = Report(news=News.RESUMED, reason=OWNER, status=None, since=None if is_resumed else ended)
            self._parts.reporter.report(hook, [report], type_="", now=now)
        line.hook, line.secrets, line.standing, line.seen_state = hook, secrets, standing, standing.state
        line.consent = self._parts.store.consent(hook.name)
        return line

    @staticmethod
    def _is_resumed(line: Line, standing: Standing) -> bool:
        return standing.state is State.ON and line.seen_state is not State.ON


def _is_due_sooner(former: Mapping[int, Trouble], troubles: Mapping[int, Trouble]) -> bool:
    """Return whether another process ended troubles, or has some events tried sooner."""
    return any(at not in troubles or troubles[at].next_at < trouble.next_at for at, trouble in former.items())
