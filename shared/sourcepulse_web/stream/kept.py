# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The rows that the hub read last, each encoded once for all clients, and pages of older ones."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence

from sourcepulse_web.stream.frames import Framing, event_frame
from sourcepulse_web.stream.ids import Place
from sourcepulse_web.stream.ports import Log, Row, View

#: What is read at a time, for a few milliseconds of the reactor.
PAGE_ROWS = 500
PAGE_BYTES = 1 << 20
#: How many bytes of bodies are kept, so that clients who come back after a short time cost no reading.
RECENT_BYTES = 4 << 20
#: How many pages of older rows are kept while clients catch up side by side: ten that begin a long log within a tenth
#: of a second read it once and not ten times.
PAGES_MAX = 32
#: What a row costs beside its body.
ROW_BYTES = 600


class Entry:
    """A row, and its frames by framing and view."""

    __slots__ = ("_frames", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self._frames: dict[tuple[str, Framing], bytes] = {}

    def frame(self, token: str, framing: Framing, view: tuple[str, View] | None) -> bytes:
        """Return the frame of the event itself, or that of a view: empty if the view leaves the row out."""
        key = ("" if view is None else view[0], framing)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = self._encode(str(Place(token, self.row.position)), framing, view)
        return frame

    def _encode(self, place: str, framing: Framing, view: tuple[str, View] | None) -> bytes:
        if view is None:
            return event_frame(framing, place, self.row)
        name, look = view
        data = look(self.row)
        return b"" if data is None else framing.named(name.removesuffix("s"), place, data)


class Page:
    """Entries in order, and the position up to which they are all that there is."""

    __slots__ = ("entries", "reach")

    def __init__(self, entries: Sequence[Entry], reach: int) -> None:
        self.entries = entries
        self.reach = reach

    def part(self, after: int, until: int) -> Page:
        """Return what lies in (after, until]."""
        begin = bisect_right(self.entries, after, key=_position)
        end = bisect_right(self.entries, until, key=_position)
        return Page(self.entries[begin:end], min(self.reach, until))


class Kept:
    """Reads rows for the hub and its clients. All are dropped when one of the log is blanked."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._recent: list[Entry] = []
        self._bytes = 0
        self._begin = self._end = 0
        self._pages: OrderedDict[int, Page] = OrderedDict()
        #: Counts how often everything was dropped.
        self.restarts = 0

    def restart(self, position: int) -> None:
        """Drop every row; what is added next follows this position."""
        self.restarts += 1
        self._recent = []
        self._bytes = 0
        self._begin = self._end = position
        self._pages.clear()

    def add(self, rows: Sequence[Row], reach: int) -> None:
        """Keep the rows that follow the ones before, up to the position `reach`."""
        self._recent += map(Entry, rows)
        self._bytes += sum(len(row.body) + ROW_BYTES for row in rows)
        self._end = reach
        excess = 0
        while self._bytes > RECENT_BYTES and excess < len(self._recent):
            row = self._recent[excess].row
            self._bytes -= len(row.body) + ROW_BYTES
            self._begin = row.position
            excess += 1
        del self._recent[:excess]

    def forget_pages(self) -> None:
        """Drop the pages of older rows, because no client catches up."""
        self._pages.clear()

    def has(self, after: int) -> bool:
        """Return whether what follows this position needs no reading."""
        return self._begin <= after

    def page(self, after: int, until: int) -> Page:
        """Return the next entries after a position, none beyond `until`; what the log raises."""
        if self.has(after):
            return Page(self._recent, self._end).part(after, until)
        # Pages begin at round numbers, so that clients at about the same place read the same ones.
        page = self._older(after - after % PAGE_ROWS)
        if page.reach <= after:
            page = self._older(after)
        return page.part(after, until)

    def _older(self, after: int) -> Page:
        page = self._pages.get(after)
        if page is None:
            rows = self._log.read(after, limit=PAGE_ROWS, max_bytes=PAGE_BYTES)
            # Where no row is left, the recent ones follow.
            page = Page([Entry(row) for row in rows], rows[-1].position if rows else max(after, self._begin))
            while len(self._pages) >= PAGES_MAX:
                self._pages.popitem(last=False)
            self._pages[after] = page
        self._pages.move_to_end(after)
        return page


def _position(entry: Entry) -> int:
    return entry.row.position
