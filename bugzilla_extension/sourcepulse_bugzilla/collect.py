# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The collector of a relay for a Bugzilla: there is nothing to collect, because first copies are database rows."""

from __future__ import annotations

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.collect import CollectReport


def collect_nothing(_location: str, _outbox: Outbox, *, deadline_s: float) -> CollectReport:  # noqa: ARG001 - the port's own signature
    """Leave the rows to the sidecar, which alone may delete them."""
    return CollectReport()
