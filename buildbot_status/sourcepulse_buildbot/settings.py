# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The arguments of the reporter, checked: every mistake is reported, and no value is guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, NamedTuple

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE, check_exchange
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import KEYS, check_value
from sourcepulse.errors import ConfigError
from sourcepulse.events.event import EVENT_LEAST_MAX_BYTES, EVENT_MAX_BYTES
from sourcepulse.events.limits import TEXT_MAX_BYTES
from sourcepulse_buildbot.mapping.emitter import NORMALIZED_NAMES
from sourcepulse_buildbot.mapping.tests import CASE_EVENTS_MAX, CASES, FAILED, FLAKY, Wanted
from sourcepulse_buildbot.selection import DETAILS, FAMILIES, Selection
from sourcepulse_buildbot.test_reports.numbers import INT32_MAX

#: Properties that are published by default; Buildbot never puts a secret into them.
DEFAULT_PROPERTIES = (
    "branch",
    "buildername",
    "buildnumber",
    "codebase",
    "got_revision",
    "owner",
    "owners",
    "project",
    "repository",
    "revision",
    "scheduler",
    "workername",
)
RELAYS = ("thread", "none")
FORMATS = ("cloudevents", "pulse")
#: The arguments of the reporter beside its name.
DEFAULTS: Mapping[str, Any] = {
    "outbox": None,
    "broker": None,
    "source_name": None,
    "master": None,
    "exchange": DEFAULT_EXCHANGE,
    "format": FORMATS[0],
    "relay": RELAYS[0],
    "builders": None,
    "schedulers": None,
    "tags": None,
    "events": FAMILIES,
    "detail": DETAILS[-1],
    "test_cases": (FAILED, FLAKY),
    "max_test_cases": CASE_EVENTS_MAX,
    "properties": DEFAULT_PROPERTIES,
    "normalized": None,
    "log_tail_bytes": 0,
    "max_event_bytes": EVENT_MAX_BYTES,
    "metrics_file": None,
    "heartbeat_s": KEYS["heartbeat_s"].default,
}

#: A name is part of URIs and of routing keys that no other source may have.
_NAME_RULE = "one word of letters, digits, '.', '_' and '-' for this Buildbot; its events have the source buildbot://{}"
NAME_MAX_CHARACTERS = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_MAX_CHARACTERS - 1}}}")
_NOT_OF_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
#: The `__repr__` of an object that has none of its own: it shows only where the object is in memory.
_NO_REPR: Any = object.__repr__


class Broker:
    """The broker as master.cfg has it, which two readings of master.cfg can compare.

    Buildbot cannot: `Interpolate` returns a renderable for `==`, which is true, and two `Secret`s are never equal.
    """

    def __init__(self, value: Any) -> None:
        #: A URL, a renderable that Buildbot renders to one, or None.
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Broker) and self._text() == other._text()

    def __hash__(self) -> int:
        return hash(self._text())

    def __repr__(self) -> str:
        # Buildbot logs the arguments of a service whose reconfig fails.
        return "None" if self.value is None else "<a broker>"

    def _text(self) -> str:
        """Return what master.cfg has; never log it, because it may contain a password."""
        if type(self.value).__repr__ is _NO_REPR:
            return f"{type(self.value).__qualname__} {vars(self.value)!r}"
        return repr(self.value)


class Settings(NamedTuple):
    """The checked arguments of the reporter."""

    outbox: str
    broker: Broker
    name: str
    master: str | None
    exchange: str
    format: str
    relay: str
    selection: Selection
    properties: frozenset[str]
    normalized: Mapping[str, tuple[str, ...]]
    log_tail_bytes: int
    max_event_bytes: int
    metrics_file: str | None
    heartbeat_s: int

    @property
    def scope(self) -> str:
        """The source in ids: one name for all masters of a database."""
        return f"buildbot://{self.name}"

    @property
    def source(self) -> str:
        """The source of this master's events."""
        return f"{self.scope}/{self.master}" if self.master else self.scope


def read_settings(problem: Callable[[str], object], *, name: str | None, **arguments: Any) -> Settings:
    """Return the settings; `problem` is called with a sentence for each mistake, and then the result must not be used.

    `name` is the service's; `source_name` replaces it in the source where two reporters serve one database.
    A broker that is rendered later (a secret) is not checked yet.
    """
    check = _Check(problem)
    for word in sorted(arguments.keys() - DEFAULTS.keys()):
        problem(f"PulseStatusPush has no argument {word!r}; known are {', '.join(sorted(DEFAULTS))}")
    given = {**DEFAULTS, **arguments}
    if not isinstance(given["outbox"], str) or not given["outbox"]:
        problem("outbox= is missing: the file that keeps every event until the broker has confirmed it")
    check.broker(given["broker"])
    check.name(name, given["source_name"])
    check.master(given["master"])
    check.exchange(given["exchange"])
    check.one_of("format", given["format"], FORMATS)
    check.relay(given["relay"])
    check.one_of("detail", given["detail"], DETAILS)
    return Settings(
        outbox=str(given["outbox"]),
        broker=Broker(given["broker"]),
        name=str(name if given["source_name"] is None else given["source_name"]),
        **{each: given[each] for each in ("master", "exchange", "format", "relay")},
        selection=Selection(
            families=check.words("events", given["events"], FAMILIES),
            detail=given["detail"],
            **{each: check.names_or_none(each, given[each]) for each in ("builders", "tags", "schedulers")},
            cases=Wanted(
                check.words("test_cases", given["test_cases"], CASES),
                check.number("max_test_cases", given["max_test_cases"], 0, INT32_MAX),
            ),
        ),
        properties=check.properties(given["properties"]),
        normalized=check.normalized(given["normalized"]),
        log_tail_bytes=check.number("log_tail_bytes", given["log_tail_bytes"], 0, TEXT_MAX_BYTES),
        max_event_bytes=check.number(
            "max_event_bytes", given["max_event_bytes"], EVENT_LEAST_MAX_BYTES, EVENT_MAX_BYTES
        ),
        metrics_file=check.metrics_file(given["metrics_file"]),
        heartbeat_s=check.number("heartbeat_s", given["heartbeat_s"], 0, KEYS["heartbeat_s"].highest),
    )


def _word_of(named: object) -> str:
    """Return a valid name that resembles the rejected one."""
    return _NOT_OF_A_NAME.sub("-", str(named)).strip("-._")[:NAME_MAX_CHARACTERS] or "ci"


class _Check:
    """Reports each mistake, and still returns a value of the right type."""

    def __init__(self, problem: Callable[[str], object]) -> None:
        self._problem = problem

    def broker(self, broker: Any) -> None:
        if isinstance(broker, str):
            try:
                BrokerUrl.parse(broker)
            except ConfigError as error:
                self._problem(f"broker: {error}")
        elif broker is not None and not hasattr(broker, "getRenderingFor"):
            self._problem(f"broker must be a URL such as amqp://host, or a secret, not {type(broker).__name__}")

    def name(self, name: str | None, source_name: Any) -> None:
        what, named = ("name", name) if source_name is None else ("source_name", source_name)
        if named is None:
            self._problem(f"name= is missing: {_NAME_RULE.format('NAME')}")
        elif not isinstance(named, str) or not _NAME.fullmatch(named):
            word = _word_of(named)
            self._problem(f"write {what}={word!r} instead of {what}={named!r}: {_NAME_RULE.format(word)}")

    def master(self, master: Any) -> None:
        if master is not None and not (isinstance(master, str) and _NAME.fullmatch(master)):
            self._problem(f"master must be one word that no other master of this database has, not {master!r}")

    def relay(self, relay: Any) -> None:
        if relay == "process":
            self._problem(
                "relay='process' is no longer there: leave relay= out, then a thread of the master sends the events, "
                "or write relay='none' and run `sourcepulse relay` with the same outbox as a service"
            )
        else:
            self.one_of("relay", relay, RELAYS)

    def exchange(self, name: Any) -> None:
        try:
            check_exchange(name if isinstance(name, str) else "")
        except ConfigError as error:
            self._problem(f"exchange: {error}")

    def metrics_file(self, path: Any) -> str | None:
        if path is not None:
            try:
                return str(check_value("metrics_file", path, "PulseStatusPush"))
            except ConfigError as error:
                self._problem(str(error))
        return None

    def one_of(self, what: str, word: Any, known: Iterable[str]) -> None:
        if word not in known:
            self._problem(f"{what} must be one of {', '.join(known)}, not {word!r}")

    def names(self, what: str, names: Any) -> frozenset[str]:
        if isinstance(names, str) or not isinstance(names, Iterable):
            self._problem(f"{what} must be a list of names, not {names!r}")
            return frozenset()
        given = list(names)
        for name in given:
            if not isinstance(name, str) or not name:
                self._problem(f"{what} must be a list of names, and {name!r} is not a name")
        return frozenset(name for name in given if isinstance(name, str))

    def names_or_none(self, what: str, names: Any) -> frozenset[str] | None:
        if names is None:
            return None
        found = self.names(what, names)
        if isinstance(names, Sized) and not len(names) and not isinstance(names, str):
            self._problem(f"{what} is empty, so nothing would be published; leave it out for all")
        return found

    def words(self, what: str, words: Any, known: tuple[str, ...]) -> frozenset[str]:
        found = self.names(what, words)
        for word in sorted(found.difference(known)):
            self._problem(f"{what} has the unknown word {word!r}; known are {', '.join(known)}")
        return found

    def properties(self, names: Any) -> frozenset[str]:
        found = self.names("properties", names)
        if any("*" in name for name in found):
            self._problem("properties must list exact names; a pattern could one day match a secret")
        return found

    def normalized(self, mapping: Any) -> dict[str, tuple[str, ...]]:
        if mapping is None:
            return {}
        if not isinstance(mapping, Mapping):
            self._problem(f"normalized must be a dictionary, {{'platform': 'property'}}, not {mapping!r}")
            return {}
        found = {}
        for name, properties in mapping.items():
            if name not in NORMALIZED_NAMES:
                self._problem(f"normalized has the unknown name {name!r}; known are {', '.join(NORMALIZED_NAMES)}")
            given = [properties] if isinstance(properties, str) else properties
            known = self.names(f"normalized[{name!r}]", given)
            # In the order in which they are tried.
            found[name] = tuple(each for each in given if each in known) if known else ()
        return found

    def number(self, what: str, value: Any, least: int, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self._problem(f"{what} must be a whole number from {least} to {most}, not {value!r}")
            return least
        return value
