# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sweep of a relay finds nothing to fetch in a Bugzilla: its first copies are rows of the database."""

from __future__ import annotations

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.collect import CollectReport


def collect_nothing(_location: str, _outbox: Outbox, *, deadline_s: float) -> CollectReport:  # noqa: ARG001 - the port's own signature
    """Leave the rows to the sidecar, the only one that may delete them."""
    return CollectReport()
