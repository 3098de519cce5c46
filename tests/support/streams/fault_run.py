# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A stream of events from an outbox through a relay and a broker to a consumer, with faults in the middle of it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sourcepulse.consumer.memory.batch import BATCH_EVENTS
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
from support.brokers.faulty_broker import FaultyBroker
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import DECLARATIONS_KEPT_SECONDS
from support.streams.fault_plan import KILLS, Fault, Strike, plan
from support.streams.oracle import Witness, check, handled, stored
from support.streams.processes import Written, consumer, relay

SOURCES = tuple(f"system://host-{number}" for number in range(8))
#: What makes an event, with everything around it, one of 1 KiB.
MESSAGE_CHARACTERS = 580
#: Different routing keys, of the same length.
STATES = ("degraded", "restored", "upgraded")
#: So many events are stored in one commit.
BURST_EVENTS = 250
#: So many events are stored before they are handled: there is always something on its way.
LEAD_EVENTS = 500
#: So many are stored when a fault is about to strike: more than the relay notes in one go as confirmed.
STRIKE_EVENTS = 1_000
#: The longest back-off is 30 s, the longest start of a broker on a busy machine takes as long.
STALL_LIMIT_SECONDS = 120.0
#: When nothing was stored for so long and the broker has everything, more is stored, whatever is handled.
QUIET_SECONDS = 10.0
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Numbers of a run for the reader; `sent_again` counts what the broker got more than once.

    `unconfirmed` and `unhandled` hold for each fault how many events it found on their way.
    """

    events: int
    faults: int
    seconds: float
    events_per_second: float
    sent_again: int
    handled_again: int
    relay_retries: int
    consumer_retries: int
    unconfirmed: Sequence[int]
    unhandled: Sequence[int]


def run_stream(folder: Path, broker: FaultyBroker, faults: Sequence[Fault], *, events: int, seed: int) -> Measured:
    """Send that many events through the broker while the faults strike, and check what arrived.

    AssertionError if an event was lost, invented or changed, came out of the order of its source, or if the
    consumer got a report of a loss that there was not.
    """
    with ExitStack() as stack:
        stream = _Stream(folder, broker, stack, events=events, seed=seed)
        witness = Witness(broker.witness_url, exchange=broker.exchange, queue=broker.witness_queue)
        witness.subscribe()
        stream.begin()
        if broker.victim is not None:
            time.sleep(DECLARATIONS_KEPT_SECONDS)
        begun = time.monotonic()
        for strike in plan(faults, events=events, seed=seed):
            stream.go_on(strike.at_event)
            stream.strike(strike)
        stream.finish()
        seconds = time.monotonic() - begun
        stream.end()
        truth = stored(stream.outbox, stream.ids)
        written = stream.written
        # Only what a killed consumer had not recorded may come again: one batch.
        handled_again = check(truth, handled(written.events))
        kills = sum(fault is Fault.CONSUMER_KILLED for fault in faults)
        assert handled_again <= kills * BATCH_EVENTS, f"{handled_again} were handled again after {kills} kills"
        assert written.reports == [], "nothing was lost"
        assert written.stats["late"] == 0
        measured = Measured(
            events=len(truth),
            faults=len(faults),
            seconds=round(seconds, 1),
            events_per_second=round(events / seconds, 1),
            sent_again=check(truth, witness.drain()),
            handled_again=handled_again,
            relay_retries=stream.relay.log().count("trying the public stream again"),
            consumer_retries=stream.consumer.log().count("trying again in"),
            unconfirmed=stream.unconfirmed,
            unhandled=stream.unhandled,
        )
        # Seen with `pytest -s`, and when a test fails.
        print(measured)
        return measured


class _Stream:
    """The processes and files of one run."""

    def __init__(self, folder: Path, broker: FaultyBroker, stack: ExitStack, *, events: int, seed: int) -> None:
        self.ids: list[str] = []
        self._places: dict[str, int] = {}
        #: The place in the stream behind the furthest event that was handled.
        self.reached = 0
        self._news_at = self._fed_at = time.monotonic()
        #: How many events were on their way when a fault struck: to the broker, and to the consumer.
        self.unconfirmed: list[int] = []
        self.unhandled: list[int] = []
        self._broker = broker
        self._events = self._store_until = events
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self.outbox = stack.enter_context(Outbox.open(folder / "outbox.db"))
        self.written = Written(folder / "handled.jsonl")
        self.relay = relay(folder, folder / "outbox.db", broker.relay_url, broker.exchange)
        self.consumer = consumer(folder, folder / "handled.jsonl", broker.consumer_url, broker.exchange, broker.queue)
        for program in (self.relay, self.consumer):
            stack.callback(program.kill)

    def begin(self) -> None:
        """Subscribe, then begin to relay."""
        self.consumer.start()
        self._wait(lambda: self.written.ready == 1)
        self.relay.start()

    def go_on(self, place: int) -> None:
        """Store events, not too many ahead, until the one at a place is handled, or one behind it."""
        self._wait(lambda: self.reached > place)

    def strike(self, strike: Strike) -> None:
        """Cause a fault in the middle of a burst, and heal it after its time."""
        self._store(STRIKE_EVENTS)
        left = (1.0 - strike.share) * self._unconfirmed()
        self._wait(lambda: self._unconfirmed() <= left, feeding=False)
        self.unconfirmed.append(self._unconfirmed())
        self.unhandled.append(len(self.ids) - self.reached)
        heal = self._hurt(strike)
        # Sources do not wait for a broker: the relay shall find it away.
        self._store(BURST_EVENTS)
        self._store_until = max(len(self.ids), min(strike.stored_until, self._events))
        if strike.fault not in KILLS:
            held_until = time.monotonic() + strike.hold_s
            self._wait(lambda: time.monotonic() >= held_until)
        # To start a broker takes long, and a cluster goes on without the node meanwhile.
        with ThreadPoolExecutor(max_workers=1) as pool:
            healing = pool.submit(heal)
            self._wait(healing.done)
            healing.result()
        self._store_until = self._events

    def finish(self) -> None:
        """Store the rest, and one last event of each source behind everything that may come again."""
        self._wait(lambda: len(self.ids) == self._events and self._unconfirmed() == 0)
        last = {self._append([self._event(source)])[0] for source in SOURCES}
        self._wait(lambda: last <= {each["id"] for each in self.written.events[-2 * LEAD_EVENTS :]})
        self._wait(lambda: self._unconfirmed() == 0)

    def end(self) -> None:
        """End the processes."""
        self.relay.end()
        self.consumer.end()
        self._look()

    def _hurt(self, strike: Strike) -> Callable[[], None]:
        """Do it, and give what undoes it."""
        broker = self._broker
        match strike.fault:
            case Fault.BROKER_KILLED | Fault.BROKER_FROZEN:
                assert broker.victim is not None
                node = broker.victim()
                if strike.fault is Fault.BROKER_KILLED:
                    node.kill()
                    return node.start
                node.freeze()
                return node.thaw
            case Fault.RELAY_CUT_OFF:
                return _held(broker.relay_ways)
            case Fault.CONSUMER_CUT_OFF:
                return _held(broker.consumer_ways)
            case Fault.BOTH_CUT_OFF:
                return _held(broker.relay_ways + broker.consumer_ways)
            case Fault.RELAY_RESET:
                (way,) = broker.relay_ways
                way.to_broker.cut(strike.cut_bytes)
                return way.release
            case Fault.CONSUMER_RESET:
                (way,) = broker.consumer_ways
                way.to_client.cut(strike.cut_bytes)
                return way.release
            case Fault.RELAY_KILLED:
                self.relay.kill()
                return self.relay.start
            case Fault.CONSUMER_KILLED:
                self.consumer.kill()
                return self.consumer.start
            case Fault.RELAY_FROZEN:
                self.relay.freeze()
                return self.relay.thaw
            case Fault.CONSUMER_FROZEN:
                self.consumer.freeze()
                return self.consumer.thaw

    def _wait(self, condition: Callable[[], bool], *, feeding: bool = True) -> None:
        """Store events until a condition holds; AssertionError when nothing goes on any more, or a program gave up."""
        self._news_at = time.monotonic()
        while True:
            self._look()
            if condition():
                return
            assert time.monotonic() < self._news_at + STALL_LIMIT_SECONDS, self._stalled()
            for program in (self.relay, self.consumer):
                program.check()
            if feeding:
                self._feed()
            time.sleep(POLL_SECONDS)

    def _look(self) -> None:
        looked_at = len(self.written.events)
        self.written.read_on()
        for each in self.written.events[looked_at:]:
            self._news_at = time.monotonic()
            self.reached = max(self.reached, self._places.get(each["id"], 0) + 1)

    def _feed(self) -> None:
        # Lost events shall not stop those behind them, or it would stay unknown which they are.
        quiet = time.monotonic() > self._fed_at + QUIET_SECONDS and self._unconfirmed() == 0
        if quiet or len(self.ids) - self.reached <= LEAD_EVENTS - BURST_EVENTS:
            self._store(BURST_EVENTS)
            self._fed_at = time.monotonic()

    def _store(self, most: int) -> None:
        count = min(most, self._store_until - len(self.ids))
        if count > 0:
            self._append([self._event(self._chance.choice(SOURCES)) for _ in range(count)])

    def _unconfirmed(self) -> int:
        with self.outbox.reading() as db:
            return int(db.execute("SELECT count(*) FROM events WHERE state = 'pending'").fetchone()[0])

    def _append(self, events: Sequence[Event]) -> list[str]:
        new = [each.id for each in self.outbox.append(events)]
        self._places.update({each: place for place, each in enumerate(new, len(self.ids))})
        self.ids += new
        return new

    def _event(self, source: str) -> Event:
        number = next(self._numbers)
        return system_event(
            number,
            source=source,
            message=self._chance.randbytes(MESSAGE_CHARACTERS // 2 + 1).hex()[:MESSAGE_CHARACTERS],
            state=STATES[number % len(STATES)],
        )

    def _stalled(self) -> str:
        logs = "\n".join(f"{program.log()[-2000:]}\n--" for program in (self.relay, self.consumer))
        return f"{self.reached} of {len(self.ids)} stored events handled, then none more:\n{logs}"


def _held(ways: Sequence[Proxy]) -> Callable[[], None]:
    assert ways, "this broker has no network"
    for way in ways:
        way.hold()

    def release() -> None:
        for way in ways:
            way.release()

    return release
