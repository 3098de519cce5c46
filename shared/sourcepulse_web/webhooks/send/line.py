# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One hook in the sender's memory: what the stores have of it, and which of its events are held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sourcepulse_web.webhooks.hook import Hook, Standing, State
from sourcepulse_web.webhooks.send.judge import HOOK, Change
from sourcepulse_web.webhooks.send.lanes import Lanes
from sourcepulse_web.webhooks.send.schedule import pause_left
from sourcepulse_web.webhooks.send.threads.posting import Checked, Job
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.store.records import Held, KeptConsent, Recalled, Trouble

#: While fewer events are held that may be sent, more are looked for.
FREE_EVENTS_LEAST = 32
#: How many are looked for at a time.
LOOK_EVENTS = 64
#: A hook holds at most so many, about 5 MB.
HELD_EVENTS_MAX = 10_000
#: With so many events of a source that waits, its later ones are left in the queue, so that others find room.
WAITING_EVENTS_MAX = 32
#: How many may be left so; with more than that, all sources wait for one that waits.
LEFT_EVENTS_MAX = 200_000
MINUTE_SECONDS = 60.0
#: Only while a question takes longer are more events looked for, because most answers come sooner.
QUESTION_SECONDS = 1.0


@dataclass(slots=True)
class Left:
    """The events of a source that are leased and not held: the position of the first, and how many there are."""

    first: int
    count: int = 0


@dataclass(slots=True, kw_only=True)
class Line:
    """A hook and its held events; used by the sender's thread only. `monotonic` is a time of its monotonic clock."""

    hook: Hook
    #: Differs for a hook that was removed and added again under its name.
    added_at: float
    standing: Standing
    secrets: tuple[tuple[str, float | None], ...] = field(repr=False)
    consent: KeptConsent | None = None
    troubles: dict[int, Trouble] = field(default_factory=dict)
    lanes: Lanes[Held] = field(default_factory=Lanes)
    #: Of sources that wait, or did until now.
    left: dict[str, Left] = field(default_factory=dict)
    #: How often each held event was POSTed since it was last asked for.
    tries: dict[int, int] = field(default_factory=dict)
    #: What was POSTed and is not finished: one event at a time.
    in_flight: Job | None = None
    #: The events about which it is asked whether they are public, by source, each with the time; its source waits.
    asked: dict[str, tuple[Job, float]] = field(default_factory=dict)
    #: The answers for events that may be sent, by position.
    cleared: dict[int, Checked] = field(default_factory=dict)
    #: How often in a row it was not known whether events of a source are public.
    unknown: dict[str, int] = field(default_factory=dict)
    #: The topics to which its queue is known to be bound.
    bound: tuple[str, ...] = ()
    #: Whether its queue was seen since the sender began.
    had_queue: bool = False
    #: The state that the hook store had when it was last read.
    seen_state: State = State.ON

    @property
    def name(self) -> str:
        return self.hook.name

    @property
    def is_on(self) -> bool:
        """Whether events are sent."""
        return self.standing.state is State.ON

    @property
    def is_failing(self) -> bool:
        """Whether its receiver failed the last time."""
        return HOOK in self.troubles

    def secrets_at(self, now: float) -> list[str]:
        """Return the secrets that sign at a time, the newest first."""
        return [secret for secret, until in self.secrets if until is None or until > now]

    def wants_events(self, monotonic: float) -> bool:
        """Return whether its queue should be looked at."""
        if not self.is_on or len(self.lanes) >= HELD_EVENTS_MAX:
            return False
        if sum(left.count for left in self.left.values()) >= LEFT_EVENTS_MAX:
            return False
        due_at = self.lanes.due_at(monotonic)
        # While the whole hook waits, more events would only take memory.
        is_waiting = due_at is not None and due_at > monotonic and self.lanes.free > 0
        soon = sum(
            self.lanes.size(source) for source, (_, at) in self.asked.items() if monotonic < at + QUESTION_SECONDS
        )
        return self.lanes.free + soon < FREE_EVENTS_LEAST and not (is_waiting and len(self.lanes))

    def hold(self, events: Iterable[Held], now: float, monotonic: float, schedule: Schedule) -> list[int]:
        """Hold more events, in order, and return the positions of those that are to be left in the queue.

        One that was refused before makes its source wait as long as it was to.
        """
        left = []
        for event in events:
            if self._leaves(event):
                left.append(event.position)
                continue
            self.lanes.add([event])
            trouble = self.troubles.get(event.position)
            if trouble is not None:
                self.lanes.hold_source(event.source, monotonic + pause_left(trouble, now, schedule))
        return left

    def to_recall(self) -> list[str]:
        """Return the sources that do not wait any more and need events that were left."""
        return [
            source
            for source in self.left
            if self.lanes.size(source) < FREE_EVENTS_LEAST and not self.lanes.waits(source)
        ]

    def recalled(self, source: str, found: Recalled) -> None:
        """Note how many of the events that were left are to be held now."""
        if found.next is None:
            del self.left[source]
        else:
            left = self.left[source]
            self.left[source] = Left(found.next, max(1, left.count - len(found.events)))

    def _leaves(self, event: Held) -> bool:
        left = self.left.get(event.source)
        if left is None:
            if not self.lanes.is_behind(event, WAITING_EVENTS_MAX):
                return False
            left = self.left[event.source] = Left(event.position)
        elif event.position < left.first:
            return False
        left.count += 1
        return True

    def wait_again(self, troubles: Mapping[int, Trouble], now: float, monotonic: float, schedule: Schedule) -> None:
        """Wait as the store says and no longer: after a start, and after another process ended troubles."""
        self.troubles = dict(troubles)
        self.lanes.release_all()
        for position, trouble in self.troubles.items():
            until = monotonic + pause_left(trouble, now, schedule)
            event = self.lanes.held(position)
            if position == HOOK:
                self.lanes.hold_all(until)
            elif event is not None:
                self.lanes.hold_source(event.source, until)

    def forget_events(self) -> None:
        """Hold nothing any more: the log was opened again, and what was leased waits in the queue."""
        self.lanes = Lanes()
        self.bound = ()
        self.left.clear()
        self.tries.clear()
        self.asked.clear()
        self.cleared.clear()

    def ask(self, job: Job, monotonic: float) -> None:
        """Make the source of the taken event wait for the answer, and no other source."""
        self.lanes.put_back()
        self.lanes.hold_source(job.event.source, float("inf"))
        self.asked[job.event.source] = job, monotonic

    def is_awaited(self, job: Job) -> bool:
        """Return whether the end of a POST or the answer to a question is awaited; no answer of a log that is gone."""
        asked = self.asked.get(job.event.source)
        return self._is_posted(job) or (asked is not None and asked[0] is job)

    def finish(self, job: Job) -> None:
        """Wait no longer for the end of a POST, or for an answer; the event stays held."""
        if self._is_posted(job):
            self.in_flight = None
            self.lanes.put_back()
        else:
            self.asked.pop(job.event.source, None)
            self.lanes.release_source(job.event.source)

    def _is_posted(self, job: Job) -> bool:
        return self.in_flight is not None and self.in_flight.event.position == job.event.position

    def obey(self, event: Held, change: Change, monotonic: float) -> None:
        """Do in memory what was written into the hook store: the event leaves, or waits."""
        self.standing = change.standing
        if change.standing.state in (State.PARKED, State.OFF):
            # The sender did so itself; what owners do is seen when the store is read.
            self.seen_state = change.standing.state
        for position, trouble in change.troubles.items():
            if trouble is None:
                self.troubles.pop(position, None)
            else:
                self.troubles[position] = trouble
        if change.settles or change.set_aside:
            self.drop(event.position)
        if change.source_pause_s is not None:
            self.lanes.hold_source(event.source, monotonic + change.source_pause_s)
        if change.hook_pause_s is not None:
            self.lanes.hold_all(monotonic + change.hook_pause_s)

    def note_consent(self, job: Job, consent: KeptConsent) -> None:
        """Begin again with the event for which consent was asked."""
        self.consent = consent
        self.finish(job)

    def drop(self, position: int) -> None:
        """Hold an event no longer."""
        self.cleared.pop(position, None)
        self.lanes.done(position)
        self.tries.pop(position, None)

    def hold_for_rate(self, began: float) -> None:
        """Begin no POST so soon after one that began at a monotonic time that the receiver's rate is exceeded."""
        rate = self.consent.rate if self.consent is not None else ""
        if rate.isdigit() and int(rate):
            self.lanes.hold_all_at_least(began + MINUTE_SECONDS / int(rate))


def is_same_receiver(sent_to: Hook, now: Hook) -> bool:
    """Return whether what a receiver answered is about the hook as it is now."""
    return (sent_to.url, sent_to.handshake, sent_to.bearer_file) == (now.url, now.handshake, now.bearer_file)
