# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The users of a broker by their roles, and what each role may do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import FAMILIES

#: A user's name begins its queues, up to the first dot, and is a part of patterns and of ActiveMQ's names.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
#: Every queue of a temporary subscription begins with it.
TEMPORARY = "temporary-"
#: The nameless exchange, by which a message reaches any queue.
NAMELESS = "amq.default"
_NOTHING = "^$"
_FAMILY = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SHOWN_ORDER = ("hg", "build", "change", "test", "bugzilla", "system")


class Role(NamedTuple):
    """What a user is for; the stream is "public" or "restricted", "" for a user that only looks at the broker."""

    name: str
    what: str
    default_user: str
    stream: str
    publishes: bool = False
    #: The pattern of the routing keys that it publishes under; "" for every family of events.
    keys: str = ""
    #: Whether a broker that is set up without naming users gets one.
    is_usual: bool = True

    @property
    def consumes(self) -> bool:
        return bool(self.stream) and not self.publishes


ROLES = {
    role.name: role
    for role in (
        Role("publisher", "a relay; publishes public events and reads nothing", "relay", "public", publishes=True),
        Role(
            "restricted-publisher",
            "a relay; publishes restricted events and reads nothing",
            "restricted-relay",
            "restricted",
            publishes=True,
        ),
        Role("consumer", "reads public events through queues of its own; publishes nothing", "reader", "public"),
        Role(
            "restricted-consumer",
            "reads restricted events through queues of its own; publishes nothing",
            "restricted-reader",
            "restricted",
        ),
        Role(
            "webhook-publisher",
            "a web gateway; publishes what happens to webhooks, and reads nothing",
            "webhooks",
            "public",
            publishes=True,
            keys=r"^system\.webhook\.",
            is_usual=False,
        ),
        Role("monitor", "looks at queues and consumers with the management API; changes nothing", "monitor", ""),
    )
}


class User(NamedTuple):
    """A login at the broker."""

    name: str
    role: Role


class Rights(NamedTuple):
    """The names that a user may declare, write to and read from, as RabbitMQ's regular expressions."""

    configure: str
    write: str
    read: str


DEFAULT_USERS = tuple(User(role.default_user, role) for role in ROLES.values() if role.is_usual)


def parse_users(texts: Iterable[str]) -> tuple[User, ...]:
    """Parse `ROLE=NAME` of each text, the default users for none; ConfigError says which roles there are."""
    users: list[User] = []
    for text in texts:
        role, equals, name = text.partition("=")
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"roles are {', '.join(ROLES)}"
            raise ConfigError(f"unknown role {role!r}; {hint}")
        if not equals or not _NAME.fullmatch(name):
            raise ConfigError(
                f"write {role}=NAME, where the name is of letters, digits, '-' and '_', not {text!r}: "
                "the queues of a user begin with its name and a dot"
            )
        if any(user.name == name for user in users):
            raise ConfigError(f"the user {name!r} is named twice; a user has one role")
        users.append(User(name, ROLES[role]))
    return tuple(users) or DEFAULT_USERS


def rights_of(user: User, exchange: str, *, dead_letters: bool) -> Rights:
    """Return what a user may do in the virtual host, where `exchange` is that of its stream.

    A consumer declares and binds queues of its own name, and those of temporary subscriptions, which are exclusive. It
    may not write to the exchange, so it can neither publish nor bind the exchange to another one.
    """
    if not user.role.stream:
        return Rights(_NOTHING, _NOTHING, _NOTHING)
    if user.role.publishes:
        return Rights(_NOTHING, f"^{_escaped(exchange)}$", _NOTHING)
    own = rf"{user.name}\..*|{TEMPORARY}.*"
    written = f"{_escaped(NAMELESS)}|{own}" if dead_letters else own
    return Rights(f"^({own})$", f"^({written})$", f"^({_escaped(exchange)}|{own})$")


def topics(own_families: Sequence[str] = ()) -> str:
    """Return the pattern of the routing keys that a relay may publish under: every family of events."""
    families = [word for words in FAMILIES.values() for word in words]
    words = sorted(families, key=_SHOWN_ORDER.index)
    return f"^({'|'.join([*words, *own_families])})\\."


def check_family(word: str) -> str:
    """Return the first word of the routing keys of a site's own events, or raise ConfigError."""
    if not _FAMILY.fullmatch(word):
        raise ConfigError(f"--family {word!r}: it is one word of small letters and digits, as in 'deploy'")
    return word


def _escaped(name: str) -> str:
    # `re.escape` also escapes '-', which makes a name hard to read.
    return name.replace(".", r"\.")
