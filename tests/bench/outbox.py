# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What storing one event costs, against appending the same bytes to a plain file and syncing it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.stats import Figure, row
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox

PAIRS = 301
WARM_UP = 20
#: With it the stored bytes are about 1 KiB.
PADDING = "x" * 640
MILLISECONDS = 1000


class Site:
    """An outbox and a plain file on one disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "outbox.db"
        self._outbox = Outbox.open(self._path)
        self._plain = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._outbox.append([self.event(0)])
        (stored,) = self._outbox.claim("public")
        self.body = stored.body

    def close(self) -> None:
        self._outbox.close()
        os.close(self._plain)

    @staticmethod
    def event(number: int) -> Event:
        return Event.of(
            "hg.push.v1",
            source="hg://bench/try",
            key=[str(number)],
            subject="try",
            time=time.time(),
            data={"padding": PADDING},
            words=["bench"],
        )

    def plain(self, _: Event) -> None:
        """One write and one fdatasync."""
        os.write(self._plain, self.body)
        os.fdatasync(self._plain)

    def open_file(self, event: Event) -> None:
        """One append by a process that keeps the outbox open."""
        self._outbox.append([event])

    def as_the_hook(self, event: Event) -> None:
        """Open, append, close; the file's last connection is elsewhere, as with a relay that runs."""
        with Outbox.open(self._path) as outbox:
            outbox.append([event])


def _seconds(work: Callable[[Event], None], event: Event) -> float:
    begun = time.perf_counter()
    work(event)
    return time.perf_counter() - begun


def main(pairs: int = PAIRS) -> None:
    """Print the table."""
    # On the disk of the working directory: the system's folder for such files may be in memory.
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        site = Site(Path(name))
        ways = (site.plain, site.open_file, site.as_the_hook)
        number = 0
        taken: list[tuple[float, float, float]] = []
        try:
            for turn in range(pairs + WARM_UP):
                spent = {}
                for way in ways if turn % 2 else ways[::-1]:
                    number += 1
                    spent[way] = _seconds(way, site.event(number))
                taken.append((spent[ways[0]], spent[ways[1]], spent[ways[2]]))
        finally:
            site.close()
    taken = taken[WARM_UP:]
    row(
        f"write and fdatasync of {len(site.body)} bytes, ms", Figure.of([MILLISECONDS * plain for plain, _, _ in taken])
    )
    row("append to an open outbox, ms", Figure.of([MILLISECONDS * kept for _, kept, _ in taken]))
    row("open, append, close, ms", Figure.of([MILLISECONDS * hook for _, _, hook in taken]))
    row("append to an open outbox / fdatasync", Figure.of([kept / plain for plain, kept, _ in taken]))
    row("open, append, close / fdatasync", Figure.of([hook / plain for plain, _, hook in taken]))


if __name__ == "__main__":
    main()
