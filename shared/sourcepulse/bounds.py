# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep an event within its size, and say in it what was cut and which bytes were no UTF-8."""

from __future__ import annotations

import heapq
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sourcepulse import pointer as pointers
from sourcepulse.errors import ConfigError, EventError

EVENT_MAX_BYTES = 256 * 1024
#: No configuration can ask for less: ids, counts and one item of each list always fit in this.
EVENT_LEAST_MAX_BYTES = 16 * 1024
TEXT_MAX_BYTES = 64 * 1024
LIST_MAX_ITEMS = 1_000
LIST_MAX_ITEMS_BY_NAME: Mapping[str, int] = {"changesets": 100, "files": 200}

#: What takes fewer bytes than this is never halved: ids, node hashes, words, times.
SMALL_BYTES = 128
#: Members that are never cut, whatever they take; half of one of them would be wrong instead of short.
NEVER_CUT = frozenset(
    {"change_set", "date", "first", "id", "last", "node", "parents", "query", "repo", "repo_url", "source"}
)
#: The one text of which the end is kept.
TAIL = "tail"

#: What the envelope takes in either format besides type, source and subject: the other attributes, and in
#: a Pulse message exchange and routing key, of at most 255 bytes each.
ENVELOPE_FIXED_BYTES = 1_152
#: Enough for sources and subjects of some 400 bytes each.
ENVELOPE_DEFAULT_BYTES = 2_048

_BAD_BYTE = re.compile("[\udc80-\udcff]")

# json.dumps would make a new encoder for each call.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large an event may be: bytes as sent, and items of a list by the list's name.

    `envelope_bytes` is what the sender keeps for everything around `data`; `envelope_bytes()` computes it.
    """

    max_bytes: int = EVENT_MAX_BYTES
    envelope_bytes: int = ENVELOPE_DEFAULT_BYTES
    lists: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_bytes < EVENT_LEAST_MAX_BYTES:
            raise ConfigError(
                f"an event cannot be limited to {self.max_bytes} bytes; {EVENT_LEAST_MAX_BYTES} is the least"
            )

    def most_items(self, name: str) -> int:
        """Give the number of items that a list of this name may have."""
        return self.lists.get(name, LIST_MAX_ITEMS_BY_NAME.get(name, LIST_MAX_ITEMS))


def envelope_bytes(type_: str, source: str, subject: str | None) -> int:
    """Give an upper limit of what an event of this type and source takes beside its `data`, in either format."""
    return ENVELOPE_FIXED_BYTES + 2 * len(type_) + _size(source) + _size(subject)


def decode_text(raw: bytes) -> tuple[str, bytes | None]:
    """Read bytes as UTF-8 with U+FFFD for each bad byte; with the bytes again if there was one, else None."""
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        # This handler gives one character for each bad byte; "replace" gives one for several.
        return _BAD_BYTE.sub("\ufffd", raw.decode("utf-8", "surrogateescape")), raw


def bound(
    data: Mapping[str, Any],
    *,
    raw: Mapping[str, bytes] | None = None,
    cut: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Give a copy of an event's `data` that fits the limits, with `truncated` and `raw` filled in.

    `raw` maps JSON pointers (RFC 6901) of texts to the bytes they were read from by `decode_text`; bytes
    that are valid UTF-8 are passed over. `cut` maps pointers of what the caller has cut already to its real
    total (items of a list, UTF-8 bytes of a text). What stood in `truncated` and `raw` is replaced.

    The rules are those of the event contract: first each text and list to its own limit; then, while the
    whole is too large, the list or text that takes most bytes is halved. The bytes of a list are those
    that only shortening the list can save: texts and lists within its items count for themselves.
    Strings within lists (file names) are never halved, nor is what NEVER_CUT names or what is small.

    EventError if nothing is left to cut, a pointer leads nowhere, the bytes are not those of the text, or a
    value cannot be written as JSON.
    """
    try:
        work = _Work(data, raw or {}, cut or {}, limits or Limits())
        return work.run()
    except UnicodeEncodeError:
        raise EventError("a text holds half of a surrogate pair, which UTF-8 cannot say") from None
    except RecursionError:
        raise EventError("the data is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise EventError(f"the data cannot be written as JSON: {error}") from None


@dataclass(slots=True, eq=False)
class _Node:
    """A list or text that may be halved."""

    pointer: str
    name: str
    #: The object that holds the text; lists are shortened in place.
    holder: dict[str, Any]
    #: The list whose item this is in, and the place of that item.
    above: _Node | None
    place: int
    #: What halving it works on.
    own: int = 0
    #: Of a list: each item's part of `own`, and what each item takes with all that is in it.
    owns: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    items: list[Any] | None = None

    def dropped(self) -> bool:
        """Tell whether a list above was cut before this."""
        node = self
        while node.above is not None:
            if node.place >= len(node.above.owns):
                return True
            node = node.above
        return False


class _Work:
    """One call of `bound`."""

    def __init__(
        self, data: Mapping[str, Any], raw: Mapping[str, bytes], cut: Mapping[str, int], limits: Limits
    ) -> None:
        self.data = data
        self.raw = raw
        self.cut = cut
        self.limits = limits
        #: Pointer of what was cut -> (kept, total), and of texts with bad bytes -> the bytes kept.
        self.cuts: dict[str, tuple[int, int]] = {}
        self.bytes: dict[str, bytes] = {}
        self.nodes: list[_Node] = []

    def run(self) -> dict[str, Any]:
        out = {
            name: value if name in ("truncated", "raw") else self._copy(value, f"/{pointers.escape(name)}", name)
            for name, value in self.data.items()
        }
        self._check_pointers()
        allowed = self.limits.max_bytes - self.limits.envelope_bytes
        self._write_notes(out)
        excess = _size(out) - allowed
        if excess > 0:
            self._shrink(out, excess, allowed)
        return out

    # First each text and list to its own limit.

    def _copy(self, value: Any, pointer: str, name: str) -> Any:
        if isinstance(value, str):
            return self._copy_text(value, pointer, name)
        if isinstance(value, Mapping):
            return {key: self._copy(item, f"{pointer}/{pointers.escape(key)}", key) for key, item in value.items()}
        if isinstance(value, list | tuple):
            kept = list(value if name in NEVER_CUT else value[: self.limits.most_items(name)])
            self._note_cut(pointer, len(kept), self.cut.get(pointer, len(value)))
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
                raise EventError(f"the bytes given for {pointer} are not those of the text there")
            if bad is not None:
                self.bytes[pointer] = bad
        if name not in NEVER_CUT and len(text) > TEXT_MAX_BYTES // 4 and len(text.encode()) > TEXT_MAX_BYTES:
            return self._cut_text(text, pointer, name, TEXT_MAX_BYTES)
        if pointer in self.cut:
            self._note_cut(pointer, len(text.encode()), self.cut[pointer])
        return text

    def _cut_text(self, text: str, pointer: str, name: str, limit: int) -> str:
        encoded = text.encode()
        # The text is valid, so "ignore" drops nothing but the part of a character at the cut.
        part = encoded[-limit:] if name == TAIL else encoded[:limit]
        kept = part.decode("utf-8", "ignore")
        total = self.cuts[pointer][1] if pointer in self.cuts else self.cut.get(pointer, len(encoded))
        self._note_cut(pointer, len(kept.encode()), total)
        if pointer in self.bytes:
            characters = self.bytes.pop(pointer).decode("utf-8", "surrogateescape")
            characters = characters[len(characters) - len(kept) :] if name == TAIL else characters[: len(kept)]
            if _BAD_BYTE.search(characters):
                self.bytes[pointer] = characters.encode("utf-8", "surrogateescape")
        return kept

    def _note_cut(self, pointer: str, kept: int, total: int) -> None:
        if total < kept:
            raise EventError(f"{pointer} is said to have {total} in all, but {kept} are there")
        if total > kept:
            self.cuts[pointer] = (kept, total)

    def _check_pointers(self) -> None:
        parents: dict[str, Any] = {"": self.data}
        for pointer in [*self.raw, *self.cut]:
            parent, _, word = pointer.rpartition("/")
            if parent not in parents:
                parents[parent] = pointers.resolve(self.data, parent)
            pointers.step(parents[parent], word, pointer)

    # Then, while the whole is too large, halve what takes most bytes.

    def _shrink(self, out: dict[str, Any], excess: int, allowed: int) -> None:
        if "truncated" not in out:
            raise EventError(f"the event is {excess} bytes too large and nothing of it may be cut")
        for name, value in out.items():
            if name not in ("truncated", "raw"):
                self._measure(value, f"/{pointers.escape(name)}", name, out, None, place=0)
        # Equal ones are taken in the order of the document, so that the result is always the same.
        heap = [(-node.own, order) for order, node in enumerate(self.nodes) if self._may_be_halved(node)]
        heapq.heapify(heap)
        while excess > 0:
            if not heap:
                raise EventError(f"the event is {excess} bytes too large and nothing is left to cut")
            _, order = heapq.heappop(heap)
            node = self.nodes[order]
            if node.dropped():
                continue
            excess -= self._halve(node)
            if self._may_be_halved(node):
                heapq.heappush(heap, (-node.own, order))
            if excess <= 0:
                # The sum above leaves a comma out here and there; this is the real size.
                self._write_notes(out)
                excess = _size(out) - allowed

    @staticmethod
    def _may_be_halved(node: _Node) -> bool:
        return node.own >= SMALL_BYTES and node.name not in NEVER_CUT

    def _measure(
        self, value: Any, pointer: str, name: str, holder: dict[str, Any] | None, above: _Node | None, *, place: int
    ) -> tuple[int, int]:
        """Give what the value adds to the bytes of the list it is in, and what it takes in all."""
        if isinstance(value, str):
            size = _size(value) + self._notes_size(pointer)
            if holder is None or size < SMALL_BYTES or name in NEVER_CUT:
                return size, size
            self.nodes.append(_Node(pointer, name, holder, above, place, own=self._text_size(value, pointer)))
            return 0, size
        if isinstance(value, dict):
            own = total = 2
            for key, item in value.items():
                parts = self._measure(item, f"{pointer}/{pointers.escape(key)}", key, value, above, place=place)
                around = _size(key) + 2
                own += parts[0] + around
                total += parts[1] + around
            return own, total
        if isinstance(value, list):
            node = _Node(pointer, name, {}, above, place, items=value)
            self.nodes.append(node)
            for index, item in enumerate(value):
                own, total = self._measure(item, f"{pointer}/{index}", "", None, node, place=index)
                node.owns.append(own + 1)
                node.totals.append(total + 1)
            node.own = sum(node.owns)
            return 2, sum(node.totals) + 2 + self._notes_size(pointer)
        size = _size(value)
        return size, size

    def _halve(self, node: _Node) -> int:
        """Halve a list or text and give the bytes that this saves."""
        before = self._notes_size(node.pointer)
        if node.items is None:
            text = node.holder[node.name]
            before += _size(text)
            kept = self._cut_text(text, node.pointer, node.name, len(text.encode()) // 2)
            node.holder[node.name] = kept
            node.own = self._text_size(kept, node.pointer)
            saved = before - _size(kept) - self._notes_size(node.pointer)
        else:
            keep = len(node.items) // 2
            total = self.cuts[node.pointer][1] if node.pointer in self.cuts else len(node.items)
            saved = sum(node.totals[keep:])
            del node.items[keep:], node.owns[keep:], node.totals[keep:]
            self._note_cut(node.pointer, keep, total)
            node.own = sum(node.owns)
            saved += before - self._notes_size(node.pointer)
        inner = node
        while inner.above is not None:
            inner.above.totals[inner.place] -= saved
            inner = inner.above
        return saved

    # What was cut and which bytes were bad.

    def _text_size(self, text: str, pointer: str) -> int:
        return _size(text) + (len(self.bytes.get(pointer, b"")) + 2) // 3 * 4

    def _notes_size(self, pointer: str) -> int:
        size = 0
        if pointer in self.cuts:
            size += _size(_cut_note(pointer, *self.cuts[pointer])) + 1
        if pointer in self.bytes:
            # {"field":...,"base64":"..."} and a comma, without making the text.
            size += _size(pointer) + (len(self.bytes[pointer]) + 2) // 3 * 4 + len('{"field":,"base64":""},')
        return size

    def _write_notes(self, out: dict[str, Any]) -> None:
        cuts = [_cut_note(pointer, *self.cuts[pointer]) for pointer in self._alive(self.cuts)]
        raws = [_raw_note(pointer, self.bytes[pointer]) for pointer in self._alive(self.bytes)]
        for name, notes in (("truncated", cuts), ("raw", raws)):
            if name in out:
                out[name] = notes
            elif notes:
                raise EventError(f"the data needs the member {name!r} and has none")

    def _alive(self, notes: Mapping[str, object]) -> Iterator[str]:
        """Give the pointers that no cut list above has taken away, in order, items by number."""
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


def _size(value: object) -> int:
    return len(_to_json(value).encode())


def _are_short_texts(values: Sequence[Any]) -> bool:
    # Lists of file names are the bulk of an event; one join looks at all of them.
    try:
        return len("".join(values)) <= TEXT_MAX_BYTES // 4
    except TypeError:
        return False
