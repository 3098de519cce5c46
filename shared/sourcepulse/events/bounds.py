# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep an event within its size limits, and record in it what was cut and which bytes were not UTF-8."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from sourcepulse.errors import ConfigError, EventError
from sourcepulse.events import pointer as pointers
from sourcepulse.events.event import EVENT_LEAST_MAX_BYTES, EVENT_MAX_BYTES
from sourcepulse.events.truncation import NEVER_CUT, NOTES, Truncation, decode_text, size_of

TEXT_MAX_BYTES = 64 * 1024
LIST_MAX_ITEMS = 1_000
LIST_MAX_ITEMS_BY_NAME: Mapping[str, int] = {"changesets": 100, "files": 200}

#: Bytes of the envelope, in either format, besides type, source and subject: the other attributes, and in a Pulse
#: message exchange and routing key, of at most 255 bytes each.
ENVELOPE_FIXED_BYTES = 1_152
#: Enough for a source and a subject of about 400 bytes each.
ENVELOPE_DEFAULT_BYTES = 2_048

_CONTAINERS = (dict, list, tuple, Mapping)

__all__ = ["Limits", "bound", "decode_text", "envelope_bytes"]


class Limits(NamedTuple):
    """Size limits of an event: bytes as sent, and items of a list by the list's name.

    `envelope_bytes` is reserved for everything around `data`; the function `envelope_bytes` computes it.
    """

    max_bytes: int = EVENT_MAX_BYTES
    envelope_bytes: int = ENVELOPE_DEFAULT_BYTES
    lists: Mapping[str, int] = MappingProxyType({})

    def most_items(self, name: str) -> int:
        """Return the most items that a list of this name may have."""
        return self.lists.get(name, LIST_MAX_ITEMS_BY_NAME.get(name, LIST_MAX_ITEMS))


def envelope_bytes(type_: str, source: str, subject: str | None) -> int:
    """Return an upper bound on the bytes of such an event besides its `data`, in either format."""
    return ENVELOPE_FIXED_BYTES + 2 * len(type_) + size_of(source) + size_of(subject)


def bound(
    data: Mapping[str, Any],
    *,
    raw: Mapping[str, bytes] | None = None,
    cut: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Return a copy of an event's `data` that fits the limits, with `truncated` and `raw` filled in.

    The copy shares unchanged parts with the original.

    `raw` maps JSON pointers (RFC 6901) of texts to the bytes they were read from by `decode_text`; bytes
    that are valid UTF-8 are ignored. `cut` maps pointers of lists and texts that the caller already cut to their real
    totals (items of a list, UTF-8 bytes of a text). Existing `truncated` and `raw` are replaced.

    The rules are those of the event contract: first each text and list to its own limit; then, while the
    whole is too large, the list or text with the most bytes is halved (see `shrink`). Strings in lists
    (file names), members in NEVER_CUT and small values are never halved.

    EventError if nothing is left to cut, a pointer leads nowhere, the bytes do not match the text, or a value cannot be
    written as JSON.
    """
    if limits is not None and limits.max_bytes < EVENT_LEAST_MAX_BYTES:
        raise ConfigError(
            f"an event cannot be limited to {limits.max_bytes} bytes; the minimum is {EVENT_LEAST_MAX_BYTES}"
        )
    try:
        work = _Work(data, raw or {}, cut or {}, limits or Limits())
        return work.run()
    except UnicodeEncodeError:
        raise EventError("a text contains half of a surrogate pair, which UTF-8 cannot encode") from None
    except RecursionError:
        raise EventError("the data is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise EventError(f"the data cannot be written as JSON: {error}") from None


class _Work:
    """One call of `bound`."""

    def __init__(
        self, data: Mapping[str, Any], raw: Mapping[str, bytes], cut: Mapping[str, int], limits: Limits
    ) -> None:
        self.data = data
        self.raw = raw
        self.cut = cut
        self.limits = limits
        self.truncation = Truncation()

    def run(self) -> dict[str, Any]:
        allowed = self.limits.max_bytes - self.limits.envelope_bytes
        if self._fits_as_it_is(min(allowed, TEXT_MAX_BYTES)):
            out = dict(self.data)
            self.truncation.write(out)
            return out
        out = {
            name: value if name in NOTES else self._copy(value, f"/{pointers.escape(name)}", name)
            for name, value in self.data.items()
        }
        self._check_pointers()
        self.truncation.write(out)
        if size_of(out) > allowed:
            # Imported here because hardly any push needs it, and the hook runs in every hg process.
            from sourcepulse.events.shrink import shrink

            shrink(out, self.truncation, allowed_bytes=allowed)
        return out

    def _fits_as_it_is(self, most_bytes: int) -> bool:
        # If the whole data is no larger than one text may be, only lists can be too long.
        if self.raw or self.cut or size_of(self.data) > most_bytes:
            return False
        return not any(self._holds_long_list(value, name) for name, value in self.data.items() if name not in NOTES)

    def _holds_long_list(self, value: Any, name: str) -> bool:
        if isinstance(value, Mapping):
            # A name that is not a string takes the slow path, which raises the right error.
            return any(
                not isinstance(key, str) or (isinstance(item, _CONTAINERS) and self._holds_long_list(item, key))
                for key, item in value.items()
            )
        if isinstance(value, list | tuple):
            if name not in NEVER_CUT and len(value) > self.limits.most_items(name):
                return True
            return any(isinstance(item, _CONTAINERS) and self._holds_long_list(item, "") for item in value)
        return False

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
