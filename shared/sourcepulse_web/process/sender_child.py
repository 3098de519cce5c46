# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sender of webhooks as a child of the gateway: started while hooks are on, again after it ended, ended with it."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.process import reapAllProcesses
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse.events.safe_text import reason_line

#: The pause before it is started again: the first one, doubled with each more.
RETRY_FIRST_SECONDS = 1.0
RETRY_MOST_SECONDS = 30.0
#: After it ran for so long, the pauses begin with the first one again.
WORKED_SECONDS = 60.0
#: A sender that has not touched its store for so long hangs. It does so every few seconds.
HUNG_SECONDS = 60.0
#: How long its end may take: an attempt lasts 15 s.
END_SECONDS = 20.0
#: A line that is longer is passed on in parts.
LINE_MAX_BYTES = 16_384
#: What the program writes before the sentence of an error.
ERROR_PREFIX = "sourcepulse: "

logger = logging.getLogger(__name__)


class Launch(NamedTuple):
    """What is started. `settings` are only compared, because corrected ones end a pause."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    settings: object = None


class SenderChild:
    """Keeps one sender running, in the thread of the reactor.

    `wanted` returns what is to run, None while hooks are off. `seen_at` returns when a sender last touched the store,
    None if that is not known; one that does not for `hung_s` is killed, and so is one that takes `end_s` to end. One
    that waits for the sender of another gateway stays, and that one is named if it hangs.

    >>> child = SenderChild(reactor, wanted=launch, seen_at=lambda: figures.sender_seen_at)
    >>> LoopingCall(child.look).start(0.25)
    """

    def __init__(
        self,
        reactor: Any,
        *,
        wanted: Callable[[], Launch | None],
        seen_at: Callable[[], float | None],
        hung_s: float = HUNG_SECONDS,
        end_s: float = END_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hung_s = hung_s
        self._end_s = end_s
        self._reactor = reactor
        self._wanted = wanted
        self._seen_at = seen_at
        self._clock = clock
        self._process: Any = None
        self._launch: Launch | None = None
        self._started_at = 0.0
        self._retry_at = 0.0
        self._failures = 0
        #: What the store said last of when the sender turned, and when by our clock that last changed or was not known.
        self._seen: float | None = None
        self._turned_at = 0.0
        self._hangs = False
        #: Whether it was asked to end, so that its end is no failure.
        self._terminating = False
        self._ending: Deferred[None] | None = None
        #: Whether it runs, and has turned since it was started.
        self.is_up = False
        #: How often it was started.
        self.starts = 0
        #: Why it ended the last time, as a sentence; "" once the next one turns, and while hooks are off.
        self.problem = ""
        #: What it reports itself: why it cannot work, and what works but not as it should; "" if there is nothing.
        self.trouble = ""
        self.doubt = ""
        #: Another sender, which holds the store and which this one waits for; "" while there is none.
        self._holder = ""

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return None if self._process is None else self._process.pid

    def look(self) -> None:
        """Start it, end it, or see whether it hangs; called several times a second, also while it is ended."""
        # Twisted hears of ended children only where it handles signals, which the gateway does itself.
        reapAllProcesses()
        if self._ending is not None:
            return
        launch = self._wanted()
        if self._process is not None:
            self._see()
            if launch is None or self._launch is None or launch.command != self._launch.command:
                self._terminate()
        elif launch is None:
            self.problem, self._failures, self._launch = "", 0, None
        elif self._clock() >= self._retry_at or launch != self._launch:
            self._start(launch)

    def end(self) -> Deferred[None]:
        """End it for good; fires when it has ended, after `end_s` at most."""
        if self._ending is None:
            self._ending = Deferred()
            if self._process is None:
                self._ending.callback(None)
            else:
                self._terminate()
        return self._ending

    def _start(self, launch: Launch) -> None:
        self._launch = launch
        self._started_at = self._turned_at = self._clock()
        self._seen = self._seen_at()
        self._hangs = self._terminating = False
        sender = _Sender(self._reported, self._ended)
        try:
            self._process = self._reactor.spawnProcess(
                sender,
                launch.command[0],
                launch.command,
                env=dict(launch.environ),
                # The end of its stdin is the end of the gateway.
                childFDs={0: "w", 1: "r", 2: "r"},
            )
        except OSError as error:
            self._retry(f"the sender of webhooks cannot be started: {error.strerror or error}")
            return
        self.starts += 1

    def _see(self) -> None:
        """Note whether it turns. One that hangs is killed: the next one POSTs again what was not acknowledged."""
        now, seen = self._clock(), self._seen_at()
        if seen is None or self.trouble:
            # The store cannot be read, which is named elsewhere, or the sender itself reports why it does not work.
            self._turned_at = now
        elif self._seen is None:
            # What a former sender left; only a change shows that this one is at work.
            self._seen = seen
        elif seen != self._seen:
            self._seen, self._turned_at, self.is_up, self.problem = seen, now, True, ""
        if now - self._turned_at <= self._hung_s:
            return
        if self._holder:
            self._name_holder()
        elif not self._hangs:
            self._hangs = True
            self._signal(signal.SIGKILL)

    def _name_holder(self) -> None:
        """Report that the sender which ours waits for hangs; it is not ours to kill, and another of ours would wait."""
        problem = (
            f"another sender ({self._holder}) holds the hook store and did not turn for {self._hung_s:.0f} s; end that "
            "process, and this one goes on"
        )
        if problem != self.problem:
            logger.error("%s", problem)
        self.is_up, self.problem = False, problem

    def _terminate(self) -> None:
        """Ask it once to end, and end it by force where that takes too long."""
        if self._terminating:
            return
        self._terminating = True
        process = self._process
        process.closeStdin()
        self._signal(signal.SIGTERM)

        def kill() -> None:
            if self._process is process:
                self._signal(signal.SIGKILL)

        self._reactor.callLater(self._end_s, kill)

    def _signal(self, number: signal.Signals) -> None:
        try:
            self._process.signalProcess(number)
        except ProcessExitedAlready:
            # It is reaped soon.
            return

    def _reported(self, line: bytes) -> None:
        """Keep what the sender reports on its stdout, in a line of JSON."""
        with suppress(ValueError, AttributeError):
            found = json.loads(line)
            self.trouble, self.doubt, holder = (
                reason_line(str(found.get(name, ""))) for name in ("problem", "doubt", "holder")
            )
            if holder != self._holder:
                self._holder, self._turned_at = holder, self._clock()

    def _ended(self, reason: Failure, last_line: str) -> None:
        self._process, self.is_up, self.trouble, self.doubt, self._holder = None, False, "", "", ""
        if self._ending is not None:
            self._ending.callback(None)
            return
        if self._terminating:
            # Hooks may be on again meanwhile; then the next one is started at the next look.
            self._retry_at = self._clock()
        elif self._wanted() is not None:
            self._retry(_why(reason, last_line, hung_s=self._hung_s if self._hangs else None))

    def _retry(self, problem: str) -> None:
        now = self._clock()
        if now - self._started_at > WORKED_SECONDS:
            self._failures = 0
        wait = backoff_seconds(self._failures, first=RETRY_FIRST_SECONDS, most=RETRY_MOST_SECONDS)
        self._failures += 1
        self._retry_at = now + wait
        self.problem = problem
        logger.error("%s; it is started again in %.0f s", problem, wait)


def _why(reason: Failure, last_line: str, *, hung_s: float | None) -> str:
    if hung_s is not None:
        return f"the sender of webhooks did not turn for {hung_s:.0f} s and was killed"
    value: Any = reason.value
    if getattr(value, "signal", None) is not None:
        return f"the sender of webhooks was ended by {signal.Signals(value.signal).name}"
    why = f"the sender of webhooks ended with exit code {getattr(value, 'exitCode', None) or 0}"
    return f"{why}: {reason_line(last_line.removeprefix(ERROR_PREFIX))}" if last_line else why


class _Sender(ProcessProtocol):
    """Passes the lines that a sender logs on to the log of the gateway, and remembers the last one."""

    def __init__(self, reported: Callable[[bytes], None], ended: Callable[[Failure, str], None]) -> None:
        self._on_end = ended
        self._report = _Lines(reported)
        self._log = _Lines(self._pass_on)
        self._last = ""

    def outReceived(self, data: bytes) -> None:
        self._report.add(data)

    def errReceived(self, data: bytes) -> None:
        self._log.add(data)

    def processEnded(self, reason: Failure) -> None:
        self._log.end()
        self._on_end(reason, self._last)

    def _pass_on(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        self._last = text.strip() or self._last
        # The line has its time and level already.
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class _Lines:
    """Makes lines of what comes from a pipe; one that is too long is passed on in parts."""

    def __init__(self, each: Callable[[bytes], None]) -> None:
        self._each = each
        self._rest = b""

    def add(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._each(line)
        if len(self._rest) > LINE_MAX_BYTES:
            self.end()

    def end(self) -> None:
        if self._rest:
            self._each(self._rest)
        self._rest = b""
