# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What came of POSTs is written down: first in the hook store, then in the log, so that a kill between loses nothing.

An event that is in the hook store as delivered and still in its queue is POSTed again, with the same webhook-id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from sourcepulse.errors import SourcePulseError
from sourcepulse_web.webhooks.errors import UnknownHookError
from sourcepulse_web.webhooks.hook import Standing, State
from sourcepulse_web.webhooks.send.judge import FAULT, HOOK, REFUSED_ROW, Change, News, Report, Situation, judge
from sourcepulse_web.webhooks.send.line import Line, is_same_receiver
from sourcepulse_web.webhooks.send.lines import Parts
from sourcepulse_web.webhooks.send.outcome import Outcome, outcome_of
from sourcepulse_web.webhooks.send.schedule import unknown_pause
from sourcepulse_web.webhooks.send.threads.attempts import attempt_of, attempt_without_post
from sourcepulse_web.webhooks.send.threads.posting import Checked, Consented, Posted, Result
from sourcepulse_web.webhooks.store.records import Held

#: Behind every position.
POSITION_MAX = 2**62

_FAULTY = Report(news=News.PARKED, reason=FAULT, status=None, since=None)

logger = logging.getLogger(__name__)


class _Aside(NamedTuple):
    """An event that is to be set aside, and what the bus hears of it once it is."""

    line: Line
    event: Held
    reason: str
    reports: tuple[Report, ...]
    at: float


class Books:
    """Used by the sender's thread only.

    >>> books.enter(results, lines)
    >>> books.settle()
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        #: What the store has and the log has not yet, by the name of the hook.
        self._unsettled: dict[str, set[int]] = {}
        self._set_aside: list[_Aside] = []
        #: Events that were skipped, and are not in the store yet.
        self._skipped: dict[str, set[int]] = {}
        self._withheld: dict[str, int] = {}
        #: The token of the log, "" before it was opened.
        self.token = ""
        #: How often the log had been opened when it was last known what is leased to us.
        self._openings = parts.queues.openings
        #: Source and id of events of which their Bugzilla shows less than before, or nothing.
        self._hidden: set[tuple[str, str]] = set()

    def enter(self, results: Sequence[Result], lines: Mapping[str, Line]) -> None:
        """Write results into the hook store in one transaction, and obey them in memory.

        What the store raises passes through; then nothing was changed, and the same results are to be entered again.
        """
        if not results:
            return
        store, now = self._parts.store, self._parts.clock()
        entered: list[tuple[Line, Posted | Checked, Change]] = []
        consented: list[tuple[Line, Consented]] = []
        with store.batch():
            for result in results:
                if result.job.test:
                    assert isinstance(result, Posted)  # noqa: S101 - a test is not asked about
                    store.end_test(result.job.test, attempt_of(result, outcome_of(result.answer.status), None))
                    if result.consent is not None:
                        with suppress(UnknownHookError):
                            store.set_consent(result.job.hook.name, result.consent)
                    continue
                line = lines.get(result.job.hook.name)
                # Of a hook that was removed nothing is kept.
                if line is not None and line.added_at == result.job.added_at:
                    if isinstance(result, Consented):
                        consented.append((line, result))
                        with suppress(UnknownHookError):
                            store.set_consent(line.name, result.consent)
                        continue
                    if isinstance(result, Checked) and not line.is_awaited(result.job):
                        # The log was opened again meanwhile, and the event is asked about again.
                        continue
                    change = self._entered(line, result, now)
                    if change is not None:
                        entered.append((line, result, change))
        for line, asked in consented:
            line.note_consent(asked.job, asked.consent)
        for line, result, change in entered:
            self._obey(line, result, change, now)

    def skip(self, line: Line, position: int, *, withheld: bool) -> None:
        """Note that an event is not sent: it is a stand-in, or was trimmed, or cannot be read."""
        self._skipped.setdefault(line.name, set()).add(position)
        if withheld:
            self._withheld[line.name] = self._withheld.get(line.name, 0) + 1

    def settle(self) -> None:
        """Remove from the queues what is done; what the stores raise passes through, and the next call goes on."""
        self._enter_skipped()
        if self._hidden:
            # What the receiver answered to it may quote it.
            self._parts.store.attempts.forget(self._hidden, self._parts.clock())
            self._hidden.clear()
        if not (self._unsettled or self._set_aside):
            return
        if self._parts.queues.openings != self._openings:
            # What is leased to us now is not known yet; see `log_was_opened`.
            return
        with self._parts.queues.batch():
            for name, positions in self._unsettled.items():
                self._parts.queues.settle(name, positions)
            full = [
                each
                for each in self._set_aside
                if not self._parts.queues.set_aside(each.line.name, each.event.position, each.reason)
            ]
        if self._parts.queues.openings != self._openings:
            # Nothing was leased to us, so that nothing was removed; that is done once it is leased again.
            return
        self._unsettled.clear()
        done, self._set_aside = self._set_aside, []
        for each in full:
            # Letters came back to the queue of the dead by another way; the event is tried once more.
            each.line.lanes.add([each.event])
        for each in done:
            if each not in full:
                self._report_aside(each)

    def _report_aside(self, aside: _Aside) -> None:
        """Report what was set aside, without the type of an event that was withdrawn meanwhile."""
        try:
            loaded = self._parts.queues.load(aside.event.position)
        except SourcePulseError:
            loaded = None
        is_shown = loaded is not None and not loaded.withdrawn
        type_ = aside.event.type if is_shown else ""
        self._parts.reporter.report(aside.line.hook, aside.reports, type_=type_, now=aside.at)

    def is_done(self, name: str, position: int) -> bool:
        """Return whether an event is still in its queue only because the log could not be written."""
        if position in self._unsettled.get(name, ()):
            return True
        return any(each.line.name == name and each.event.position == position for each in self._set_aside)

    def log_was_opened(self) -> bool:
        """Forget what belongs to positions of another log than the present one, and return whether it is another."""
        token = self._parts.queues.withdrawn(self.token, POSITION_MAX).token
        known = self.token or self._parts.store.forgotten_until()[0]
        is_other = known not in ("", token)
        if is_other:
            self._unsettled.clear()
            self._set_aside.clear()
            self._skipped.clear()
            self._parts.store.troubles.clear_events()
        self.token = token
        self._openings = self._parts.queues.openings
        return is_other

    def tries_of(self, line: Line, event: Held) -> int:
        """Return how often an event was POSTed since it was last asked for, also by a former process."""
        known = line.tries.get(event.position)
        if known is not None or not (event.position in line.troubles or HOOK in line.troubles):
            return known or 0
        try:
            last = self._parts.store.attempts.of_event(event.source, event.id, line.name)[:1]
        except UnknownHookError:
            return 0
        return last[0].tries if last and last[0].next_at is not None else 0

    def park(self, line: Line, error: Exception) -> None:
        """Park a hook that the sender itself fails at, so that the others go on."""
        with suppress(UnknownHookError):
            line.standing = self._parts.store.update_standing(line.name, lambda was: self._faulty(was, error))
        self._parts.reporter.report(line.hook, [_FAULTY], type_="", now=self._parts.clock())
        line.seen_state = line.standing.state
        line.cleared.clear()
        if line.in_flight is None:
            line.lanes.put_back()

    def note_interruption(self, line: Line) -> None:
        """Record that events of a hook may be missing, because the log is another one."""
        with suppress(UnknownHookError):
            now = self._parts.clock()
            line.standing = self._parts.store.update_standing(line.name, lambda was: replace(was, interrupted_at=now))

    def _entered(self, line: Line, result: Posted | Checked, now: float) -> Change | None:
        """Write one result, and return what it changes; None if the hook was removed."""
        name = result.job.hook.name
        made: list[Change] = []

        def judged(was: Standing) -> Standing:
            made.append(self._judged(line, result, was, now))
            return made[0].standing

        try:
            self._parts.store.update_standing(name, judged)
        except UnknownHookError:
            return None
        (change,) = made
        if isinstance(result, Posted):
            if result.consent is not None:
                self._parts.store.set_consent(name, result.consent)
            self._parts.store.attempts.record([attempt_of(result, change.outcome, change.next_at)])
        elif change.outcome is Outcome.UNKNOWN:
            self._parts.store.attempts.record([attempt_without_post(result, change.next_at)])
        put = {at: each for at, each in change.troubles.items() if each is not None}
        over = [at for at, each in change.troubles.items() if each is None and at in line.troubles]
        # Usually there are none.
        if put:
            self._parts.store.troubles.put(name, put)
        if over:
            self._parts.store.troubles.remove(name, over)
        return change

    def _judged(self, line: Line, result: Posted | Checked, was: Standing, now: float) -> Change:
        try:
            return self._change(line, result, was, now)
        except SourcePulseError:
            raise
        except Exception as error:
            logger.exception("the webhook %s is parked, because the sender failed at an answer", line.name)
            return Change(outcome=Outcome.RETRY, standing=self._faulty(was, error), reports=(_FAULTY,))

    def _change(self, line: Line, result: Posted | Checked, was: Standing, now: float) -> Change:
        if result.job.log != self.token:
            return _of_another_log(result, was)
        if isinstance(result, Checked):
            return self._checked(line, result, was, now)
        if not (result.answer.accepted or is_same_receiver(result.job.hook, line.hook)):
            # It says nothing about the receiver that the hook has now.
            return Change(outcome=outcome_of(result.answer.status), standing=was, next_at=now)
        event = result.job.event
        is_refused = outcome_of(result.answer.status) is Outcome.REFUSED
        situation = Situation(
            position=event.position,
            standing=was,
            troubles=line.troubles,
            set_aside=self._parts.queues.figures(line.name).set_aside if is_refused else 0,
            schedule=self._parts.schedule,
            now=now,
            jitter=self._parts.jitter(),
            was_refused=is_refused and self._was_refused(line, event),
            sent_at=result.at,
        )
        return judge(result.answer, situation)

    def _was_refused(self, line: Line, event: Held) -> bool:
        """Return whether an event was refused since the row of refused events began; what was before says nothing."""
        row = line.troubles.get(REFUSED_ROW)
        if row is None:
            return False
        attempts = self._parts.store.attempts.of_event(event.source, event.id, line.name)
        return any(each.outcome == Outcome.REFUSED and each.at >= row.first_at for each in attempts)

    def _checked(self, line: Line, result: Checked, was: Standing, now: float) -> Change:
        if result.verdict is None:
            former = line.unknown.get(result.job.event.source, 0)
            pause = unknown_pause(former, self._parts.schedule, jitter=self._parts.jitter())
            return Change(outcome=Outcome.UNKNOWN, standing=was, source_pause_s=pause, next_at=now + pause)
        if not result.verdict.send:
            standing = replace(was, withheld=was.withheld + 1)
            gone = {result.job.event.position: None}
            return Change(outcome=Outcome.WITHHELD, standing=standing, troubles=dict(gone), settles=True)
        return Change(outcome=Outcome.CLEARED, standing=was)

    def _obey(self, line: Line, result: Posted | Checked, change: Change, now: float) -> None:
        """Do in memory what the store has now."""
        source = result.job.event.source
        line.finish(result.job)
        if isinstance(result, Checked):
            if result.verdict is not None and result.verdict.body != result.job.body:
                self._hidden.add((source, result.job.event.id))
            if change.outcome is Outcome.CLEARED:
                line.unknown.pop(source, None)
                line.cleared[result.job.event.position] = result
                return
        if change.outcome is Outcome.UNKNOWN:
            line.unknown[source] = line.unknown.get(source, 0) + 1
        line.obey(result.job.event, change, self._parts.monotonic())
        if isinstance(result, Posted):
            if result.consent is not None:
                line.consent = result.consent
            if result.job.log == self.token:
                line.tries[result.job.event.position] = result.job.tries
            line.hold_for_rate(self._parts.monotonic() - (now - result.at))
        if change.settles:
            line.tries.pop(result.job.event.position, None)
            self._unsettled.setdefault(line.name, set()).add(result.job.event.position)
        elif change.set_aside:
            line.tries.pop(result.job.event.position, None)
            self._set_aside.append(_Aside(line, result.job.event, change.set_aside, change.reports, now))
            return
        self._parts.reporter.report(line.hook, change.reports, type_=result.job.event.type, now=now)

    def _enter_skipped(self) -> None:
        if not self._skipped:
            return
        store = self._parts.store
        with store.batch():
            for name, positions in self._skipped.items():
                store.troubles.remove(name, positions)
            for name, count in self._withheld.items():
                try:
                    store.update_standing(name, lambda was, n=count: replace(was, withheld=was.withheld + n))  # type: ignore[misc]
                except UnknownHookError:
                    continue
        for name, positions in self._skipped.items():
            self._unsettled.setdefault(name, set()).update(positions)
        self._skipped.clear()
        self._withheld.clear()

    def _faulty(self, was: Standing, error: Exception) -> Standing:
        if was.state is not State.ON:
            return was
        reason = (
            f"the sender failed at it by an error of its own ({type(error).__name__}); look into its log, report it, "
            "and resume the webhook"
        )
        return replace(was, state=State.PARKED, reason=reason, since=self._parts.clock(), next_at=None)


def _of_another_log(result: Posted | Checked, was: Standing) -> Change:
    """Return what an answer changes whose event is no longer in the log: it is counted, and nothing else."""
    if isinstance(result, Posted) and result.answer.accepted:
        standing = replace(was, delivered=was.delivered + 1, last_success_at=result.at)
        return Change(outcome=Outcome.DELIVERED, standing=standing)
    return Change(outcome=Outcome.RETRY, standing=was)
