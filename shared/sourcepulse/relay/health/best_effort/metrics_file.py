# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The metrics of a relay as a file for the textfile collector of Prometheus's node_exporter, replaced as a whole."""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

import sourcepulse
from sourcepulse.errors import ConfigError, OutboxError, SourcePulseError
from sourcepulse.outbox.files import replace_file
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import clear_problem, count_metrics_error, set_problem
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.health.best_effort.side_job import SideJob
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
    """Writes the file of one relay; used by one thread, and never raises.

    What fails is logged once, is counted, and is a problem in `status` until it works again.
    """

    def __init__(self, outbox: Outbox, path: Path, *, per_source: bool, trouble: str = "") -> None:
        self._outbox = outbox
        self._path = path
        self._per_source = per_source
        self.trouble = trouble

    def write(self) -> None:
        """Write the file now."""
        try:
            text = current_metrics(self._outbox, per_source=self._per_source)
            self._check_is_ours()
            replace_file(self._path, text.encode(), mode=FILE_MODE)
        except Exception as error:  # noqa: BLE001 - delivery goes on whatever it is
            self.fail(f"the metrics file {self._path} cannot be written: {_reason(error)}")
            return
        if self.trouble:
            logger.info("the metrics file %s can be written again", self._path)
        self.trouble = ""
        with suppress(OutboxError):
            clear_problem(self._outbox, PROBLEM)

    def _check_is_ours(self) -> None:
        """Raise ConfigError if another relay writes the file now: each would replace the other's figures."""
        try:
            # Anything but a file of its own, such as a pipe, could keep us waiting for ever.
            with os.fdopen(
                os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb"
            ) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ConfigError("it is not a regular file; remove it")
                named = _OUTBOX.search(file.read(_HEAD_BYTES).decode("utf-8", "replace"))
        except FileNotFoundError:
            return
        age_s = time.time() - status.st_mtime
        if named is not None and named[1] != quoted(str(self._outbox.path)) and 0 <= age_s < OTHERS_SECONDS:
            raise ConfigError(f"the relay of the outbox {named[1]} writes it; name a file for each outbox")

    def fail(self, sentence: str) -> None:
        """Record that the file was not written."""
        if sentence != self.trouble:
            logger.warning("%s", sentence)
            self.trouble = sentence
        with suppress(OutboxError):
            count_metrics_error(self._outbox)
            set_problem(self._outbox, PROBLEM, sentence)


def write_aside(outbox: Path, path: Path, *, per_source: bool) -> SideJob:
    """Return a job that writes the file of a relay each WRITE_SECONDS; a dead mount keeps only the job."""
    trouble = ""

    def write() -> None:
        nonlocal trouble
        # A connection of its own, because a write that hangs may go on when the relay has ended.
        with Outbox.open(outbox, create=False) as opened:
            file = MetricsFile(opened, path, per_source=per_source, trouble=trouble)
            file.write()
            trouble = file.trouble

    def hangs() -> None:
        with suppress(SourcePulseError), Outbox.open(outbox, create=False) as opened:
            sentence = f"the metrics file {path} cannot be written: its file system does not answer"
            MetricsFile(opened, path, per_source=per_source).fail(sentence)

    return SideJob("metrics", write, every_s=WRITE_SECONDS, hangs=hangs)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, SourcePulseError) else f"{type(error).__name__}: {error}"
