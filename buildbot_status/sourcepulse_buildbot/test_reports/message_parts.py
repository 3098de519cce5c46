# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Put together what a report says of one test: the most important first, bounded, with the true size told."""

from __future__ import annotations

from typing import NamedTuple

MESSAGE_BYTES_MAX = 16 * 1024

#: How important a part is: why a test failed, what else its writer attached, what it printed.
REASON, DETAIL, OUTPUT = 0, 1, 2
#: What is left to a less important part must be worth its place.
_LEAST_CHARACTERS = 80


class Message(NamedTuple):
    """A text and how many bytes it had before anything was left out."""

    text: str
    total_bytes: int


class Part:
    """A text that grows; of what is too long its beginning is kept, or its end if that says more."""

    def __init__(self, rank: int, label: str = "") -> None:
        self.rank = rank
        self.label = label
        self.total_bytes = 0
        self._keeps_end = rank == OUTPUT
        self._pieces: list[str] = []
        self._kept = 0

    def write(self, text: str) -> None:
        """Add a piece."""
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
        """Return no more than this, of the side that says more."""
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
        """Add a part of one's own."""
        self._parts.append(part)

    def message(self, *, least_rank: int = OUTPUT) -> Message:
        """Return the parts up to this rank, the most important first; a label stands before all but the first."""
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
        """Return whether a part of this rank says something."""
        return any(part.rank == rank and part.text() for part in self._parts)
