# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Combine the parts of a test's message: the most important first, bounded, with the original size noted."""

from __future__ import annotations

from typing import NamedTuple

MESSAGE_BYTES_MAX = 16 * 1024

#: The ranks of parts: why a test failed, what else its writer attached, what it printed.
REASON, DETAIL, OUTPUT = 0, 1, 2
#: A less important part is left out if less room than this remains.
_LEAST_CHARACTERS = 80


class Message(NamedTuple):
    """A text and its size in bytes before anything was left out."""

    text: str
    total_bytes: int


class Part:
    """A text that grows; if it is too long, its beginning is kept, or its end if that is more informative."""

    def __init__(self, rank: int, label: str = "") -> None:
        self.rank = rank
        self.label = label
        self.total_bytes = 0
        self._keeps_end = rank == OUTPUT
        self._pieces: list[str] = []
        self._kept = 0

    def write(self, text: str) -> None:
        self.total_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if self._keeps_end:
            self._pieces.append(text[-MESSAGE_BYTES_MAX:])
            self._kept += len(self._pieces[-1])
            if self._kept > 2 * MESSAGE_BYTES_MAX:
                self._pieces = ["".join(self._pieces)[-MESSAGE_BYTES_MAX:]]
                self._kept = MESSAGE_BYTES_MAX
        elif self._kept < MESSAGE_BYTES_MAX:
            self._pieces.append(text[: MESSAGE_BYTES_MAX - self._kept])
            self._kept += len(self._pieces[-1])

    def text(self) -> str:
        """Return what is kept."""
        return "".join(self._pieces).strip()

    def end(self, most_characters: int) -> str:
        """Return at most this many characters, from the more informative side."""
        text = self.text()
        return text[-most_characters:] if self._keeps_end else text[:most_characters]


class MessageParts:
    """The parts of a message, in the order in which they were written."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def begin(self, rank: int, label: str = "") -> Part:
        """Return a new part to write to."""
        part = Part(rank, label)
        self.add(part)
        return part

    def add(self, part: Part) -> None:
        self._parts.append(part)

    def message(self, *, least_rank: int = OUTPUT) -> Message:
        """Return the parts up to this rank, the most important first; each but the first is preceded by its label."""
        texts: list[str] = []
        total, room = 0, MESSAGE_BYTES_MAX
        seen: set[str] = set()
        for part in sorted(self._parts, key=lambda each: each.rank):
            text = part.text()
            if part.rank > least_rank or not text or text in seen:
                continue
            seen.add(text)
            total += part.total_bytes
            if room >= _LEAST_CHARACTERS or not texts:
                text = f"{part.label}:\n{part.end(room)}" if part.label and texts else part.end(room)
                texts.append(text)
                room -= len(text) + 1
        text = "\n".join(texts)
        return Message(text, max(total, len(text.encode("utf-8", "surrogatepass"))))

    def has(self, rank: int) -> bool:
        """Return whether a part of this rank has text."""
        return any(part.rank == rank and part.text() for part in self._parts)
