# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The metrics of a relay as a file for the textfile collector of Prometheus's node_exporter, replaced as a whole."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import sourcepulse
from sourcepulse.errors import ConfigError, OutboxError, SourcePulseError
from sourcepulse.outbox.files import replace_file
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import clear_problem, count_metrics_error, set_problem
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.health.liveness import last_loop_at
from sourcepulse.relay.health.metrics import RelayState, metrics, quoted
from sourcepulse.relay.on_demand import is_on_demand

#: How often it is written; Prometheus reads it about as often.
WRITE_SECONDS = 15.0
#: node_exporter runs as a user of its own.
FILE_MODE = 0o644
#: The name in `status` of the problem that the file cannot be written.
PROBLEM = "metrics-file"

#: A file of another outbox that is older than this belongs to a relay that is gone.
OTHERS_SECONDS = 4 * WRITE_SECONDS
_HEAD_BYTES = 16_384
_OUTBOX = re.compile(r'\{outbox="((?:[^"\\]|\\.)*)"')

logger = logging.getLogger(__name__)


def current_metrics(outbox: Outbox, *, per_source: bool) -> str:
    """Return the metrics of an outbox and its relay as they are now."""
    relay = RelayState(last_loop_at(outbox.path), is_on_demand(str(outbox.path)))
    return metrics(figures(outbox), relay, version=sourcepulse.__version__, per_source=per_source)


class MetricsFile:
    """Writes the file of one relay, at most each WRITE_SECONDS; used by one thread, and never raises.

    What fails is logged once, is counted, and is a problem in `status` until it works again.
    """

    def __init__(
        self, outbox: Outbox, path: Path, *, per_source: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outbox = outbox
        self._path = path
        self._per_source = per_source
        self._clock = clock
        self._due_at = clock()
        self._trouble = ""

    def look(self) -> None:
        """Write the file if it is time to."""
        now = self._clock()
        if now >= self._due_at:
            self._due_at = now + WRITE_SECONDS
            self.write()

    def write(self) -> None:
        """Write the file now."""
        try:
            text = current_metrics(self._outbox, per_source=self._per_source)
            self._check_is_ours()
            replace_file(self._path, text.encode(), mode=FILE_MODE)
        except Exception as error:  # noqa: BLE001 - delivery goes on whatever it is
            self._fail(f"the metrics file {self._path} cannot be written: {_reason(error)}")
            return
        if self._trouble:
            logger.info("the metrics file %s can be written again", self._path)
        self._trouble = ""
        with suppress(OutboxError):
            clear_problem(self._outbox, PROBLEM)

    def _check_is_ours(self) -> None:
        """Raise ConfigError if another relay writes the file now: each would replace the other's figures."""
        try:
            age_s = time.time() - self._path.stat().st_mtime
            with self._path.open("rb") as file:
                named = _OUTBOX.search(file.read(_HEAD_BYTES).decode("utf-8", "replace"))
        except FileNotFoundError:
            return
        if named is not None and named[1] != quoted(str(self._outbox.path)) and 0 <= age_s < OTHERS_SECONDS:
            raise ConfigError(f"the relay of the outbox {named[1]} writes it; name a file for each outbox")

    def _fail(self, sentence: str) -> None:
        if sentence != self._trouble:
            logger.warning("%s", sentence)
            self._trouble = sentence
        with suppress(OutboxError):
            count_metrics_error(self._outbox)
            set_problem(self._outbox, PROBLEM, sentence)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, SourcePulseError) else f"{type(error).__name__}: {error}"
