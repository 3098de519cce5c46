# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What relays, services and numbers report: what the state word of every page, some banners and gaps go by."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypedDict

from sourcepulse.errors import SourcePulseError
from sourcepulse_web.pages.live.banners import BannerDoc, banner_of_event
from sourcepulse_web.pages.live.opened import opened
from sourcepulse_web.pages.live.sentences.parts import Links, count, shown
from sourcepulse_web.stream.ports import Row

#: How far back the last reports are looked for at the start.
LOOKED_BACK = 20_000
LOOKED_AT_ONCE = 1_000
#: How many gaps and new numberings are remembered.
GAPS_MAX = 1_000
#: A relay that is silent for longer is forgotten: it was taken away.
FORGOTTEN_SECONDS = 86_400.0
#: So many silent intervals mean that a relay is down.
SILENT_BEATS = 3
HEARTBEAT = ".heartbeat.v1"
#: The last word of a relay that ends as it was asked to.
STOPPED = "system.relay.stopped.v1"
_CLOCK = slice(11, 19)

logger = logging.getLogger(__name__)


class BeatDoc(TypedDict):
    """The last heartbeat of a relay: `names` are its sources in words, `worst` is the one that is latest.

    `ago_s` is since it was heard, or anything of the sources that are named.
    """

    source: str
    names: str
    ago_s: float
    interval_s: int
    late_s: int
    worst: str
    waiting: int


class GapDoc(TypedDict):
    """What a source's numbers say before a row: that some did not come, or that it began again."""

    name: str
    text: str


class _Last(NamedTuple):
    """The last number of a source, and when it came."""

    epoch: str
    number: int
    at: float


class _Beat(NamedTuple):
    at: float
    interval_s: int
    sources: frozenset[str]
    late_s: int
    worst: str
    waiting: int


class Readable(Protocol):
    """What is needed of a log."""

    @property
    def token(self) -> str: ...

    def bounds(self) -> Any: ...

    def read(self, after: int, *, limit: int = ...) -> Sequence[Any]: ...


class Watch:
    """Follows heartbeats, the states of services and all numbers. Pass `apply` to the hub, before what it sends."""

    def __init__(self, clock: Callable[[], float], log: Readable | None = None) -> None:
        self._clock = clock
        self._log = log
        self._token = ""
        self._beats: dict[str, _Beat] = {}
        self._banners: dict[str, BannerDoc] = {}
        self._last: dict[str, _Last] = {}
        self._gaps: OrderedDict[int, GapDoc] = OrderedDict()
        self._position = 0
        self._newest_at: float | None = None

    def start(self) -> None:
        """Read the last reports that the log has; where it cannot be read now, what comes later is enough."""
        if self._log is None:
            return
        try:
            bounds = self._log.bounds()
            after = max(bounds.oldest - 1, bounds.end - LOOKED_BACK)
            while rows := self._log.read(after, limit=LOOKED_AT_ONCE):
                self.apply(rows)
                after = rows[-1].position
        except SourcePulseError as error:
            logger.warning("the last heartbeats were not read from the log: %s", error)

    def apply(self, rows: Sequence[Row]) -> None:
        """Note what rows report; what was seen before is ignored."""
        token = self._log.token if self._log is not None else ""
        if token != self._token:
            # Another log took the place of this one: its positions are others, what relays reported stays.
            self._token, self._position = token, 0
            self._gaps.clear()
            self._newest_at = None
        for row in rows:
            if row.position <= self._position:
                continue
            self._position = row.position
            if not row.type.endswith(HEARTBEAT):
                self._newest_at = row.at
            event = opened(row)
            try:
                self._count(row, event)
                if row.type.startswith("system.") and not row.withdrawn:
                    self._note(row, event)
            except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
                # Data that is not as its schema says reports nothing.
                continue

    def _count(self, row: Row, event: Mapping[str, Any]) -> None:
        epoch, sequence = event.get("epoch"), event.get("sequence")
        if not epoch or not sequence or event.get("replayed"):
            return
        number = int(sequence)
        before = self._last.get(row.source)
        if before is not None and before.epoch != epoch:
            text = f"{row.source} began again at {number:,} at {str(event['time'])[_CLOCK]}."
            self._gaps[row.position] = {"name": "New numbering", "text": shown(text)}
        elif before is not None and number > before.number + 1:
            lost = count(number - before.number - 1, "event")
            text = f"{lost} of {row.source} between {before.number:,} and {number:,} will not come here."
            self._gaps[row.position] = {"name": "Gap", "text": shown(text)}
        if before is None or before.epoch != epoch or number > before.number:
            self._last[row.source] = _Last(epoch, number, row.at)
        while len(self._gaps) > GAPS_MAX:
            self._gaps.popitem(last=False)

    def _note(self, row: Row, event: Mapping[str, Any]) -> None:
        if row.type.endswith(HEARTBEAT):
            known = self._beats.get(row.source)
            if known is None or known.at <= row.at:
                self._beats[row.source] = _beat(row, event["data"])
            return
        if row.type == STOPPED:
            # Its silence was announced. Another relay of that machine, with the same source, soon beats again.
            self._beats.pop(row.source, None)
            return
        banner = banner_of_event(row.type, event, Links())
        if banner is not None:
            self._banners.pop(banner["about"], None)
            if banner["tag"]:
                self._banners[banner["about"]] = banner

    def beats(self) -> list[BeatDoc]:
        """Return the last heartbeat of each relay that has sources of which nothing came in another way since."""
        now = self._clock()
        self._beats = {source: beat for source, beat in self._beats.items() if now - beat.at < FORGOTTEN_SECONDS}
        fresh = [beat for beat in self._beats.values() if now < _silent_at(beat)]
        served = frozenset().union(*(beat.sources for beat in fresh))
        found: list[BeatDoc] = []
        for source, beat in self._beats.items():
            missed = beat.sources if now < _silent_at(beat) else self._missed(beat) - served
            if missed or not beat.sources:
                found.append(self._document(source, beat, sorted(missed), now))
        return found

    def _missed(self, beat: _Beat) -> frozenset[str]:
        """Return the sources of which nothing came since this relay is silent, as by a relay that a push starts."""
        return frozenset(each for each in beat.sources if self._came_at(each) < _silent_at(beat))

    def _came_at(self, source: str) -> float:
        last = self._last.get(source)
        return last.at if last is not None else 0.0

    def _document(self, source: str, beat: _Beat, names: Sequence[str], now: float) -> BeatDoc:
        heard_at = max([beat.at, *map(self._came_at, names)])
        more = f" and {len(names) - 1} more" if names[1:] else ""
        return {
            "source": source,
            "names": shown(names[0] + more if names else source),
            "ago_s": round(max(0.0, now - heard_at), 1),
            "interval_s": beat.interval_s,
            "late_s": beat.late_s,
            "worst": beat.worst,
            "waiting": beat.waiting,
        }

    def last_s(self) -> float | None:
        """Return how long ago the newest event came that is no heartbeat; None if there is none."""
        return None if self._newest_at is None else round(max(0.0, self._clock() - self._newest_at), 1)

    def gap(self, position: int) -> GapDoc | None:
        """Return what the numbers say right before the event at a position."""
        return self._gaps.get(position)

    def banners(self) -> list[BannerDoc]:
        """Return the banners of services that are not well."""
        return list(self._banners.values())


def _silent_at(beat: _Beat) -> float:
    return beat.at + SILENT_BEATS * beat.interval_s


def _beat(row: Row, data: Mapping[str, Any]) -> _Beat:
    sources = {str(each["source"]): each for each in data["sources"]}
    worst = max(sources.values(), key=lambda each: each["oldest_age_s"] or -1, default=None)
    return _Beat(
        at=row.at,
        interval_s=max(1, int(data["interval_s"])),
        sources=frozenset(sources),
        late_s=int(data["oldest_age_s"] or 0),
        worst=shown(str(worst["source"]) if worst else row.source),
        waiting=int((worst or data)["pending"]),
    )
