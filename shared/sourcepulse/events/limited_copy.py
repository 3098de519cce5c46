# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Copy the data of an event with each text and list cut to its own limit, and the whole to the limit of an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sourcepulse.errors import EventError
from sourcepulse.events import pointer as pointers
from sourcepulse.events.bounds import NEVER_CUT, NOTES, TEXT_MAX_BYTES, Limits, decode_text, size_of
from sourcepulse.events.shrink import shrink
from sourcepulse.events.truncation import Truncation


def limited_copy(
    data: Mapping[str, Any], raw: Mapping[str, bytes], cut: Mapping[str, int], limits: Limits
) -> dict[str, Any]:
    """Do what `bounds.bound` describes; also raises what writing a value as JSON raises."""
    return _Copy(data, raw, cut, limits).run()


class _Copy:
    def __init__(
        self, data: Mapping[str, Any], raw: Mapping[str, bytes], cut: Mapping[str, int], limits: Limits
    ) -> None:
        self.data = data
        self.raw = raw
        self.cut = cut
        self.limits = limits
        self.truncation = Truncation()

    def run(self) -> dict[str, Any]:
        out = {
            name: value if name in NOTES else self._copy(value, f"/{pointers.escape(name)}", name)
            for name, value in self.data.items()
        }
        self._check_pointers()
        self.truncation.write(out)
        allowed = self.limits.max_bytes - self.limits.envelope_bytes
        if size_of(out) > allowed:
            shrink(out, self.truncation, allowed_bytes=allowed)
        return out

    def _copy(self, value: Any, pointer: str, name: str) -> Any:
        if isinstance(value, str):
            return self._copy_text(value, pointer, name)
        if isinstance(value, Mapping):
            return {key: self._copy(item, f"{pointer}/{pointers.escape(key)}", key) for key, item in value.items()}
        if isinstance(value, list | tuple):
            kept = list(value if name in NEVER_CUT else value[: self.limits.most_items(name)])
            self.truncation.note_cut(pointer, len(kept), self.cut.get(pointer, len(value)))
            if not self._concerns_items_of(pointer) and _are_short_texts(kept):
                return kept
            return [self._copy(item, f"{pointer}/{place}", "") for place, item in enumerate(kept)]
        return value

    def _concerns_items_of(self, pointer: str) -> bool:
        return bool(self.raw) or any(name.startswith(f"{pointer}/") for name in self.cut)

    def _copy_text(self, text: str, pointer: str, name: str) -> str:
        raw = self.raw.get(pointer)
        if raw is not None:
            expected, bad = decode_text(raw)
            if expected != text:
                raise EventError(f"the bytes for {pointer} do not match the text there")
            if bad is not None:
                self.truncation.bytes[pointer] = bad
        if name not in NEVER_CUT and len(text) > TEXT_MAX_BYTES // 4 and len(text.encode()) > TEXT_MAX_BYTES:
            return self.truncation.cut_text(text, pointer, name, most_bytes=TEXT_MAX_BYTES, total=self.cut.get(pointer))
        if pointer in self.cut:
            self.truncation.note_cut(pointer, len(text.encode()), self.cut[pointer])
        return text

    def _check_pointers(self) -> None:
        parents: dict[str, Any] = {"": self.data}
        for pointer in [*self.raw, *self.cut]:
            parent, _, word = pointer.rpartition("/")
            if parent not in parents:
                parents[parent] = pointers.resolve(self.data, parent)
            pointers.step(parents[parent], word, pointer)


def _are_short_texts(values: Sequence[Any]) -> bool:
    # Lists of file names are the bulk of an event; one join looks at all of them.
    try:
        return len("".join(values)) <= TEXT_MAX_BYTES // 4
    except TypeError:
        return False
