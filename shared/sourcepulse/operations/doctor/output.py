# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor's report for people: a line for each finding, below a bad one what it means and how to repair it."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator

from sourcepulse.operations.doctor.doctor import Report
from sourcepulse.operations.doctor.finding import Finding, State

_WIDTH = 100
_STATE_WIDTH = max(len(state.value) for state in State)
_INDENT = " " * 4
_COMMAND_INDENT = " " * 6


def lines(report: Report) -> Iterator[str]:
    """Yield the lines, the worst finding first; a command stands alone on its line, so that it can be pasted."""
    for finding in report.findings:
        yield f"{finding.state.value.ljust(_STATE_WIDTH)}  {finding.id}  {_headline(finding)}"
        if finding.state in (State.BROKEN, State.WARNING):
            yield from _details(finding)
    counts = Counter(finding.state for finding in report.findings)
    summary = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    yield f"{summary or 'nothing to check'}; {report.took_s:.1f} s"


def _headline(finding: Finding) -> str:
    if finding.state in (State.BROKEN, State.WARNING):
        return f"{finding.entry.title}: {finding.about}"
    return f"{finding.about}: {finding.found}"


def _details(finding: Finding) -> Iterator[str]:
    entry = finding.entry
    for name, text in (("found", finding.found), ("cause", entry.cause), ("consequence", entry.consequence)):
        yield from _wrapped(f"{name + ':':13}{text}")
    yield from _wrapped(f"{'repair:':13}{finding.advice}".rstrip())
    for command in finding.commands:
        yield _COMMAND_INDENT + command


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT + " " * 13,
        break_long_words=False,
        break_on_hyphens=False,
    )
