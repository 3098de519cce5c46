# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What both versions of subunit have in common, and the details of a test: the failure first, whatever the order."""

from __future__ import annotations

import codecs

from sourcepulse_buildbot.test_reports.message_parts import DETAIL, OUTPUT, REASON, Message, MessageParts, Part

#: At most this many tests may run at the same time; more are ignored.
OPEN_TESTS_MAX = 10_000
#: The message of an unexpected success, because a test that succeeds has none.
UNEXPECTED = "This test passes, but it was expected to fail."
UNFINISHED = "This test began, but the report does not tell its end."

_REASONS = ("traceback", "reason")
#: Details that hold captured output.
_OUTPUTS = ("pythonlogging", "stdout", "stderr", "syslog", "worker-", "console")


class Details:
    """The files that belong to one test; each may arrive in several pieces."""

    def __init__(self) -> None:
        self._parts = MessageParts()
        self._by_name: dict[str, tuple[Part, codecs.IncrementalDecoder]] = {}

    def add(self, name: str, kind: str, content: bytes) -> None:
        """Add a piece of a file with this name and MIME type, if it is text."""
        if name not in self._by_name:
            self._by_name[name] = (self._parts.begin(_rank(name, kind), name.rstrip(":'")), _decoder(kind))
        part, decoder = self._by_name[name]
        part.write(decoder.decode(content))

    def message(self) -> Message:
        """Return all details, the most important first."""
        return self._parts.message()


def _rank(name: str, kind: str) -> int:
    name = name.lower()
    if "traceback" in kind.lower() or any(name.startswith(word) for word in _REASONS):
        return REASON
    return OUTPUT if any(name.startswith(word) for word in _OUTPUTS) else DETAIL


def _decoder(kind: str) -> codecs.IncrementalDecoder:
    _, _, charset = kind.lower().partition("charset=")
    try:
        found = codecs.lookup(charset.split(";")[0].split(",")[0].strip(" \"'") or "utf-8")
    except (LookupError, ValueError):
        found = codecs.lookup("utf-8")
    is_text = getattr(found, "_is_text_encoding", True) and not found.name.startswith(("idna", "punycode", "undefined"))
    return codecs.getincrementaldecoder(found.name if is_text else "utf-8")("replace")
