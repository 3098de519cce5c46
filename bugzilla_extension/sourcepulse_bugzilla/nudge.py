# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The socket on which Bugzilla announces new rows; only a hint, because the table is polled anyway."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from sourcepulse.wake.listener import Listener
from sourcepulse.wake.send import PATH_MAX_BYTES
from sourcepulse_bugzilla.lifecycle.stopping import Stop

_WITHOUT = "the table is read every few seconds"

logger = logging.getLogger(__name__)


class Nudge:
    """Listens at a path while that is possible; without a socket, `wait` only waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listener = Listener(path, without=_WITHOUT)
        # The extension, in Perl, sends to nothing longer.
        self._is_too_long = len(os.fsencode(path)) > PATH_MAX_BYTES
        if self._is_too_long:
            logger.warning(
                "wakes cannot be received at %s: the path has more than %d bytes; %s", path, PATH_MAX_BYTES, _WITHOUT
            )

    def open(self, group: int | None, *, wanted: bool) -> None:
        """Listen at the path, as `Listener.open` does.

        `group` may write to the socket if we may change its group; if not, a warning is logged if it was `wanted`.
        """
        if not self._is_too_long and self._listener.open():
            self._set_group(group, wanted=wanted)

    def wait(self, seconds: float, stop: Stop) -> None:
        """Wait for a nudge, for the given number of seconds, or until stopped."""
        if not stop.is_set():
            self._listener.wait(seconds, stop.readable)

    def close(self) -> None:
        """Stop listening; the socket file is removed if it is still ours."""
        self._listener.close()

    def _set_group(self, group: int | None, *, wanted: bool) -> None:
        if group is None:
            return
        try:
            self._listener.set_group(group)
        except OSError as error:
            if wanted or os.geteuid() == 0:
                logger.warning("the group of %s cannot be set: %s", self._path, error.strerror)
            else:
                logger.warning(
                    "the web server may not be able to nudge this process: %s does not belong to its group, and only "
                    "a member of the group can change that; the table is read every few seconds",
                    self._path,
                )
