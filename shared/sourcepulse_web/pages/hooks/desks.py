# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Work on the hook store and the log in threads, so that streams go on meanwhile: a few at once, fewer for one user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, fail
from twisted.internet.threads import deferToThread

from sourcepulse.errors import SourcePulseError

#: Of the ten threads of the reactor.
THREADS_MAX = 6
USER_THREADS_MAX = 2
#: Requests of one user that wait for a thread, or have one.
USER_REQUESTS_MAX = 8

Result = TypeVar("Result")


class BusyError(SourcePulseError):
    """One user asks for too much at once; try again when it has been answered."""

    reason = "busy"


class Desks:
    """Opens a desk in a thread for each piece of work, and closes it.

    >>> desks = Desks(lambda: open_desk(services))
    >>> desks.run("alice", lambda desk: desk.list("alice")).addCallback(draw)
    """

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened
        self._all = DeferredSemaphore(THREADS_MAX)
        self._of_user: dict[str, DeferredSemaphore] = {}
        self._requests: Counter[str] = Counter()

    def run(self, user: str, work: Callable[[Any], Result]) -> Deferred[Result]:
        """Return what the work at an open desk returns; BusyError if the user has too much waiting."""
        return self.call(user, lambda: self._work(work))

    def call(self, user: str, work: Callable[[], Result]) -> Deferred[Result]:
        """Return what work without a desk returns, within the same limits; the user is "" for the operator."""
        if self._requests[user] >= USER_REQUESTS_MAX:
            return fail(BusyError("You ask for more at once than is answered; try again in a moment."))
        self._requests[user] += 1
        own = self._of_user.setdefault(user, DeferredSemaphore(USER_THREADS_MAX))
        done: Deferred[Result] = own.run(lambda: self._all.run(lambda: deferToThread(work)))
        return done.addBoth(self._ended, user)

    def _ended(self, result: Any, user: str) -> Any:
        self._requests[user] -= 1
        if not self._requests[user]:
            del self._requests[user], self._of_user[user]
        return result

    def _work(self, work: Callable[[Any], Result]) -> Result:
        with self._opened() as desk:
            return work(desk)
