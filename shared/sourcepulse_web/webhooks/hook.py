# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A hook as its owner registered it, its state, and one attempt; and what a name, a topic and an owner may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sourcepulse.errors import ConfigError, quoted
from sourcepulse.events.safe_text import ascii_line
from sourcepulse.events.topics import HASHES_MAX, check_pattern

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
TOPICS_MAX = 50
OWNER_MAX_CHARACTERS = 100
#: The first word of the queue of a hook, in `sourcepulse queues`.
QUEUE_PREFIX = "webhook."
#: Why a hook is paused. What an admin paused, its owner cannot resume.
PAUSED = "its owner paused it"
PAUSED_BY_ADMIN = "an admin paused it"


class State(StrEnum):
    """What the sender does for a hook; whether it is trying again follows from `Standing.failing_since`."""

    ON = "on"
    #: By its owner or an admin.
    PAUSED = "paused"
    #: By the sender, after a long time without success or because too many events were set aside.
    PARKED = "parked"
    #: By the sender, because the receiver answered 410.
    OFF = "off"


class Handshake(StrEnum):
    """Whether consent is asked by OPTIONS, section 4 of the CloudEvents HTTP webhook specification 1.0.2."""

    OFF = "off"
    #: Asked; without consent the hook is served all the same.
    TRY = "try"
    #: Without consent nothing is POSTed.
    REQUIRE = "require"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What was registered.

    >>> Hook(name="chat-room", url="https://chat.example.org/in/7", topics=("hg.tree.#",), owner="alice@example.org")
    """

    name: str
    url: str
    topics: tuple[str, ...]
    owner: str = ""
    handshake: Handshake = Handshake.OFF
    #: A file with a bearer token, which only an admin can name; "" for none.
    bearer_file: str = ""

    @property
    def queue(self) -> str:
        """The name of its queue in the log."""
        return queue_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a hook stands; times are seconds since 1970."""

    state: State = State.ON
    #: Why it is paused, parked or off, as a sentence; "" while it is on.
    reason: str = ""
    since: float = 0.0
    #: The first failure since the last success; None while it works.
    failing_since: float | None = None
    last_success_at: float | None = None
    #: When the next attempt is due while it fails; None if none is.
    next_at: float | None = None
    delivered: int = 0
    #: Stand-ins of events that are no longer public, and events that Bugzilla hid: they are not POSTed.
    withheld: int = 0
    #: When the log was found replaced, so that events before may be missing; None if it never was.
    interrupted_at: float | None = None

    @property
    def is_paused_by_admin(self) -> bool:
        """Whether only an admin can resume it."""
        return self.state is State.PAUSED and self.reason == PAUSED_BY_ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST and what came of it; never the secret, the signature or the body."""

    #: A number that rises; 0 until it is stored.
    number: int = 0
    hook: str
    at: float
    #: Of the event in the log; 0 for a test.
    position: int
    webhook_id: str
    source: str
    id: str
    type: str
    routing_key: str
    #: The how-manieth attempt for this event since it was last asked for.
    tries: int
    #: What it means: see `send.outcome`.
    outcome: str
    #: The status of the answer; None if there was none.
    status: int | None
    #: In one line why there was no answer, or why it counts as a failure.
    reason: str
    took_s: float
    #: Header lines of a failed answer, at most 2 KiB, and the beginning of its body, at most 1 KiB.
    headers: str = ""
    excerpt: str = ""
    #: When it is tried again; None if it is not.
    next_at: float | None = None


def queue_of(name: str) -> str:
    """Return the name of a hook's queue in the log."""
    return QUEUE_PREFIX + name


def check_name(name: str) -> str:
    """Return the name; ConfigError if it cannot be one."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"a webhook is named with 1 to 40 small letters, digits and hyphens: chat-room, not {quoted(name)}"
        )
    return name


def check_topics(topics: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns, each once; ConfigError if there is none, one is wrong or long, or there are too many."""
    found = tuple(dict.fromkeys(check_pattern(topic, hashes_max=HASHES_MAX) for topic in topics))
    if not found:
        raise ConfigError("a webhook needs at least one topic, such as 'hg.push.#'")
    if len(found) > TOPICS_MAX:
        raise ConfigError(f"a webhook has at most {TOPICS_MAX} topics")
    return found


def check_owner(owner: str) -> str:
    """Return the owner; ConfigError if it is not one short line."""
    text = owner.strip()
    if text != ascii_line(text) or len(text) > OWNER_MAX_CHARACTERS:
        raise ConfigError(f"the owner must be one line of at most {OWNER_MAX_CHARACTERS} ASCII characters")
    return text


def check_handshake(text: str) -> Handshake:
    """Return the kind of handshake; ConfigError if there is none of this name."""
    try:
        return Handshake(text)
    except ValueError:
        raise ConfigError(f"the handshake is one of {', '.join(Handshake)}, not {quoted(text)}") from None
