# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What befalls a stream, and at which of its events: drawn by chance, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

#: A broker with heartbeats of one second is given up after two to three; some holds end before that, most after.
HOLD_LEAST_SECONDS = 2.0
HOLD_MOST_SECONDS = 5.0
#: A connection is cut within this many bytes, anywhere in a frame.
CUT_BYTES = 100_000


class Fault(Enum):
    """One thing that can go wrong; `CUT_OFF` is a black hole, in which connections stand and nothing passes."""

    BROKER_KILLED = "broker killed"
    BROKER_FROZEN = "broker frozen"
    RELAY_CUT_OFF = "relay cut off"
    CONSUMER_CUT_OFF = "consumer cut off"
    BOTH_CUT_OFF = "both cut off"
    RELAY_RESET = "relay's connection reset"
    CONSUMER_RESET = "consumer's connection reset"
    RELAY_KILLED = "relay killed"
    CONSUMER_KILLED = "consumer killed"
    RELAY_FROZEN = "relay frozen"
    CONSUMER_FROZEN = "consumer frozen"


#: What is killed is started again at once, which takes its own time; everything else lasts a while.
KILLS = frozenset({Fault.BROKER_KILLED, Fault.RELAY_KILLED, Fault.CONSUMER_KILLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault that comes when so many events were handled and that share of a new burst is confirmed; it lasts so long.

    Until it is healed the stream goes on, where it can, to `stored_until` at most, so that the next one finds it.
    """

    at_event: int
    stored_until: int
    fault: Fault
    share: float
    hold_s: float
    cut_bytes: int


def plan(faults: Sequence[Fault], *, events: int, seed: int) -> list[Strike]:
    """Spread the faults over a stream, in a random order, each at a random place of its own part of it."""
    chance = random.Random(seed)
    shuffled = chance.sample(faults, len(faults))
    part = events / max(1, len(faults))
    places = [int((number + chance.uniform(0.1, 0.7)) * part) for number in range(len(faults))]
    return [
        Strike(
            at_event=place,
            stored_until=place + int(0.3 * part),
            fault=fault,
            share=chance.uniform(0.05, 0.6),
            hold_s=chance.uniform(HOLD_LEAST_SECONDS, HOLD_MOST_SECONDS),
            cut_bytes=chance.randrange(CUT_BYTES),
        )
        for place, fault in zip(places, shuffled, strict=True)
    ]
