# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A service waits inside its process for what passes or is corrected: a lock, a full disk, wrong settings.

If it ended instead, its manager would start it a few times, give up, and no correction would have an effect any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sourcepulse.errors import EXIT_OK, SourcePulseError
from sourcepulse.relay.health.service_manager import ServiceManager

#: How often it is tried again.
AGAIN_SECONDS = 3.0
#: How often the watchdog is notified meanwhile.
STEP_SECONDS = 0.5
#: After it worked for so long, the same reason is logged once more.
WORKED_SECONDS = 60.0

logger = logging.getLogger(__name__)


def wait_out(
    serve: Callable[[], int],
    manager: ServiceManager,
    *,
    ended: Callable[[float], bool],
    explain: Callable[[SourcePulseError], str] = lambda _: "",
) -> int:
    """Return the result of `serve`; while it raises one of our errors, call it again every few seconds.

    `ended` waits for some seconds and returns whether the service is to end. Each reason is logged once. Any other
    exception ends the service.
    """
    logged: set[str] = set()
    while True:
        began_at = time.monotonic()
        try:
            return serve()
        except SourcePulseError as error:
            explanation = explain(error)
            reason = f"{error}{explanation and f' ({explanation})'}"
        if time.monotonic() - began_at > WORKED_SECONDS:
            logged.clear()
        if reason not in logged:
            logged.add(reason)
            logger.error("%s; waiting until that is over, without a restart", reason)
        # Whatever starts after the service must not wait.
        manager.ready()
        manager.status(f"waiting: {reason}")
        until = time.monotonic() + AGAIN_SECONDS
        while time.monotonic() < until:
            if ended(STEP_SECONDS):
                return EXIT_OK
            manager.alive()
