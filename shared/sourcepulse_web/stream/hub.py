# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sends what is appended to the log to all clients that asked for it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from sourcepulse.brokers.file.tables import LogBusyError
from sourcepulse.brokers.file.withdrawal.decision import hides_bug, may_withdraw
from sourcepulse.errors import BrokerError, SourcePulseError
from sourcepulse_web.stream.clients.catch_up import CatchUp
from sourcepulse_web.stream.clients.client import Client, Subscription
from sourcepulse_web.stream.clients.group import ChannelCache, Group, Writer, read_withdrawals
from sourcepulse_web.stream.clients.members import Members
from sourcepulse_web.stream.faults import Faults
from sourcepulse_web.stream.frames import Framing, as_json
from sourcepulse_web.stream.kept import PAGE_BYTES, PAGE_ROWS, Kept
from sourcepulse_web.stream.ports import Before, Channel, Log, View, Withdrawal

if TYPE_CHECKING:
    from twisted.web.server import Request

#: How often the log is asked whether something was appended: with clients, and without.
LOOK_SECONDS, LOOK_IDLE_SECONDS = 0.025, 0.25
#: The pause after the log could not be read.
TROUBLE_SECONDS = 1.0
#: After a write to all clients the next one waits so many times as long as it took, at most FLUSH_MAX_SECONDS: what
#: comes meanwhile goes out together. With few clients that is next to nothing.
FLUSH_PAUSE, FLUSH_MAX_SECONDS = 4, 0.25
#: After a frame of a channel, those who follow channels get the next frames of any kind after this time.
PACE_SECONDS = 0.25
#: How long the end waits for clients to read the last frame.
STOP_SECONDS = 3.5
#: Reasons of a `bye`, beside that of `stop`.
OVERLOAD, BROKER_AWAY, LOG_UNREADABLE, LOG_REPLACED = "overload", "broker-away", "log-unreadable", "log-replaced"

logger = logging.getLogger(__name__)


class Hub:
    """Follows one log and sends what is new in it to its clients."""

    def __init__(
        self,
        log: Log,
        *,
        clock: Callable[[], float],
        reactor: Any,
        before: Sequence[Before] = (),
        views: Mapping[str, View] | None = None,
        channels: Mapping[str, Channel] | None = None,
        away: Callable[[], str | None] = lambda: None,
        alive: Callable[[], Mapping[str, Any]] = dict,
        faults: Faults | None = None,
    ) -> None:
        """`away` returns why nothing new arrives in the log, None while events come.

        `alive` returns what pages hear of the gateway and the relays, at first and every 15 seconds.
        """
        self.log, self.clock = log, clock
        self.faults = faults or Faults()
        self.views = self.faults.views(views or {})
        self.channels = self.faults.channels(channels or {})
        self.away, self._alive = away, alive
        #: Everything up to it was read, and passed to `before`.
        self.position = 0
        #: Why the log cannot be read, "" if it can.
        self.problem = ""
        #: What happened since the start, by word: reasons of `bye`, of resets, and of cut connections.
        self.counts: Counter[str] = Counter()
        self._reactor, self._before = reactor, list(before)
        self.kept = Kept(log)
        self.writer = Writer(self.views, self.channels)
        self._catch_up = CatchUp(log, self.kept, self.writer, reactor, self._level, self.look, self._try, self._goal)
        self._members = Members(reactor, self.counts, self._catch_up.add)
        # Called when something must not be shown any more.
        self.forgets = [self._members.forget]
        self._after: int | None = None
        self._version: int | None = None
        self._is_open = self._more = self._held = False
        #: Everything up to it was sent to the clients that are level; and to those of them who follow channels.
        self._sent = self._paced = 0
        self._cause = 0  #: The last event that withdrew others.
        self._flush_at = self._pace_at = 0.0
        self._calls: dict[str, Any] = {}
        self._stopping = ""
        self._stopped: Deferred[None] = Deferred()

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._members.all)

    @property
    def states(self) -> dict[str, int]:
        """How many clients have everything that was sent, and how many are behind."""
        level = sum(len(group.live) for group in self._members.groups.values())
        return {"level": level, "behind": self.clients - level}

    @property
    def token(self) -> str:
        """The token of the log; "" while there is no log."""
        return self.writer.token

    def refusal(self, subscription: Subscription) -> str | None:
        """Return why a new client is sent away at once, None if it is welcome."""
        if self._stopping:
            return self._stopping
        if self.problem or not self._is_open:
            return LOG_UNREADABLE
        return None if self._members.has_room(subscription) else OVERLOAD

    def start(self, after: int | None = None) -> None:
        """Follow the log from its end, or from a position on: what comes after it is passed to `before` as well."""
        self._after = after
        self._follow()
        self._tick()

    def wake(self) -> None:
        """Look for new events now, for example after an append."""
        if not self._stopping:
            self._later("look", 0.0, self._follow)

    def levelled(self) -> None:
        """Go on with those who follow channels, because the channels have read all of the log."""
        self._catch_up.reach()
        self.wake()

    def stop(self, reason: str) -> Deferred[None]:
        """Send every client `bye` with the reason, and close all within seconds."""
        if not self._stopping:
            if self._is_open and self.look():
                self._try(self._flush)
            self._stopping = reason
            for call in self._calls.values():
                if call.active():
                    call.cancel()
            self._members.dismiss_all(reason)
            self._later("stop", STOP_SECONDS, self._stopped_or_not)
            self._stopped_or_not()
        return self._stopped

    def add(self, request: Request, client: Client, first: bytes) -> None:
        """Send a client its first frames, and then everything it asked for."""
        self._members.add(request, client, first, self._stopped_or_not)
        self.wake()

    def bye(self, framing: Framing, reason: str) -> bytes:
        """Return the frame that sends a client away, with the pause after which it comes back."""
        return self._members.bye(framing, reason)

    def alive(self) -> bytes:
        """Return the JSON of the frame that pages get in place of a keep-alive."""
        return as_json(self._alive())

    def _level(self, client: Client) -> None:
        if self.away() is None:
            self._members.level(client)
        else:
            self._members.dismiss(client, BROKER_AWAY)

    def _goal(self, subscription: Subscription) -> int:
        """Return how far the others are who asked for the same; -1 while they cannot be sent what they ask for."""
        if not subscription.channels:
            return self._sent
        return self._paced if self._channels_are_level() else -1

    def _channels_are_level(self) -> bool:
        return all(channel.is_level() for channel in self.channels.values())

    def _tick(self) -> None:
        away = None if self.away() is None else BROKER_AWAY
        self._members.tick(self.token, lambda asked: self._paced if asked.channels else self._sent, away, self.alive)
        # A log that took the place of this one may have the same version.
        self._version = None
        self._later("tick", 1.0, self._tick)

    def _follow(self) -> None:
        fine = self.look()
        due = self._due_at()
        if fine and due is not None and self._reactor.seconds() >= due:
            fine = self._try(self._flush)
        if not fine:
            pause = TROUBLE_SECONDS
        elif self._more:
            pause = 0.0
        else:
            pause = LOOK_SECONDS if self._members.all else LOOK_IDLE_SECONDS
            due = self._due_at()
            if due is not None:
                pause = min(pause, max(0.0, due - self._reactor.seconds()))
        self._later("look", pause, self._follow)

    def look(self) -> bool:
        """Read what is new; return whether the log can be read."""
        if not self._try(self._read_new) or self._held:
            return False
        if self.problem:
            logger.info("the log can be read again")
            self.problem = ""
        return True

    def _try(self, function: Callable[[], None]) -> bool:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - what is unknown must not be sent, and the next look may succeed
            self.fail(error)
            return False
        return True

    def _read_new(self) -> None:
        if not self._is_open:
            self._open()
        version = self.log.data_version()
        if version != self._version or self._more:
            try:
                self._read()
            except LogBusyError:
                # What is withdrawn cannot leave the board yet, so nothing is sent, and nothing was noted.
                self._held = True
                return
            self._version = version
        self._held = False

    def _open(self) -> None:
        token = self.log.token
        end = self.log.bounds().end
        if token != self.writer.token or end < self.position:
            if self.writer.token:
                self._members.dismiss_all(LOG_REPLACED)
                self._after = 0
            self.writer.token = token
            self.position = self._sent = self._paced = end if self._after is None else self._after
            self._cause = 0
            self.kept.restart(self.position)
            self._catch_up.reach()
        self._more = True
        self._is_open = True

    def _read(self) -> None:
        end = self.log.bounds().end
        if end < self.position or self.log.token != self.token:
            raise BrokerError(f"another file took the place of the log, of which {self.position} was read")
        rows = self.log.read(self.position, limit=PAGE_ROWS, max_bytes=PAGE_BYTES)
        reach = rows[-1].position if rows else end
        withdrawn = self._withdrawn(self.position, reach)
        for step in self._before if rows else ():
            self.faults.guard("before", partial(step, rows), None)
        self._more = bool(rows)
        self.position = reach
        if withdrawn or any(may_withdraw(row.type) for row in rows):
            self._cause = reach
            # What is kept in memory has their bytes, or names a hidden bug in the event of another one.
            self.kept.restart(reach)
            # Which event of another bug was made to name less, no list has.
            if withdrawn or any(hides_bug(row.type) for row in rows):
                for forget in self.forgets:
                    forget()
        else:
            self.kept.add(rows, reach)

    def _withdrawn(self, after: int, until: int) -> list[Withdrawal]:
        found: list[Withdrawal] = []
        while after < until:
            more, after = read_withdrawals(self.log, after, until)
            found += more
        return found

    def _due_at(self) -> float | None:
        """Return when something can be sent next, None if nothing waits."""
        if self._sent < self.position:
            return self._flush_at
        if self._paced < self.position and self._channels_are_level():
            return max(self._flush_at, self._pace_at)
        return None

    def _flush(self) -> None:
        """Send what was read since the last time to the clients that are level."""
        began = time.thread_time()
        groups = list(self._members.groups.values())
        self._pass_on([group for group in groups if not group.subscription.channels], self._sent)
        self._sent = self.position
        if self._channels_are_level() and self._reactor.seconds() >= self._pace_at:
            self._flush_paced([group for group in groups if group.subscription.channels])
        self._catch_up.reach()
        cost = time.thread_time() - began
        self._flush_at = self._reactor.seconds() + min(FLUSH_MAX_SECONDS, FLUSH_PAUSE * cost)

    def _flush_paced(self, groups: Sequence[Group]) -> None:
        """Send those who follow channels what waits; so much that it would take long, each for itself and in turns."""
        former, self._paced = self._paced, self.position
        if self._paced - former > PAGE_ROWS:
            for client in self._members.fall_back(groups, former):
                self._catch_up.add(client)
        elif self._pass_on(groups, former):
            self._pace_at = self._reactor.seconds() + PACE_SECONDS

    def _pass_on(self, groups: Sequence[Group], after: int) -> bool:
        """Send groups what follows a position; return whether something of a channel was in it."""
        changes: ChannelCache = {}
        while after < self.position and groups:
            page = self.kept.page(after, self.position)
            withdrawn = self._withdrawn(after, page.reach) if after < self._cause else []
            for group in groups:
                data = self.writer.step(group.subscription, page, after, withdrawn, changes)
                if data:
                    self._members.missed(group, len(data))
                    self._members.send(group, data, page.reach)
            after = page.reach
        return any(changes.values())

    def fail(self, error: Exception) -> None:
        """Send all clients away, because the log cannot be read; the next look opens it again."""
        if not isinstance(error, SourcePulseError):
            logger.error("what is new in the log cannot be sent", exc_info=error)
        elif str(error) != self.problem:
            logger.error("the log cannot be read: %s", error)
        self.problem = str(error) or type(error).__name__
        self._is_open = False
        self._version = None
        self.log.close()
        self._members.dismiss_all(LOG_UNREADABLE)

    def _later(self, name: str, seconds: float, function: Callable[[], None]) -> None:
        call = self._calls.get(name)
        if call is not None and call.active():
            call.cancel()
        if not self._stopping or name == "stop":
            self._calls[name] = self._reactor.callLater(seconds, function)

    def _stopped_or_not(self) -> None:
        call = self._calls.get("stop")
        if call is None or self._stopped.called:
            return
        if call.active() and self._members.all:
            return
        if call.active():
            call.cancel()
        for client in list(self._members.all):
            client.wire.abort()
        self._stopped.callback(None)
