# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A test of a TAP stream, and the lines behind it that belong to it: a block of YAML or, if it failed, comments."""

from __future__ import annotations

from sourcepulse_buildbot.test_reports.cases import FAILED, PASSED
from sourcepulse_buildbot.test_reports.message_parts import REASON, Message, MessageParts
from sourcepulse_buildbot.test_reports.numbers import duration_ns, whole_number
from sourcepulse_buildbot.test_reports.tap.names import Named

#: The keys of a YAML block that are understood; the rest is only text.
_YAML_KEYS = frozenset({"duration_ms", "file", "line", "location"})
#: A line of a YAML block is indented by at most this much.
_INDENT_MAX = 30


class Point:
    """A test that more lines may follow."""

    def __init__(self, name: str, outcome: str, indent: int, *, reason: str, duration_ns: int | None) -> None:
        self._name = name
        self._outcome = outcome
        self._indent = indent
        self._reason = reason
        self._duration_ns = duration_ns
        self._yaml_indent: int | None = None
        self._values: dict[str, str] = {}
        self._parts = MessageParts()
        self._part = self._parts.begin(REASON)

    def add_line(self, text: str, indent: int, *, is_comment: bool) -> bool:
        """Add a line if it belongs to the test; return whether it does."""
        if self._yaml_indent is not None:
            if text == "..." and indent <= self._yaml_indent:
                self._yaml_indent = None
            else:
                key, _, value = text.partition(":")
                if key in _YAML_KEYS:
                    self._values.setdefault(key, value.strip().strip("'\""))
                self._part.write(" " * min(indent - self._yaml_indent, _INDENT_MAX) + f"{text}\n")
            return True
        if text == "---" and indent > self._indent:
            self._yaml_indent = indent
            return True
        if self._outcome == FAILED:
            # Diagnostics are in the column of the test, or deeper; some writers put a blank line before them.
            if is_comment and indent >= self._indent:
                self._part.write(text[1:].removeprefix(" ").rstrip() + "\n")
                return True
            return not text
        return is_comment and indent == self._indent

    def named(self, path: str | None) -> Named:
        """Return the test, which is of this file unless its block names another."""
        values = self._values
        file, line = values.get("file"), values.get("line", "")
        if file is None and "location" in values:
            file, line, *_ = *values["location"].rsplit(":", 2), ""
        measured = duration_ns(values.get("duration_ms", ""), "ms") if self._duration_ns is None else self._duration_ns
        message = None if self._outcome == PASSED else self._message()
        return Named(self._name, self._outcome, file or path, whole_number(line), measured, message)

    def _message(self) -> str | Message:
        # The block of a skipped test only states how long that took.
        return self._reason or self._parts.message()
