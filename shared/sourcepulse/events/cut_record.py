# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What was cut from an event's data and which of its bytes were not UTF-8, kept up to date through every cut."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from sourcepulse.errors import EventError
from sourcepulse.events import json_pointer as pointers
from sourcepulse.events.limits import BAD_BYTE, NOTES, size_of

#: The only text whose end is kept.
TAIL = "tail"


class Truncation:
    """The entries of `truncated` and `raw` of one event, by JSON pointer."""

    def __init__(self) -> None:
        #: Pointer of what was cut -> (kept, total); pointer of a text with bad bytes -> the kept bytes.
        self.cuts: dict[str, tuple[int, int]] = {}
        self.bytes: dict[str, bytes] = {}

    def note_cut(self, pointer: str, kept: int, total: int) -> None:
        """Record a cut; it replaces an earlier one at the same place, but keeps that one's total."""
        if pointer in self.cuts:
            total = self.cuts[pointer][1]
        if total < kept:
            raise EventError(f"{pointer} has {kept}, more than its stated total of {total}")
        if total > kept:
            self.cuts[pointer] = (kept, total)

    def cut_text(self, text: str, pointer: str, name: str, *, most_bytes: int, total: int | None = None) -> str:
        """Return the first whole characters of a text (the last ones of a `tail`) and record the cut.

        `total` is the number of bytes at the source, if the text was already cut.
        """
        encoded = text.encode()
        # The text is valid, so "ignore" drops only a partial character at the cut.
        part = encoded[len(encoded) - most_bytes :] if name == TAIL else encoded[:most_bytes]
        kept = part.decode("utf-8", "ignore")
        self.note_cut(pointer, len(kept.encode()), len(encoded) if total is None else total)
        if pointer in self.bytes:
            # With this handler each bad byte is one character, as it is in the text.
            characters = self.bytes.pop(pointer).decode("utf-8", "surrogateescape")
            characters = characters[len(characters) - len(kept) :] if name == TAIL else characters[: len(kept)]
            if re.search(BAD_BYTE, characters):
                self.bytes[pointer] = characters.encode("utf-8", "surrogateescape")
        return kept

    def raw_size(self, pointer: str) -> int:
        """Return the bytes of a place's base64 as sent, 0 without one."""
        return (len(self.bytes.get(pointer, b"")) + 2) // 3 * 4

    def size(self, pointer: str) -> int:
        """Return the bytes of a place's entries as sent, commas included."""
        size = 0
        if pointer in self.cuts:
            size += size_of(_cut_note(pointer, *self.cuts[pointer])) + 1
        if pointer in self.bytes:
            size += size_of(_raw_note(pointer, b"")) + self.raw_size(pointer) + 1
        return size

    def write(self, out: dict[str, Any]) -> None:
        """Write the entries into their members of `data`; EventError if a needed member is missing."""
        cuts = [_cut_note(pointer, *self.cuts[pointer]) for pointer in self._alive(self.cuts)]
        raws = [_raw_note(pointer, self.bytes[pointer]) for pointer in self._alive(self.bytes)]
        for name, notes in zip(NOTES, (cuts, raws), strict=True):
            if name in out:
                out[name] = notes
            elif notes:
                raise EventError(
                    f"{notes[0]['field']} is not complete, but the data has no member {name!r} to record that"
                )

    def _alive(self, notes: Mapping[str, object]) -> Iterator[str]:
        """Yield the pointers that were not cut away with an enclosing list, in order, items by number."""
        for pointer in sorted(notes, key=pointers.order):
            words = pointer.split("/")
            for depth in range(2, len(words)):
                note = self.cuts.get("/".join(words[:depth]))
                if note is not None and int(words[depth]) >= note[0]:
                    break
            else:
                yield pointer


def _cut_note(pointer: str, kept: int, total: int) -> dict[str, Any]:
    return {"field": pointer, "kept": kept, "total": total}


def _raw_note(pointer: str, raw: bytes) -> dict[str, Any]:
    return {"field": pointer, "base64": b64encode(raw).decode("ascii")}
