# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What failed for one event, and cost no more than its frame or its sentence: counted, and each kind logged once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar

from sourcepulse.errors import SourcePulseError
from sourcepulse_web.stream.ports import Channel, View

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Faults:
    """Calls what may have a fault of ours. That the log cannot be read is none, and is raised."""

    def __init__(self) -> None:
        #: How often each part failed.
        self.counts: Counter[str] = Counter()
        self._named: set[tuple[str, str, int]] = set()

    def guard(self, part: str, call: Callable[[], Result], otherwise: Result) -> Result:
        """Return what a call returns, `otherwise` if it fails; `part` is a word for the metrics."""
        try:
            return call()
        except SourcePulseError:
            raise
        except Exception as error:
            # An odd event must not end the streams of everybody.
            self.counts[part] += 1
            kind = part, *_innermost(error)
            if kind not in self._named:
                self._named.add(kind)
                logger.error("%s: an event was left out or shown without a sentence", part, exc_info=error)
            return otherwise

    def views(self, views: Mapping[str, View]) -> dict[str, View]:
        """Return views whose faults cost one frame."""

        def guarded(name: str, view: View) -> View:
            return lambda row: self.guard(name, lambda: view(row), None)

        return {name: guarded(name, view) for name, view in views.items()}

    def channels(self, channels: Mapping[str, Channel]) -> dict[str, Channel]:
        """Return channels whose faults cost what one stretch of the log changed for one name."""
        return {name: GuardedChannel(name, channel, self) for name, channel in channels.items()}


def _innermost(error: Exception) -> tuple[str, int]:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (type(error).__name__, 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)


class GuardedChannel:
    """A channel whose faults cost the frames of one name."""

    def __init__(self, name: str, channel: Channel, faults: Faults) -> None:
        self._name = name
        self._channel = channel
        self._faults = faults

    def is_level(self) -> bool:
        return self._faults.guard(self._name, self._channel.is_level, True)

    def frames(self, name: str, after: int, until: int) -> list[bytes]:
        return self._faults.guard(self._name, lambda: self._channel.frames(name, after, until), [])
