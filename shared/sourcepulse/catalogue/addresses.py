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
}
SOURCES = {
    "hg": "hg://<host>/<repo>",
    "buildbot": "buildbot://<name>",
    "bugzilla": "bugzilla://<site>",
    "system": "system://<host>",
}
#: It has the key, source and numbers of the event that it stands in for.
STAND_IN = "system.event.withheld"

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
        return Address(family, "<key...>", "<source>", "bug/<id>")
    variable = _longest(KEY_WORDS, name)
    return Address(family, f"{name}.{variable}" if variable else name, SOURCES[family], _longest(SUBJECTS, name))


def _longest(table: dict[str, str], name: str) -> str:
    beginnings = [words for words in table if f"{name}.".startswith(f"{words}.")]
    return table[max(beginnings, key=len)]
