# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Where the events of a type are found: the words of their routing key, their source, and what they are about."""

from __future__ import annotations

import re
from typing import NamedTuple

from sourcepulse.catalogue import STATUS_SCHEMA
from sourcepulse.errors import EventError
from sourcepulse.events.topics import FAMILIES

#: The variable words that follow the words of a type, by the beginning of the type; the longest beginning counts.
#: `<name...>` is a path, one word for each of its components.
KEY_WORDS = {
    "hg": "<repo...>",
    "change.added": "<project>.<repository...>",
    "build.request.submitted": "<builder>",
    "build.request.completed": "<outcome>.<builder>",
    "build.buildset": "<outcome>",
    "build.started": "<builder>",
    "build.finished": "<outcome>.<builder>",
    "build.step.started": "<builder>",
    "build.step.finished": "<outcome>.<builder>",
    "build.log": "<builder>",
    "build.worker": "<worker>",
    "build.master": "<master>",
    "test.run": "<outcome>.<builder>",
    "test.case": "<builder>",
    "bugzilla": "<product>.<component>",
    "bugzilla.product": "<product>",
    "bugzilla.version": "<product>.<version>",
    "bugzilla.milestone": "<product>.<milestone>",
    "bugzilla.keyword": "<keyword>",
    "system": "",
    "system.webhook": "<hook>",
}
#: The `subject` of an event, in the same way.
SUBJECTS = {
    "hg": "<repo>",
    "change": "change/<id>",
    "build": "builder/<name>/builds/<number>",
    "build.request": "buildrequest/<id>",
    "build.buildset": "buildset/<id>",
    "build.worker": "worker/<name>",
    "build.master": "master/<name>",
    "test": "builder/<name>/builds/<number>",
    "bugzilla": "bug/<id>",
    "bugzilla.product": "product/<id>",
    "bugzilla.component": "component/<id>",
    "bugzilla.version": "version/<id>",
    "bugzilla.milestone": "milestone/<id>",
    "bugzilla.keyword": "keyword/<id>",
    "system": "<service>",
    "system.queue": "queue/<name>",
    "system.webhook": "webhook/<name>",
}
#: The name of what publishes a family, for people.
SOURCE_NAMES = {"hg": "Mercurial", "buildbot": "Buildbot", "bugzilla": "Bugzilla", "system": "The system"}
SOURCES = {
    "hg": "hg://<host>/<repo>",
    "buildbot": "buildbot://<name>",
    "bugzilla": "bugzilla://<site>",
    "system": "system://<host>",
}
#: It has the key, source and numbers of the event that it stands in for.
STAND_IN = "system.event.withheld"
STAND_IN_KEY = "<key...>"
#: What follows the words of a type of a site.
OWN_WORDS = "<word...>"

_VARIABLE = re.compile(r"<(\w+)(\.\.\.)?>")


class Address(NamedTuple):
    """Where the events of a type are found."""

    family: str
    key: str
    source: str
    subject: str

    @property
    def variables(self) -> list[str]:
        """Return the names of the variable words of the key."""
        return [name for name, _ in _VARIABLE.findall(self.key)]

    @property
    def topic(self) -> str:
        """Return the pattern with which a consumer subscribes to them."""
        fixed, variable, _ = self.key.partition("<")
        return f"{fixed}#" if variable else fixed

    @property
    def is_stand_in(self) -> bool:
        """Return whether the key is that of another event."""
        return self.key == STAND_IN_KEY

    @property
    def key_note(self) -> str:
        """Return what the key's form does not show, as the end of a sentence about the key; "" for nothing."""
        if self.is_stand_in:
            return "of the event that it stands in for, as are its source and numbers"
        if self.key.endswith(OWN_WORDS):
            return "any words of its publisher, or none"
        return "a word for each component of the path" if "...>" in self.key else ""

    def matches(self, routing_key: str) -> bool:
        """Return whether a routing key is one of this type, by the number of its words."""
        pattern = re.escape(self.key)
        pattern = re.sub(r"<\w+\\\.\\\.\\\.>", r"[^.]+(?:[.][^.]+)*", pattern)
        return re.fullmatch(re.sub(r"<\w+>", "[^.]+", pattern), routing_key) is not None


def address(type_: str) -> Address:
    """Return where the events of a type are found; EventError if its first word is unknown."""
    name = type_.rpartition(".v")[0]
    family = next((family for family, words in FAMILIES.items() if name.partition(".")[0] in words), None)
    if family is None:
        raise EventError(f"the event type {type_!r} belongs to no source")
    if type_ == STATUS_SCHEMA:
        return Address(family, "system.<service>.<state>", SOURCES[family], SUBJECTS[family])
    if name == STAND_IN:
        return Address(family, STAND_IN_KEY, "<source>", "bug/<id>")
    variable = _longest(KEY_WORDS, name)
    return Address(family, f"{name}.{variable}" if variable else name, SOURCES[family], _longest(SUBJECTS, name))


def own_address(type_: str) -> Address:
    """Return where the events of a type of the site are found: its publisher may append any words to the key."""
    name = type_.rpartition(".v")[0]
    family = name.partition(".")[0]
    return Address(family, f"{name}.{OWN_WORDS}", f"{family}://<host>", "<subject>")


def _longest(table: dict[str, str], name: str) -> str:
    beginnings = [words for words in table if f"{name}.".startswith(f"{words}.")]
    return table[max(beginnings, key=len)]
