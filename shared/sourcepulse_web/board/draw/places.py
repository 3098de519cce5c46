# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The places of a tree's builders: lines, their order, labels and tiers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sourcepulse_web.board.documents import PlaceDoc, PlaceLineDoc
from sourcepulse_web.board.draw.aliases import Aliases
from sourcepulse_web.board.draw.push_facts import PushFacts
from sourcepulse_web.board.store import Row

#: A builder that was not seen for longer has no place, unless it is configured.
SEEN_SECONDS = 7 * 86_400
LABEL_CHARACTERS = 40
TIER = 1

_SEPARATORS = "-_ ./:"


class Place(NamedTuple):
    """A builder of a tree. `stays`: it has its place on every push, because it is configured or was seen lately."""

    name: str
    platform: str
    buildtype: str
    label: str
    tier: int
    stays: bool


class Line(NamedTuple):
    """The builders of one platform and build type."""

    platform: str
    buildtype: str
    places: tuple[Place, ...]


class Places:
    """The lines of a tree in their order, the same for every push."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.by_name = {place.name: place for line in lines for place in line.places}

    def documents(self) -> list[PlaceLineDoc]:
        return [
            PlaceLineDoc(
                platform=line.platform,
                buildtype=line.buildtype,
                places=[PlaceDoc(place=each.name, label=each.label, tier=each.tier) for each in places],
            )
            for line in self.lines
            if (places := [each for each in line.places if each.stays])
        ]


def places_of(repo: str, aliases: Aliases, rows: Iterable[Row], facts: Iterable[PushFacts], now: float) -> Places:
    """Return the places of a tree: configured builders and those seen in the last 7 days, on every push.

    A builder that was seen earlier has a place, the last of its line, on those of these pushes that have a build of it.
    """
    configured = aliases.configured.get(repo)
    order = {builder.name: number for number, builder in enumerate(configured.builders)} if configured else {}
    oldest = datetime.fromtimestamp(now - SEEN_SECONDS, UTC).isoformat()
    found: dict[str, tuple[str, str, str]] = dict.fromkeys(order, ("", "", ""))
    for row in rows:
        if row["seen"] < oldest and row["place"] not in order:
            continue
        if aliases.repo_of(row["repositories"], row["tree"]) == repo:
            _see(found, row, row["seen"])
    listed = set(found)
    stay = set(found)
    for each in facts:
        for kept, at in ((each.builds, "started_at"), (each.requests, "submitted_at")):
            for name in kept.keys() - listed:
                _see(found, kept[name][0], kept[name][0][at])
                if kept[name][0][at] >= oldest:
                    stay.add(name)
    lines: dict[tuple[str, str], list[Place]] = {}
    settings = {builder.name: builder for builder in configured.builders} if configured else {}
    for name, (_, platform, buildtype) in found.items():
        own = settings.get(name)
        label = (own.label if own else None) or label_of(name, platform, buildtype)
        lines.setdefault((platform, buildtype), []).append(
            Place(name, platform, buildtype, label, own.tier if own else TIER, name in stay)
        )
    return Places(
        [
            Line(*key, tuple(sorted(places, key=lambda place: _order(place, order))))
            for key, places in sorted(lines.items(), key=lambda line: (line[0] == ("", ""), line[0]))
        ]
    )


def _see(found: dict[str, tuple[str, str, str]], row: Row, at: str) -> None:
    """Keep the newest platform of a builder that is known; a request, which knows none, may be of the same second."""
    former = found.get(row["place"])
    is_known = bool(row["platform"] or row["buildtype"])
    was_known = former is not None and any(former[1:])
    if former is None or (is_known and not was_known) or (is_known == was_known and at > former[0]):
        found[row["place"]] = (at, row["platform"], row["buildtype"])


def _order(place: Place, configured: dict[str, int]) -> tuple[object, ...]:
    natural = [(int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", place.label)]
    return not place.stays, configured.get(place.name, len(configured)), place.label != "build", natural, place.name


def label_of(name: str, platform: str, buildtype: str) -> str:
    """Return a builder's name without platform and build type where these are its prefix, cut to 40 characters."""
    label = name
    for prefix in (platform, buildtype):
        rest = label[len(prefix) :]
        if prefix and label.startswith(prefix) and rest[:1] in tuple(_SEPARATORS) and rest.strip(_SEPARATORS):
            label = rest.lstrip(_SEPARATORS)
    return shortened(label, LABEL_CHARACTERS)


def shortened(text: str, most: int) -> str:
    """Return a text cut in the middle."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"
