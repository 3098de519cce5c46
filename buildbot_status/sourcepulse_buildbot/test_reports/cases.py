# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The result of every reader of test reports: the cases, bounded, and what is wrong with the report.

A report is written by programs that the project did not choose, so every text is cut, cleaned of characters that
databases refuse (NUL and other control characters) and marked if it was cut, and the number of cases, messages and
problems is limited. Outcomes are counted beyond that limit. A problem means that tests may be missing; a note means
that something was replaced or skipped but all tests are there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sourcepulse_buildbot.test_reports.message_parts import MESSAGE_BYTES_MAX, Message
from sourcepulse_buildbot.test_reports.numbers import DURATION_NS_MAX, INT32_MAX

PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"

#: PostgreSQL refuses an entry of more than about 2,700 bytes in Buildbot's index of names and of paths.
NAME_BYTES_MAX = 2_000
CASES_MAX = 200_000
#: The limit for all messages of a report; Buildbot stores up to 3,000 results in one statement of limited size.
ALL_MESSAGES_BYTES_MAX = 8 * 1024 * 1024
PROBLEMS_MAX = 20

# Surrogates cannot be encoded; tabs and line breaks are fine in a message.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BREAKS = re.compile(r"[\r\n\t]+")
_UNNAMED = "(no name)"


class TestCase(NamedTuple):
    """One test and its outcome, which is `passed`, `failed`, `error` or `skipped`."""

    name: str
    outcome: str
    code_path: str | None = None
    line: int | None = None
    duration_ns: int | None = None
    #: Why it failed or was skipped; for a flaky test, why it failed at first.
    message: str | None = None
    #: How often it ran.
    attempts: int = 1

    @property
    def is_flaky(self) -> bool:
        """Whether it passed after it had failed."""
        return self.outcome == PASSED and self.attempts > 1


class Report(NamedTuple):
    """The content of a report: the first cases, the number of each outcome, and what is wrong with the report."""

    cases: Sequence[TestCase]
    #: Outcome -> number, of all cases, including those beyond the limit.
    counts: Mapping[str, int]
    #: One sentence each; empty if the report is complete.
    problems: Sequence[str]
    #: One sentence each about what was replaced or skipped.
    notes: Sequence[str] = ()
    flaky: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """The number of cases that failed or broke."""
        return self.counts.get(FAILED, 0) + self.counts.get(ERROR, 0)


class ReportBuilder:
    """Collects the cases and the problems of one or several reports, within the limits."""

    def __init__(self, *, most_cases: int = CASES_MAX, most_message_bytes: int = ALL_MESSAGES_BYTES_MAX) -> None:
        #: The file that problems belong to, if there are several.
        self.source = ""
        self._most_cases = most_cases
        self._message_bytes_left = most_message_bytes
        self._messages_left_out = 0
        self._cases: list[TestCase] = []
        self._counts: Counter[str] = Counter()
        self._flaky = 0
        self._problems = _Sentences()
        self._notes = _Sentences()

    def add(
        self,
        name: str,
        outcome: str,
        *,
        code_path: str | None = None,
        line: int | None = None,
        duration_ns: int | None = None,
        message: str | Message | None = None,
        attempts: int = 1,
    ) -> None:
        """Add a case as the report has it; texts and numbers may be of any size."""
        self._counts[outcome] += 1
        self._flaky += outcome == PASSED and attempts > 1
        if len(self._cases) >= self._most_cases:
            return
        self._cases.append(
            TestCase(
                name=_name(name) or _UNNAMED,
                outcome=outcome,
                code_path=_name(code_path or "") or None,
                line=line if line is not None and 0 <= line <= INT32_MAX else None,
                duration_ns=duration_ns if duration_ns is not None and 0 <= duration_ns <= DURATION_NS_MAX else None,
                message=self._message(message),
                attempts=min(max(attempts, 1), INT32_MAX),
            )
        )

    def problem(self, sentence: str) -> None:
        """Record why the report may be incomplete, as a sentence without a full stop; repeats are recorded once."""
        self._problems.add(self._of_source(sentence))

    def note(self, sentence: str) -> None:
        """Record what was replaced or skipped; repeats are recorded once."""
        self._notes.add(self._of_source(sentence))

    def report(self) -> Report:
        """Return everything collected so far."""
        problems = self._problems.all()
        total = self._counts.total()
        if total > len(self._cases):
            problems.append(f"only the first {len(self._cases)} of {total} tests are kept")
        notes = self._notes.all()
        if self._messages_left_out:
            notes.append(f"the messages of {self._messages_left_out} tests are left out, they are too much text")
        return Report(tuple(self._cases), dict(self._counts), tuple(problems), tuple(notes), self._flaky)

    def _of_source(self, sentence: str) -> str:
        return _name(f"{self.source}: {sentence}" if self.source else sentence)

    def _message(self, given: str | Message | None) -> str | None:
        text, total = given if isinstance(given, Message) else (given, 0)
        message = cut_text(_UNFIT.sub("\ufffd", text).strip(), MESSAGE_BYTES_MAX, total) if text else ""
        if not message:
            return None
        size = len(message.encode())
        if size > self._message_bytes_left:
            self._messages_left_out += 1
            return None
        self._message_bytes_left -= size
        return message


class _Sentences:
    """Distinct sentences: the first ones in full, the others as a count."""

    def __init__(self) -> None:
        self._kept: dict[str, None] = {}
        self._left_out = 0

    def add(self, sentence: str) -> None:
        if sentence in self._kept:
            return
        if len(self._kept) < PROBLEMS_MAX:
            self._kept[sentence] = None
        else:
            self._left_out += 1

    def all(self) -> list[str]:
        return [*self._kept, *([f"{self._left_out} more of this kind"] if self._left_out else [])]


def cut_text(text: str, most_bytes: int, total_bytes: int = 0) -> str:
    """Return the longest prefix that fits, in whole characters, with a note of the full size if the text is cut.

    `total_bytes` is the original size if the text was cut before.
    """
    encoded = text.encode()
    total = max(total_bytes, len(encoded))
    # A text that lost only surrounding whitespace is not cut.
    if len(encoded) <= most_bytes and total <= MESSAGE_BYTES_MAX:
        return text
    note = f" [cut, {total} bytes in all]"
    return encoded[: most_bytes - len(note)].decode("utf-8", "ignore") + note


def _name(text: str) -> str:
    return cut_text(_UNFIT.sub("\ufffd", _BREAKS.sub(" ", text)).strip(), NAME_BYTES_MAX)
