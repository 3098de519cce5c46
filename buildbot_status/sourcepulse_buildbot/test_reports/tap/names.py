# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Move measured times out of the names of tests, where `bats --timing` and pg_regress write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sourcepulse_buildbot.test_reports.message_parts import Message
from sourcepulse_buildbot.test_reports.numbers import duration_ns

#: `in 11ms` of bats, `   252 ms` of pg_regress, `(0.3 s)` of others.
_TIME = re.compile(
    r"(?P<name>.*?)(?:\s+in|\s+took|\s+-)?\s+(?P<open>\()?(?P<value>[0-9][0-9.,]{0,20})\s?"
    r"(?P<unit>ns|us|\u00b5s|\u03bcs|ms|s|secs?|seconds?)(?(open)\))$"
)
#: pg_regress marks tests that ran at the same time with a plus, other tests with a dash.
_MARK = re.compile(r"[-+]\s+")


class Named(NamedTuple):
    """A test of a TAP stream before its name is cleaned."""

    name: str
    outcome: str
    code_path: str | None
    line: int | None
    duration_ns: int | None
    message: str | Message | None


def without_times(cases: Sequence[Named]) -> Sequence[Named]:
    """Return the tests of one stream; times at the end of their names become durations.

    A time may be part of a name, so times count as measured only if all names of the stream end in one and are distinct
    without it.
    """
    matches = [_TIME.fullmatch(case.name) for case in cases if not _is_unnamed(case)]
    if not matches or not all(matches):
        return cases
    changed = [case if _is_unnamed(case) else _without_time(case) for case in cases]
    before = {(case.code_path, case.name) for case in cases}
    after = {(case.code_path, case.name) for case in changed}
    return changed if len(before) == len(after) else cases


def _without_time(case: Named) -> Named:
    match = _TIME.fullmatch(case.name)
    if match is None:
        return case
    unit = match["unit"]
    measured = duration_ns(match["value"], unit if unit.endswith("s") and len(unit) <= len("ms") else "s")
    name = match["name"].strip()
    if mark := _MARK.match(name):
        name = name[mark.end() :]
    duration = measured if case.duration_ns is None else case.duration_ns
    return case._replace(name=name or case.name, duration_ns=duration)


def _is_unnamed(case: Named) -> bool:
    """Return whether the name is generated, because the test has none or did not run."""
    return bool(re.fullmatch(r"(?:.* > )?test [0-9]+", case.name)) or case.name == case.code_path
