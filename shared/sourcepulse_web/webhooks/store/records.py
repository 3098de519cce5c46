# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the hook store and the queues of hooks return; times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a hook; the newest has no end, a former one signs as well until its end."""

    value: str = field(repr=False)
    made_at: float
    until: float | None


class KeptConsent(NamedTuple):
    """What the receiver of a hook answered at the address `url`, when the sender `origin` asked for its consent."""

    url: str
    granted: bool
    asked_at: float
    #: How many POSTs a minute it allows, as it wrote it; "" for no limit.
    rate: str = ""
    #: Why it is not granted.
    reason: str = ""
    #: As it was named in WebHook-Request-Origin; "" if it was asked by a program that did not keep it.
    origin: str = ""


class AskedTest(NamedTuple):
    """A test that an owner asked for and the sender has not sent yet."""

    number: int
    hook: str
    asked_at: float


class Trouble(NamedTuple):
    """An event that was not accepted and is tried again."""

    tries: int
    first_at: float
    next_at: float
    #: The status of the last answer; None if there was none.
    status: int | None
    #: The outcome of the last attempt, see `send.outcome`.
    kind: str


class Held(NamedTuple):
    """An event that waits for a hook and is leased to this process; `at` is when it was appended to the log."""

    position: int
    source: str
    id: str
    type: str
    routing_key: str
    at: float


class Recalled(NamedTuple):
    """Events of one source that were left in their queue, and the position to go on from; None if that was all."""

    events: list[Held]
    next: int | None


class Loaded(NamedTuple):
    """An event as the log has it now; a withdrawn one is a stand-in, which is not sent."""

    body: bytes
    routing_key: str
    content_type: str
    type: str
    withdrawn: bool


class SetAside(NamedTuple):
    """An event that the receiver refused for good, so that it is out of the way of others."""

    letter: int
    position: int
    source: str
    id: str
    type: str
    routing_key: str
    at: float
    dead_at: float
    reason: str
    withdrawn: bool


class Figures(NamedTuple):
    """What waits for a hook; `waiting` counts also what the sender holds."""

    waiting: int = 0
    #: When the oldest one that waits was appended; None for none.
    oldest_at: float | None = None
    set_aside: int = 0
    #: How many the log removed before they could be sent, ever.
    lost: int = 0
    #: Whether the log has a queue for the hook.
    is_declared: bool = True
    #: The position of the oldest one that waits; None for none.
    oldest: int | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a receiver accepted in the last 24 hours, and the time that half of its answers took at most."""

    count: int = 0
    median_s: float | None = None


class Withdrawn(NamedTuple):
    """What a log withdrew up to a position; `token` is the name of the log."""

    token: str
    until: int
    #: By source and id.
    events: tuple[tuple[str, str], ...]
    #: Bugs that were hidden as a whole, by source and number: the events of other bugs may name them.
    bugs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """How many events of the log match; `more` if not all of the time was looked at."""

    count: int
    more: bool
