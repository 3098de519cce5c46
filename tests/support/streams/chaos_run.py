# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Five sources, two outboxes with their relays, a consumer with its memory, and faults drawn by chance among them."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from sourcepulse.consumer.memory.batch import BATCH_EVENTS
from sourcepulse.events.event import Numbers
from sourcepulse.events.wire import encode
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event
from support.brokers.hostile import Hostile, hostile, stranger_at
from support.streams.chaos_oracle import Judged, emitted, judge
from support.streams.chaos_sites import EXCHANGE, QUEUE, Fault, Heal, Site
from support.streams.processes import CONSUMER_URL, RELAY_URL, Program, Written, consumer, relay, write_secret

#: The first outbox has three sources, the second two.
SOURCES = tuple(f"system://chaos-{number}" for number in range(5))
BURST_EVENTS = 50
#: Between two faults of an outbox that waits for its broker, at most so much is stored.
HOLD_LEAST_SECONDS, HOLD_MOST_SECONDS = 0.5, 4.0
#: A relay that was refused tries again after a minute.
RECOVERY_SECONDS = 120.0
#: A consumer whose binding is gone notices within 45 s; nothing is reported before something else comes.
END_SECONDS = 240.0
LAST_EVENT_SECONDS = 5.0
RESTART_SECONDS = 0.5
POLL_SECONDS = 0.02
POISON_MESSAGES = 5
#: Beyond what a consumer takes for an ordinary hole.
FORGED_JUMPS = (5_000, 10**15)
#: Without any meaning; the number of the last is higher than any that can be counted.
POISON_BODIES = (b'{"specversion":"1.0","id":', b"\xff\xfe{}", b"[]", b"")


def run_chaos(folder: Path, site: Site, *, events: int, faults: int, seed: int) -> Judged:
    """Send that many events while that many faults happen, and judge what arrived."""
    with ExitStack() as stack:
        stack.callback(site.close)
        chaos = _Chaos(folder, site, stack, seed)
        chaos.begin()
        part = math.ceil(events / faults)
        for number, name in enumerate(chaos.draw(faults)):
            chaos.strike(name, min(part, events - number * part))
        chaos.finish()
        judged = judge(emitted(chaos.outboxes), chaos.written.events, chaos.written.reports, chaos.forged)
        # Seen with `pytest -s`, and when a test fails.
        print(f"CHAOS_SEED={seed}", judged, ", ".join(chaos.happened), chaos.notes(), sep="\n")
        assert judged.handled_again <= chaos.consumer_kills * BATCH_EVENTS, "one batch may come again after a kill"
        return judged


class _Chaos:
    def __init__(self, folder: Path, site: Site, stack: ExitStack, seed: int) -> None:
        self.forged: set[str] = set()
        self.happened: list[str] = []
        self.consumer_kills = 0
        self.recovery: list[float] = []
        self._site = site
        self._folder = folder
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._handled = 0
        self.outboxes = [stack.enter_context(Outbox.open(folder / f"{name}.db")) for name in ("first", "second")]
        self._homes = {source: self.outboxes[number // 3] for number, source in enumerate(SOURCES)}
        self.written = Written(folder / "handled.jsonl")
        self._relays = [relay(folder, each.path, site.url("relay"), EXCHANGE) for each in self.outboxes]
        self._consumer = consumer(folder, folder / "handled.jsonl", site.url("consumer"), EXCHANGE, QUEUE)
        self._programs = [*self._relays, self._consumer]
        self._deaths: Counter[int] = Counter()
        self._restart_at = dict.fromkeys(range(len(self._programs)), 0.0)
        for program in self._programs:
            stack.callback(program.kill)
        site.stranger.exchange, site.stranger.queue = EXCHANGE, QUEUE
        site.mend_login = self._mend_login
        site.kill_consumer = lambda: self._kill(self._consumer)
        self._faults: dict[str, Fault] = {
            **site.faults,
            "relay killed": lambda: self._kill(self._chance.choice(self._relays)),
            "consumer killed": lambda: self._kill(self._consumer),
            "relay frozen": lambda: self._freeze(self._chance.choice(self._relays)),
            "consumer frozen": lambda: self._freeze(self._consumer),
            "poison": self._poison,
            "numbers forged": self._forge,
        }

    def begin(self) -> None:
        """Subscribe, then relay, and have each source known to the consumer."""
        self._consumer.start()
        self._wait(lambda: self.written.ready == 1, RECOVERY_SECONDS, "the consumer subscribes")
        for each in self._relays:
            each.start()
        self._handle_last(RECOVERY_SECONDS)

    def draw(self, count: int) -> list[str]:
        """Return that many faults, each kind about as often."""
        kinds = sorted(self._faults)
        drawn = [name for _ in range(math.ceil(count / len(kinds))) for name in self._chance.sample(kinds, len(kinds))]
        return drawn[:count]

    def strike(self, name: str, events: int) -> None:
        """Store events before, during and after one fault, sometimes two at once, and wait until all recovers."""
        self.happened.append(name)
        before, during = (int(events * self._chance.uniform(0.2, 0.4)) for _ in range(2))
        self._store(before)
        self._pass(self._chance.uniform(0.0, 0.2))
        heal = self._faults[name]()
        self._store(during)
        self._pass(self._chance.uniform(HOLD_LEAST_SECONDS, HOLD_MOST_SECONDS))
        heal()
        self._store(events - before - during)
        begun = time.monotonic()
        # Half of the faults meet what the one before them left.
        allowed = 0 if self._chance.random() < 0.5 else events
        self._wait(lambda: self._pending() <= allowed, RECOVERY_SECONDS, f"the relays go on after: {name}")
        self.recovery.append(time.monotonic() - begun)

    def finish(self) -> None:
        """Wait until everything is confirmed, and one more event of each source handled."""
        self._wait(lambda: self._pending() == 0, RECOVERY_SECONDS, "the relays send the rest")
        self._handle_last(END_SECONDS)
        self._wait(lambda: self._pending() == 0, RECOVERY_SECONDS, "the relays send the last")
        for each in self._programs:
            each.end()
        self.written.read_on()

    def notes(self) -> str:
        """Return what else a reader wants to know."""
        deaths = {self._name(number): count for number, count in self._deaths.items()}
        slowest = max(self.recovery, default=0.0)
        return f"ended by themselves: {deaths}, slowest recovery {slowest:.1f} s, last stats {self.written.stats}"

    # The stream.

    def _store(self, count: int) -> None:
        while count > 0:
            self._append([self._chance.choice(SOURCES) for _ in range(min(BURST_EVENTS, count))])
            count -= BURST_EVENTS
            self._pass(0.01)

    def _append(self, sources: Sequence[str]) -> list[str]:
        ids = []
        for outbox in self.outboxes:
            new = [
                system_event(next(self._numbers), source=source, message=self._chance.randbytes(100).hex())
                for source in sources
                if self._homes[source] is outbox
            ]
            ids += [each.id for each in outbox.append(new)] if new else []
        return ids

    def _handle_last(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            wanted = set(self._append(SOURCES))
            with suppress(TimeoutError):
                self._await(partial(self._was_handled, wanted), LAST_EVENT_SECONDS)
                return
            assert time.monotonic() < deadline, f"the last event of each source does not arrive\n{self._logs()}"

    def _was_handled(self, ids: set[str]) -> bool:
        return ids <= {each["id"] for each in self.written.events[-500:]}

    def _pending(self) -> int:
        total = 0
        for outbox in self.outboxes:
            with outbox.reading() as db:
                total += db.execute("SELECT count(*) FROM events WHERE state = 'pending'").fetchone()[0]
        return total

    # The faults.

    def _kill(self, program: Program) -> Heal:
        program.kill()
        self.consumer_kills += program is self._consumer
        return program.start

    def _freeze(self, program: Program) -> Heal:
        if not program.is_running:
            return lambda: None
        program.freeze()
        return program.thaw

    def _mend_login(self, role: str) -> None:
        url = self._site.url(role)
        if role == "relay":
            # A relay reads its file again by itself.
            write_secret(self._folder / RELAY_URL, url)
            return
        write_secret(self._folder / CONSUMER_URL, url)
        self._kill(self._consumer)()

    def _poison(self) -> Heal:
        messages = [hostile(self._chance) for _ in range(POISON_MESSAGES)]
        good = encode(system_event(1, source="system://stranger").numbered(Numbers("e", 1, 1)))
        bodies = [*POISON_BODIES, good.replace(b'"00000000000000000001"', b'"99999999999999999999"')]
        messages += [
            Hostile(key, b"\0\0", [], body) for body in bodies for key in (b"system.test.degraded", b"hg.\xff")
        ]
        return self._publish(messages)

    def _forge(self) -> Heal:
        source = self._chance.choice(SOURCES)
        with self._homes[source].reading() as db:
            epoch, sequence = db.execute(
                "SELECT epoch, sequence FROM events WHERE source = ? ORDER BY position DESC LIMIT 1", (source,)
            ).fetchone()
        number = sequence + self._chance.choice(FORGED_JUMPS)
        event = system_event(-1 - len(self.forged), source=source).numbered(Numbers(epoch, number, number))
        self.forged.add(event.id)
        return self._publish([Hostile(event.routing_key.encode(), b"\0\0", [], encode(event))])

    def _publish(self, messages: Sequence[Hostile]) -> Heal:
        stranger = stranger_at(self._site.stranger)
        for message in messages:
            stranger.publish(message)
        stranger.close()
        return lambda: None

    # The processes.

    def _pass(self, seconds: float) -> None:
        with suppress(TimeoutError):
            self._await(lambda: False, seconds)

    def _wait(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        try:
            self._await(condition, limit_s)
        except TimeoutError:
            raise AssertionError(f"waited {limit_s:.0f} s in vain: {what}\n{self._logs()}") from None

    def _await(self, condition: Callable[[], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            self.written.read_on()
            self._look_after_programs()
            if condition():
                return
            if time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(POLL_SECONDS)

    def _look_after_programs(self) -> None:
        """Start again what ended by itself, as systemd does."""
        for number, program in enumerate(self._programs):
            if program.has_ended and time.monotonic() >= self._restart_at[number]:
                self._deaths[number] += 1
                self._restart_at[number] = time.monotonic() + RESTART_SECONDS
                program.start()

    def _name(self, number: int) -> str:
        return "consumer" if self._programs[number] is self._consumer else f"relay {number + 1}"

    def _logs(self) -> str:
        return "\n".join(f"-- {self._name(n)}\n{p.log()[-2500:]}" for n, p in enumerate(self._programs))
