# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Cut the data of an event: each text and list to its own limit, then the largest ones in halves until it fits."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sourcepulse.errors import EventError
from sourcepulse.events import json_pointer as pointers
from sourcepulse.events.cut_record import Truncation
from sourcepulse.events.limits import NEVER_CUT, NOTES, TEXT_MAX_BYTES, Limits, decode_text, size_of

#: Anything with fewer bytes than this is never halved: ids, node hashes, words, times.
SMALL_BYTES = 128
#: The running sum counts a comma too many for the first entry of `truncated`, the last of `raw`, and empty lists and
#: objects; this close to the limit the real size is measured.
MEASURE_SLACK_BYTES = 2


def limited_copy(
    data: Mapping[str, Any], raw: Mapping[str, bytes], cut: Mapping[str, int], limits: Limits
) -> dict[str, Any]:
    """Do what `limits.bound` describes; also raises what writing a value as JSON raises."""
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
            _shrink(out, self.truncation, allowed_bytes=allowed)
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


def _shrink(out: dict[str, Any], truncation: Truncation, *, allowed_bytes: int) -> None:
    """Halve lists and texts of `out` in place until it has at most `allowed_bytes`, entries of `truncated` included.

    The bytes of a list are those that only shortening the list can save: texts and lists in its items are counted
    separately. Among equals the first in the document is halved, so the result is always the same.
    EventError if nothing is left to cut.
    """
    nodes = _Measure(truncation).nodes_of(out)
    heap = [(-node.own, order) for order, node in enumerate(nodes) if node.may_be_halved()]
    heapq.heapify(heap)
    excess = size_of(out) - allowed_bytes
    while excess > 0:
        if not heap:
            raise EventError(f"the event is {excess} bytes too large and nothing is left to cut")
        _, order = heapq.heappop(heap)
        node = nodes[order]
        if node.dropped():
            continue
        excess -= node.halve(truncation)
        if node.may_be_halved():
            heapq.heappush(heap, (-node.own, order))
        if excess <= MEASURE_SLACK_BYTES:
            truncation.write(out)
            excess = size_of(out) - allowed_bytes


@dataclass(slots=True, eq=False)
class _Node:
    """A list or text that may be halved."""

    pointer: str
    name: str
    #: The object that holds the text; lists are shortened in place.
    holder: dict[str, Any]
    #: The list that contains this, and the index of the item in it.
    above: _Node | None
    place: int
    #: The bytes that halving can reduce.
    own: int = 0
    #: Of a list: each item's part of `own`, and each item's total bytes.
    owns: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    items: list[Any] | None = None

    def dropped(self) -> bool:
        """Return whether a list above was cut before this."""
        node = self
        while node.above is not None:
            if node.place >= len(node.above.owns):
                return True
            node = node.above
        return False

    def may_be_halved(self) -> bool:
        """Return whether there is something to save here."""
        return self.own >= SMALL_BYTES and self.name not in NEVER_CUT

    def halve(self, truncation: Truncation) -> int:
        """Halve the list or text and return the bytes saved (negative if the entry takes more)."""
        saved = truncation.size(self.pointer)
        if self.items is None:
            text = self.holder[self.name]
            kept = truncation.cut_text(text, self.pointer, self.name, most_bytes=len(text.encode()) // 2)
            self.holder[self.name] = kept
            saved += size_of(text) - size_of(kept)
            self.own = size_of(kept) + truncation.raw_size(self.pointer)
        else:
            keep = len(self.items) // 2
            truncation.note_cut(self.pointer, keep, len(self.items))
            saved += sum(self.totals[keep:])
            del self.items[keep:], self.owns[keep:], self.totals[keep:]
            self.own = sum(self.owns)
        saved -= truncation.size(self.pointer)
        inner = self
        while inner.above is not None:
            inner.above.totals[inner.place] -= saved
            inner = inner.above
        return saved


class _Measure:
    """Finds the lists and texts that may be halved, in document order."""

    def __init__(self, truncation: Truncation) -> None:
        self._truncation = truncation
        self._nodes: list[_Node] = []

    def nodes_of(self, out: dict[str, Any]) -> list[_Node]:
        for name, value in out.items():
            if name not in NOTES:
                self._measure(value, f"/{pointers.escape(name)}", name, out, None, place=0)
        return self._nodes

    def _measure(
        self, value: Any, pointer: str, name: str, holder: dict[str, Any] | None, above: _Node | None, *, place: int
    ) -> tuple[int, int]:
        """Return the bytes that the value adds to the list around it, and its total bytes."""
        if isinstance(value, str):
            size = size_of(value) + self._truncation.size(pointer)
            if holder is None or size < SMALL_BYTES or name in NEVER_CUT:
                return size, size
            self._nodes.append(
                _Node(pointer, name, holder, above, place, own=size_of(value) + self._truncation.raw_size(pointer))
            )
            return 0, size
        if isinstance(value, dict):
            own = total = 2
            for key, item in value.items():
                parts = self._measure(item, f"{pointer}/{pointers.escape(key)}", key, value, above, place=place)
                around = size_of(key) + 2
                own += parts[0] + around
                total += parts[1] + around
            return own, total
        if isinstance(value, list):
            node = _Node(pointer, name, {}, above, place, items=value)
            self._nodes.append(node)
            for index, item in enumerate(value):
                own, total = self._measure(item, f"{pointer}/{index}", "", None, node, place=index)
                node.owns.append(own + 1)
                node.totals.append(total + 1)
            node.own = sum(node.owns)
            return 2, sum(node.totals) + 2 + self._truncation.size(pointer)
        size = size_of(value)
        return size, size
