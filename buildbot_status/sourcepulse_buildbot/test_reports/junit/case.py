# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the content of one `testcase` of JUnit XML, as its writer means it."""

from __future__ import annotations

from collections.abc import Mapping

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED
from sourcepulse_buildbot.test_reports.message_parts import DETAIL, OUTPUT, REASON, Message, MessageParts, Part

_OUTCOMES = {"failure": FAILED, "error": ERROR, "skipped": SKIPPED}
#: Attempts as Maven's Surefire writes them: those before the one that passed, and those after the first that failed.
_ATTEMPTS = {"flakyFailure": PASSED, "flakyError": PASSED, "rerunFailure": FAILED, "rerunError": ERROR}
_LINES_OF_ATTEMPTS = frozenset({"stackTrace", "system-out", "system-err"})
_OUTPUTS = {"system-out": "system-out", "system-err": "system-err"}
#: Other elements that writers put into a case and that change nothing.
_KNOWN = frozenset({"properties", "property", "system-out", "system-err", "warning", "attachments", "attachment"})
#: A test that its writer expected to fail; node and others also write the failure.
_TODO = "todo"

#: GoogleTest and ctest mark tests that they did not run with these attributes, without an element.
_NOT_RUN = {"status": frozenset({"notrun", "skipped", "disabled"}), "result": frozenset({"suppressed", "skipped"})}
#: Some writers report a failure only in an attribute.
_FAILED_WORDS = {
    "fail": FAILED,
    "failed": FAILED,
    "failure": FAILED,
    "error": ERROR,
    "errored": ERROR,
    "broken": ERROR,
    "crashed": ERROR,
    "timeout": ERROR,
    "timedout": ERROR,
    "aborted": ERROR,
}
#: NUnit's values of `success` for a test that did not pass.
_NO = frozenset({"false", "no", "0"})
#: The prefix of ctest's reasons for a test that skipped itself; its other reasons are of tests that it could not run.
_CTEST_SKIPS = "SKIP_"


class Case:
    """A test case while it is read; depths count from the case, so its children have depth 1."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.attributes = attributes
        self.outcome = PASSED
        #: How often it ran.
        self.attempts = 1
        self.failing_elements = 0
        #: Whether other cases are nested in it.
        self.has_cases = False
        self._parts = MessageParts()
        self._part: Part | None = None
        self._part_depth = 0
        self._type = ""
        self._is_todo = False
        self._skip_reason = ""

    def start(self, name: str, attributes: Mapping[str, str], depth: int) -> bool:
        """Read the beginning of an element; return whether it is an unknown one in a place that is read."""
        if self._part is not None and self._part.rank == REASON:
            # Nested elements, such as a stack trace, belong to the text of the failure.
            if name in _LINES_OF_ATTEMPTS:
                self._part.write("\n")
            return False
        if name in _OUTCOMES:
            self._begin_outcome(name, attributes, depth)
        elif name in _ATTEMPTS:
            self.attempts += 1
            if _ATTEMPTS[name] != PASSED and self.outcome in (PASSED, SKIPPED):
                self.outcome = _ATTEMPTS[name]
            self._begin_reason(attributes, depth)
        elif name in _OUTPUTS and self._part is None:
            self._part, self._part_depth = self._parts.begin(OUTPUT, _OUTPUTS[name]), depth
        return depth == 1 and name not in (*_OUTCOMES, *_ATTEMPTS) and name not in _KNOWN

    def _begin_outcome(self, name: str, attributes: Mapping[str, str], depth: int) -> None:
        if name == "skipped":
            self._is_todo = self._is_todo or attributes.get("type", "").lower() == _TODO
            self._skip_reason = self._skip_reason or attributes.get("message", "").strip()
        else:
            self.failing_elements += 1
        # The first outcome counts, but a test that was skipped after it failed has failed.
        if self.outcome in (PASSED, SKIPPED):
            self.outcome = _OUTCOMES[name]
        self._begin_reason(attributes, depth)

    def _begin_reason(self, attributes: Mapping[str, str], depth: int) -> None:
        self._type = self._type or attributes.get("type", "").strip()
        self._part, self._part_depth = _Reason(attributes.get("message", "")), depth
        self._parts.add(self._part)

    @property
    def is_in_text(self) -> bool:
        """Return whether the text of a failure or an output is being read."""
        return self._part is not None

    @property
    def is_holder(self) -> bool:
        """Return whether it only holds other cases and has no outcome of its own."""
        return self.has_cases and self.outcome == PASSED and self.attempts == 1

    def characters(self, text: str) -> None:
        if self._part is not None:
            self._part.write(text)

    def end(self, depth: int) -> None:
        """Read the end of the element of this depth."""
        if self._part is not None and depth == self._part_depth:
            self._part = None

    def end_case(self) -> None:
        """Determine the outcome of the test."""
        if self._is_todo:
            self.outcome = SKIPPED
            return
        status, result = (self.attributes.get(name, "").strip().lower() for name in ("status", "result"))
        if self.outcome == PASSED:
            if any(self.attributes.get(name, "").strip().lower() in words for name, words in _NOT_RUN.items()):
                self.outcome = SKIPPED
            else:
                self.outcome = _FAILED_WORDS.get(status) or _FAILED_WORDS.get(result) or PASSED
                if self.outcome == PASSED and self.attributes.get("success", "").strip().lower() in _NO:
                    self.outcome = FAILED
        elif self.outcome == SKIPPED and status == "notrun" and not result and self._is_kept_from_running():
            self.outcome = ERROR

    def _is_kept_from_running(self) -> bool:
        """Return whether ctest could not run the test: no executable, no file, a fixture that failed."""
        return bool(self._skip_reason) and not self._skip_reason.startswith(_CTEST_SKIPS)

    def is_same(self, other: Case) -> bool:
        """Return whether both cases are attempts of the same test."""
        names = ("classname", "name", "file", "line")
        return all(self.attributes.get(name) == other.attributes.get(name) for name in names)

    def message(self) -> Message | None:
        """Return why the test failed or was skipped; None for one that passed at once."""
        if self.outcome == PASSED and self.attempts == 1:
            return None
        could_not_run = self.outcome == ERROR and not self.failing_elements
        needs_output = self.outcome in (FAILED, ERROR) and (could_not_run or not self._parts.has(REASON))
        message = self._parts.message(least_rank=OUTPUT if needs_output else DETAIL)
        return message if message.text else Message(self._type, 0)


class _Reason(Part):
    """The text of a failure, preceded by its short message unless the text contains it."""

    def __init__(self, short: str) -> None:
        super().__init__(REASON)
        self._short = short.strip()
        self.total_bytes = len(self._short.encode("utf-8", "surrogatepass"))

    def text(self) -> str:
        """Return what is kept."""
        text = super().text()
        first_line = self._short.partition("\n")[0].strip()
        return text if first_line in text else f"{self._short}\n{text}".strip()
