# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The last lines of the logs of failed steps, if the settings ask for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from sourcepulse_buildbot.directory import Remembered
from sourcepulse_buildbot.mapping.build_facts import BuildRef, StepRef
from sourcepulse_buildbot.mapping.rows import Row, outcome_of
from sourcepulse_buildbot.mapping.steps import log_finished
from sourcepulse_buildbot.writer import Fact

#: The outcomes of steps whose logs are sent with their last lines.
FAILED = ("failure", "exception")
#: At most this many lines are read, however short they are.
TAIL_MOST_LINES = 1_000

_HEADER = "h"

#: A log and the time at which it was complete, in seconds since 1970.
Held = tuple[Row, float]


class LogTails:
    """Holds complete logs until their step has ended; with `max_bytes` 0 there are no tails, and nothing is held."""

    def __init__(self, data: Any, max_bytes: int) -> None:
        self._data = data
        self._max_bytes = max_bytes
        self._held: defaultdict[int, list[Held]] = defaultdict(list)
        #: Steps that have ended, for their late logs.
        self._over: Remembered[Row] = Remembered()

    @property
    def wanted(self) -> bool:
        """Return whether the settings ask for tails."""
        return self._max_bytes > 0

    def hold(self, log: Row, time: float) -> Row | None:
        """Hold a complete log until its step has ended; if it already has, return the step and hold nothing."""
        over = self._over.get(log["stepid"])
        if over is None:
            self._held[log["stepid"]].append((log, time))
        return over

    def release(self, step: Row) -> list[Held]:
        """Return the held logs of a step that has ended, and hold them no longer."""
        if self.wanted:
            self._over[step["stepid"]] = step
        return self._held.pop(step["stepid"], [])

    async def facts(self, step: Row, logs: Sequence[Held], ref: BuildRef, *, recovered: bool = False) -> list[Fact]:
        """Make the facts of the logs of a step that has ended, with their tails if it failed."""
        failed = self.wanted and outcome_of(step["results"]) in FAILED
        return [
            partial(
                log_finished,
                ref=ref,
                step=StepRef.of(step),
                log=log,
                time=time,
                tail=await self._tail(log) if failed else None,
                recovered=recovered,
            )
            for log, time in logs
        ]

    async def _tail(self, log: Row) -> str | None:
        first = max(0, log["num_lines"] - TAIL_MOST_LINES)
        contents = await self._data.get(("logs", log["logid"], "contents"), offset=first, limit=TAIL_MOST_LINES)
        if not contents:
            return None
        text: str = contents["content"]
        if log["type"] == "s":
            # Each line of such a log begins with the letter of its stream; h is for lines of Buildbot itself.
            text = "\n".join(line[1:] for line in text.split("\n") if not line.startswith(_HEADER))
        encoded = text.encode("utf-8", "replace")
        return encoded[max(0, len(encoded) - self._max_bytes) :].decode("utf-8", "ignore")
