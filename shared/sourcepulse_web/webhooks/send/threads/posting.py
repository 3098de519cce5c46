# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the sender does in other threads, because it blocks: POSTs, and the question whether an event is public."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue

from sourcepulse.brokers.file.envelopes import is_stand_in
from sourcepulse.errors import SourcePulseError, VisibilityUnknownError
from sourcepulse.outbox.outgoing.visibility import ANSWER_MAX_AGE_SECONDS
from sourcepulse_web.webhooks.hook import Handshake, Hook
from sourcepulse_web.webhooks.post.handshake import Consent
from sourcepulse_web.webhooks.post.post import Answer, Poster
from sourcepulse_web.webhooks.send.threads.workers import Workers
from sourcepulse_web.webhooks.store.records import Held, KeptConsent, Loaded
from sourcepulse_web.webhooks.visibility import Asker, Verdict

#: How many receivers may be slow at once before others wait for them; a thread is started when it is needed.
POSTS_MAX = 256
#: How many tests are under way at once; in threads of their own, so that no event waits for one.
TESTS_MAX = 8
#: After this time a receiver that did not consent is asked again, where events are POSTed all the same.
ASK_AGAIN_SECONDS = 86_400.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One POST: the hook, its secrets and the bytes as they were when it was decided."""

    hook: Hook
    #: Of the hook, by which another one of the same name is recognised.
    added_at: float
    event: Held
    #: The token of the log to which the event's position belongs.
    log: str = ""
    #: The number of the test that this is; 0 for an event of the log.
    test: int = 0
    webhook_id: str
    tries: int
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    consent: KeptConsent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What came of a job; `at` is when it began, and `consent` what the receiver answered, if it was asked."""

    job: Job
    at: float
    answer: Answer
    consent: KeptConsent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Whether an event may be sent; None if that is not known, and then the reason."""

    job: Job
    at: float
    verdict: Verdict | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consented:
    """What the receiver answered when it was asked for consent, and no POST: the event is looked at once more first."""

    job: Job
    consent: KeptConsent


Result = Posted | Checked | Consented


class _ChangedError(Exception):
    """The event is not as public any more as it was when its POST began, or that is not known."""

    def __init__(self, checked: Checked) -> None:
        super().__init__()
        self.checked = checked


class Posting:
    """Makes POSTs and asks about visibility in threads; `finished` returns what came of them, `wake` is called before.

    `origin` is the name by which this system asks for consent.

    >>> posting.post(job)
    >>> for result in posting.finished():
    ...     record(result)
    """

    def __init__(
        self,
        poster: Poster,
        ask_consent: Callable[[Hook], Consent],
        origin: str,
        asker: Asker,
        load: Callable[[int], Loaded | None],
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._poster = poster
        self._load = load
        self._ask_consent = ask_consent
        self._origin = origin
        self._asker = asker
        self._wake = wake
        self._clock = clock
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._posts = Workers("post", POSTS_MAX)
        self._tests = Workers("test", TESTS_MAX)
        # One, because an `Asker` is for one thread.
        self._questions = Workers("visibility", 1)

    @property
    def free(self) -> int:
        """How many POSTs of events can begin at once."""
        return self._posts.free

    @property
    def free_for_tests(self) -> int:
        """How many tests can begin at once."""
        return self._tests.free

    def post(self, job: Job, checked: Checked | None = None) -> None:
        """Begin a POST; where consent must be asked for, only that is done, except for a test.

        `checked` is the answer by which the event may be sent, if one is needed.
        """
        workers = self._tests if job.test else self._posts
        workers.submit(lambda: self._finish(self._posted(job, checked)))

    def check(self, job: Job) -> None:
        """Ask whether an event is public."""
        self._questions.submit(lambda: self._finish(self._checked(job)))

    def finished(self) -> list[Result]:
        """Return what was finished since the last call."""
        found: list[Result] = []
        while True:
            try:
                found.append(self._results.get_nowait())
            except Empty:
                return found

    def stop(self, limit_s: float) -> bool:
        """End what is going on; return whether everything ended within the limit."""
        deadline = time.monotonic() + limit_s
        self._questions.submit(self._asker.close)
        asked = self._questions.stop(max(0.0, deadline - time.monotonic()))
        tested = self._tests.stop(max(0.0, deadline - time.monotonic()))
        return self._posts.stop(max(0.0, deadline - time.monotonic())) and asked and tested

    def _finish(self, result: Result) -> None:
        self._results.put(result)
        self._wake()

    def _posted(self, job: Job, checked: Checked | None) -> Result:
        at, began = self._clock(), time.monotonic()
        consent: KeptConsent | None = None
        try:
            if self._must_ask(job, at):
                asked = self._ask_consent(job.hook)
                rate = "" if asked.rate_per_minute is None else str(asked.rate_per_minute)
                consent = KeptConsent(job.hook.url, asked.given, at, rate, asked.reason, self._origin)
                if job.hook.handshake is Handshake.REQUIRE and not asked.given:
                    answer = Answer(reason=asked.reason, problem=asked.problem, took_s=asked.took_s)
                    return Posted(job=job, at=at, answer=answer, consent=consent)
                if not job.test:
                    # The event may have been withdrawn while the receiver was asked.
                    return Consented(job=job, consent=consent)
            answer = self._poster.post(
                job.hook, job.secrets, job.webhook_id, job.body, self._clock(),
                ready=lambda: self._confirm(job, checked, began),
            )  # fmt: skip
        except _ChangedError as changed:
            return changed.checked
        except Exception as error:
            # A fault of ours: the event is tried again like one that got no answer.
            logger.exception("the POST of an event to the webhook %s failed", job.hook.name)
            answer = Answer(reason=f"the sender failed: {type(error).__name__}; see its log")
        return Posted(job=job, at=at, answer=answer, consent=consent)

    def _must_ask(self, job: Job, now: float) -> bool:
        """Return whether consent must be asked before the POST: CloudEvents HTTP webhook 1.0.2, section 4."""
        kept = job.consent
        if job.hook.handshake is Handshake.OFF:
            return False
        if kept is None or (kept.url, kept.origin) != (job.hook.url, self._origin):
            return True
        if kept.granted:
            return False
        return job.hook.handshake is Handshake.REQUIRE or now - kept.asked_at > ASK_AGAIN_SECONDS

    def _confirm(self, job: Job, checked: Checked | None, began: float) -> None:
        """Ask once more where it took long to connect; _ChangedError if the event must not be sent as it is."""
        if job.test or time.monotonic() - began <= ANSWER_MAX_AGE_SECONDS:
            return
        try:
            loaded = self._load(job.event.position)
        except SourcePulseError as error:
            raise _ChangedError(Checked(job=job, at=self._clock(), verdict=None, reason=str(error))) from None
        if loaded is None or loaded.withdrawn or is_stand_in(loaded.type):
            raise _ChangedError(Checked(job=job, at=self._clock(), verdict=Verdict(send=False, body=b"")))
        if checked is not None:
            again = self._checked(checked.job)
            if again.verdict is None or again.verdict.body != job.body:
                raise _ChangedError(again)

    def _checked(self, job: Job) -> Checked:
        at, event = self._clock(), job.event
        try:
            verdict = self._asker.ask(event.position, event.source, event.routing_key, event.type, job.body)
        except VisibilityUnknownError as error:
            return Checked(job=job, at=at, verdict=None, reason=str(error))
        except Exception as error:
            logger.exception("the question whether an event of %s is public failed", event.source)
            reason = f"it is not known whether the event is public: {type(error).__name__}; see the log of the sender"
            return Checked(job=job, at=at, verdict=None, reason=reason)
        return Checked(job=job, at=at, verdict=verdict)


def with_body(job: Job, body: bytes) -> Job:
    """Return a job that POSTs other bytes of the same event."""
    return replace(job, body=body)
