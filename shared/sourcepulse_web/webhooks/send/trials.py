# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tests that owners ask for: POSTed at once, whatever the state of the hook, and only recorded.

Those that were asked for before an admin paused the hook are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sourcepulse.events.wire import encode
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.events import event_for_test
from sourcepulse_web.webhooks.post.signature import webhook_id_of
from sourcepulse_web.webhooks.send.line import Line
from sourcepulse_web.webhooks.send.lines import Lines
from sourcepulse_web.webhooks.send.threads.posting import Job, Posting, Result
from sourcepulse_web.webhooks.store.records import AskedTest, Held
from sourcepulse_web.webhooks.store.store import HookStore

#: Of the hooks of one owner so many tests are under way at once, and of each hook one, so that other owners need not
#: wait for them.
OWNER_TESTS_MAX = 2


class Trials:
    """Used by the sender's thread only."""

    def __init__(self, store: HookStore, lines: Lines, posting: Posting, clock: Callable[[], float], host: str) -> None:
        self._store = store
        self._lines = lines
        self._posting = posting
        self._clock = clock
        self._host = host
        #: The hooks of the tests that are under way, by number.
        self._begun: dict[int, Hook] = {}
        self._asked: list[AskedTest] = []

    def read(self) -> None:
        """Read which tests are asked for; what the store raises passes through."""
        self._asked = [asked for asked in self._store.tests() if asked.number not in self._begun]

    def begin(self) -> None:
        """POST the tests that are asked for, as far as threads are free."""
        later = []
        for asked in self._asked:
            line = self._lines.by_name.get(asked.hook)
            if line is None:
                continue
            if line.standing.is_paused_by_admin and asked.asked_at <= line.standing.since:
                # Its owner asked for it before; what is asked for since is the admin's.
                self._store.drop_test(asked.number)
            elif self._may_begin(line.hook):
                self._begun[asked.number] = line.hook
                self._posting.post(self._job(line, asked))
            else:
                later.append(asked)
        self._asked = later

    def end(self, results: Iterable[Result]) -> None:
        """Forget the tests that were recorded."""
        for result in results:
            self._begun.pop(result.job.test, None)

    def _may_begin(self, hook: Hook) -> bool:
        if not self._posting.free_for_tests or any(each.name == hook.name for each in self._begun.values()):
            return False
        return sum(each.owner == hook.owner for each in self._begun.values()) < OWNER_TESTS_MAX

    def _job(self, line: Line, asked: AskedTest) -> Job:
        now = self._clock()
        event = event_for_test(line.hook, host=self._host, number=asked.number, at=now)
        held = Held(0, event.source, event.id, event.type, event.routing_key, now)
        return Job(
            hook=line.hook,
            added_at=line.added_at,
            event=held,
            test=asked.number,
            webhook_id=webhook_id_of(event.source, event.id),
            tries=1,
            body=encode(event),
            secrets=tuple(line.secrets_at(now)),
            consent=line.consent,
        )
