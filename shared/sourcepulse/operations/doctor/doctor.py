# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Assemble the checks: those of the core, and those that installed sources bring; run them all within a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sourcepulse.config import Config, load
from sourcepulse.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, ConfigError, NothingThereError, SourcePulseError
from sourcepulse.events.event import format_time
from sourcepulse.operations.doctor.checks import broker, clock, dangers, outbox, relay, settings, web
from sourcepulse.operations.doctor.finding import Finding, Job, State, unchecked
from sourcepulse.operations.doctor.runner import run_jobs
from sourcepulse.operations.doctor.situation import Situation, read_state
from sourcepulse.relay.destination import places_of

#: Where sources offer checks: functions that return jobs for a situation.
ENTRY_POINT_GROUP = "sourcepulse.checks"
#: For everything; reading the outbox comes first.
LIMIT_SECONDS = 15.0
READ_LIMIT_SECONDS = 3.0
LIST_LIMIT_SECONDS = 2.0
#: What the module of a source's checks may also have: a function that yields settings which the source names.
NAMED_SETTINGS = "named_settings"

Checks = Callable[[Situation], Iterable[Job]]

_ORDER = tuple(State)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, the worst first, and how long they took."""

    findings: Sequence[Finding]
    at: float
    took_s: float

    @property
    def exit_code(self) -> int:
        """0 if all is well, 1 if something is broken, 2 if there are only doubts or something was not checked."""
        states = {finding.state for finding in self.findings if finding.counts}
        if State.BROKEN in states:
            return EXIT_FAILURE
        return EXIT_USAGE if states & {State.WARNING, State.UNCHECKED} else EXIT_OK

    def document(self) -> dict[str, Any]:
        """Return the report as `--json` prints it, which the schema doctor.v1 describes."""
        return {
            "at": format_time(self.at),
            "took_s": round(self.took_s, 3),
            "exit_code": self.exit_code,
            "findings": [finding.document() for finding in self.findings],
        }


def examine(situation: Situation, *, more: Sequence[Checks] = ()) -> Report:
    """Run all checks and return what they found; `more` are checks that were requested, such as the probe."""
    begun = time.monotonic()
    situation, early = _with_sources(situation)
    checks = (
        settings.jobs,
        outbox.jobs,
        broker.jobs,
        relay.jobs,
        clock.jobs,
        dangers.jobs,
        web.jobs,
        *_of_sources(early),
        *more,
    )
    jobs = _jobs(checks, situation, early)
    found = early + run_jobs(jobs, limit_s=max(1.0, LIMIT_SECONDS - (time.monotonic() - begun)))
    found.sort(key=lambda finding: (_ORDER.index(finding.state), finding.id))
    return Report(found, situation.now(), time.monotonic() - begun)


def examine_outbox(situation: Situation) -> Iterator[Finding]:
    """Yield what the checks of the outbox and of its relay find, for a source that names an outbox of its own."""
    try:
        if situation.outbox is not None:
            situation = replace(situation, state=read_state(situation.outbox))
    except NothingThereError:
        return
    except SourcePulseError as error:
        situation = replace(situation, outbox_problem=error)
    for job in (*outbox.jobs(situation), *relay.jobs(situation)):
        yield from job.run()


def situation_of(
    config: Config, path: Path | None, *, problem: str = "", now: Callable[[], float] = time.time, **places: Any
) -> Situation:
    """Return the situation for these settings; its outbox is not read yet."""
    try:
        destinations = places_of(config)
    except ConfigError as error:
        destinations, problem = {}, problem or str(error)
    return Situation(config=config, settings_problem=problem, outbox=path, places=destinations, now=now, **places)


def _with_state(situation: Situation) -> tuple[Situation, list[Finding]]:
    """Read the outbox, in a thread of its own because a dead file server may never answer."""
    path = situation.outbox
    if path is None:
        return situation, []
    read: list[Situation] = []

    def look() -> Iterator[Finding]:
        try:
            read.append(replace(situation, state=read_state(path)))
        except NothingThereError:
            read.append(situation)
        except SourcePulseError as error:
            read.append(replace(situation, outbox_problem=error))
        yield from ()

    early = run_jobs([Job(id="SP110", about=str(path), run=look)], limit_s=READ_LIMIT_SECONDS)
    known = read[0] if read else replace(situation, outbox=None)
    if not read or known.outbox_problem is not None:
        why = "its relay, and the repositories and Bugzillas that only the outbox names, because it cannot be read"
        early.append(unchecked("SP401", str(path), why))
    return known, early


def _jobs(checks: Sequence[Checks], situation: Situation, early: list[Finding]) -> list[Job]:
    """Return the jobs of all checks, which look at places too, so each lists its own in a thread that may hang."""
    listed: list[list[Job]] = [[] for _ in checks]

    def names(number: int) -> Iterator[Finding]:
        for job in checks[number](situation):
            listed[number].append(job)
        yield from ()

    lists = [
        Job(id="SP101", about=f"checks of {getattr(each, '__module__', 'a source')}", run=partial(names, number))
        for number, each in enumerate(checks)
    ]
    early += run_jobs(lists, limit_s=LIST_LIMIT_SECONDS)
    return [job for jobs in listed for job in tuple(jobs)]


def _with_sources(situation: Situation) -> tuple[Situation, list[Finding]]:
    """Read the outbox; where the settings name none, or no broker, use those that the sources name."""
    early: list[Finding] = []
    if situation.outbox is None:
        situation = _with_named(situation, early)
    situation, unread = _with_state(situation)
    early += unread
    if not situation.places and situation.state is not None and situation.state.origins:
        situation = _with_named(situation, early)
    return situation, early


def _with_named(situation: Situation, early: list[Finding]) -> Situation:
    """Use the outbox and the broker that a source names, where the settings name none."""
    made: list[Situation] = []

    def look() -> Iterator[Finding]:
        for point in entry_points(group=ENTRY_POINT_GROUP):
            named = getattr(import_module(point.module), NAMED_SETTINGS, None)
            for given, place in named(situation) if named else ():
                made.append(_naming(situation, given, place))
                if made[-1].places:
                    return
        yield from ()

    early += run_jobs([Job(id="SP102", about="sources", run=look)], limit_s=READ_LIMIT_SECONDS)
    return made[-1] if made else situation


def _naming(situation: Situation, given: Mapping[str, str], place: str) -> Situation:
    """Return the situation with settings that a file of a source names, as if they were arguments."""
    origin = situation.config.origin
    if origin is None or not given or situation.settings_problem:
        return situation
    try:
        config = load(**origin._replace(arguments={**origin.arguments, **given})._asdict())
        places = places_of(config)
    except ConfigError:
        # The checks of the source report it.
        return situation
    outbox = Path(given["outbox"]) if "outbox" in given else situation.outbox
    return replace(situation, config=config, places=places, outbox=outbox, named_in=place)


def _of_sources(early: list[Finding]) -> Iterator[Checks]:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            yield point.load()
        except Exception as error:  # noqa: BLE001 - a source that cannot be loaded must not hide the rest
            early.append(unchecked("SP101", point.name, f"its checks cannot be loaded: {error}"))
