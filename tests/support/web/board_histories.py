# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Random histories of a site, as a seed has them, and the interleavings in which they may arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from sourcepulse.events.event import Event
from support.web.board_events import REPO, Build, Site, node

BUILDERS = ("linux64-opt-unit", "linux64-debug-unit", "win64-opt-build")
TESTS = ("tests/parse.t", "ui/test_paste.py", "a/b.py")
OUTCOMES = ("success", "failure", "failure", "warnings", "exception", "retry", "cancelled", "mystified")
REPOS = (REPO, "try")


def history(seed: int, size: int = 12) -> list[list[Event]]:
    """Return the events of each source, in its order."""
    random = Random(seed)
    site = Site()
    running: list[Iterator[Event]] = [_pushes(site, random, size), _trees(site, random), _bugs(site, random)]
    running += [_build(site, random, size) for _ in range(size * 2)]
    by_source: dict[str, list[Event]] = {}
    while running:
        # What began earlier ends earlier, more or less.
        story = running[min(random.randrange(len(running)), random.randrange(len(running)))]
        event = next(story, None)
        if event is None:
            running.remove(story)
        else:
            by_source.setdefault(event.source, []).append(event)
    return list(by_source.values())


def interleaved(sources: Sequence[Sequence[Event]], seed: int) -> list[Event]:
    """Return the events of all sources in one of the orders in which they may arrive."""
    random = Random(seed)
    left = [list(events) for events in sources if events]
    found = []
    while left:
        events = random.choice(left)
        found.append(events.pop(0))
        if not events:
            left.remove(events)
    return found


def batches(events: Sequence[Event], seed: int) -> Iterator[Sequence[Event]]:
    random = Random(seed)
    start = 0
    while start < len(events):
        size = random.choice((1, 1, 2, 5, 30))
        yield events[start : start + size]
        start += size


def _pushes(site: Site, random: Random, size: int) -> Iterator[Event]:
    for number in range(size):
        repo = REPO if random.random() < 0.8 else "try"
        descs = [random.choice(("Bug 7 - x", "No bug", f"Backed out {node(random.randrange(size))[:12]} (bug 8)"))]
        extra = [node(1000 + number)] if random.random() < 0.3 else []
        yield site.push(*extra, node(number), repo=repo, descs=descs)
        if random.random() < 0.1:
            yield site.push(node(number), repo=random.choice(REPOS), descs=descs)
        if random.random() < 0.1:
            yield site.stripped(node(random.randrange(number + 1)), repo=repo)


def _trees(site: Site, random: Random) -> Iterator[Event]:
    for _ in range(4):
        yield site.tree(random.choice(("closed", "open", "approval required")), reason="bug 7 is why")
        yield site.refused()


def _bugs(site: Site, random: Random) -> Iterator[Event]:
    for _ in range(8):
        number = random.choice((7, 8, 9))
        summary = random.choice(("test_paste.py fails", "parse.t crashes", "slow"))
        choice = random.random()
        if choice < 0.15:
            yield site.hidden(number)
        elif choice < 0.3:
            yield site.comment(number, f"since {node(random.randrange(12))[:12]}", number=random.randrange(5))
        else:
            kind = random.choice(("created", "changed", "closed"))
            yield site.bug(number, kind, summary=summary, is_open=kind != "closed")


def _build(site: Site, random: Random, size: int) -> Iterator[Event]:
    number = random.randrange(size)
    revision = random.choice((node(number), node(number), node(number)[:12], node(1000 + number), None))
    repository = random.choice((f"https://hg.example.org/{REPO}",) * 3 + ("https://hg.example.org/try", ""))
    build = Build(site, random.choice(BUILDERS), revision, repository=repository)
    yield build.request()
    if random.random() < 0.1:
        yield build.completed("cancelled", buildid=None)
        return
    yield build.started()
    outcome = random.choice(OUTCOMES)
    if outcome == "failure":
        for test in random.sample(TESTS, random.randrange(3)):
            yield build.failed(test)
    if random.random() < 0.7:
        yield build.ran("failure", incomplete=random.random() < 0.1)
    if random.random() < 0.9:
        yield build.finished(outcome)
        yield build.completed(outcome)
