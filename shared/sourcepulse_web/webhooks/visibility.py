# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The last check before a POST: may an anonymous visitor of Bugzilla still read this event?"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sourcepulse.errors import NothingThereError, OutboxError, VisibilityUnknownError
from sourcepulse.outbox.outbox import Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import ANSWER_MAX_AGE_SECONDS, Checks, check_openers, is_asked

#: How long one question waits for the outbox of the sidecar.
LOCK_WAIT_SECONDS = 5.0
#: After a question without an answer the next ones have none either, because each may wait for half a minute.
UNKNOWN_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an event may be sent, and its bytes, without what is no longer public; none if it may not be sent.

    `asked_at` is on the clock of the `Asker`; None if the event need not be checked.
    """

    send: bool
    body: bytes
    asked_at: float | None = None

    def is_fresh(self, now: float) -> bool:
        """Return whether it may still be used; `now` is on the clock of the `Asker`."""
        return self.asked_at is None or now - self.asked_at <= ANSWER_MAX_AGE_SECONDS


class Asker:
    """Asks the plugins of sources whose events can become private again. Thread-safe, one question at a time; close it.

    It reads the outbox of the sidecar, which names the Bugzilla to ask, and changes no event there. Without an outbox
    each event passes, because then only what the log withdraws is known.

    >>> asker = Asker(Path("/var/lib/sourcepulse/bugzilla.db"))
    >>> verdict = asker.ask(7, "bugzilla://...", "bugzilla.bug.changed.core.12", "bugzilla.bug.changed.v1", body)
    >>> if verdict.send:
    ...     post(verdict.body)
    """

    def __init__(self, outbox_path: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = outbox_path
        self._clock = clock
        self._lock = threading.Lock()
        self._outbox: Outbox | None = None
        self._checks: Checks | None = None
        #: By source, until when it is unknown and why.
        self._unknown: dict[str, tuple[float, str]] = {}

    def ask(self, position: int, source: str, routing_key: str, type_: str, body: bytes) -> Verdict:
        """Return whether the event may be sent at this moment.

        VisibilityUnknownError if that is not known; then it must wait, and nothing of it may be sent.
        """
        if self._path is None or not is_asked(source, type_):
            return Verdict(send=True, body=body)
        # Neither a time nor a subject is looked at; the id is that of the bytes.
        with self._lock:
            return self._ask(self._path, Claimed(position, "", source, type_, "", routing_key, body))

    def _ask(self, path: Path, event: Claimed) -> Verdict:
        source = event.source
        until, reason = self._unknown.get(source, (0.0, ""))
        if self._clock() < until:
            raise VisibilityUnknownError(reason)
        try:
            judged = self._opened(path).look([event])[event.position]
        except (VisibilityUnknownError, OutboxError, NothingThereError, OSError) as error:
            raise self._fail(source, error) from None
        self._unknown.pop(source, None)
        if not judged.send:
            logger.info("event at position %d of the log is not sent: it is no longer public", event.position)
            return Verdict(send=False, body=b"", asked_at=self._clock())
        return Verdict(send=True, body=event.body if judged.body is None else judged.body, asked_at=self._clock())

    def close(self) -> None:
        """End all processes that were started, and close the outbox; may be called again."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._checks is not None:
            self._checks.close()
        if self._outbox is not None:
            self._outbox.close()
        self._checks = self._outbox = None

    def _fail(self, source: str, error: Exception) -> VisibilityUnknownError:
        # By the next question another file may be there, or the same one again.
        self._end()
        is_known = isinstance(error, VisibilityUnknownError)
        sentence = f"it is not known now whether the public may see events of {source}: {error}"
        self._unknown[source] = self._clock() + UNKNOWN_SECONDS, str(error) if is_known else sentence
        return VisibilityUnknownError(self._unknown[source][1])

    def _opened(self, path: Path) -> Checks:
        if self._checks is None:
            self._outbox = Outbox.open(path, create=False, lock_wait_s=LOCK_WAIT_SECONDS)
            self._checks = Checks(self._outbox, check_openers())
        return self._checks
