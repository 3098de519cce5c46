# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publish events from inside Mercurial, Buildbot and Bugzilla.

Every event has a unique id, so consumers can drop repeats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sourcepulse.consumer.consumer import Consumer
    from sourcepulse.events.event import Event
    from sourcepulse.outbox.outbox import Outbox
    from sourcepulse.publisher import Publisher

__all__ = ["Consumer", "Event", "Outbox", "Publisher"]

_HOMES = {
    "Consumer": "sourcepulse.consumer.consumer",
    "Event": "sourcepulse.events.event",
    "Outbox": "sourcepulse.outbox.outbox",
    "Publisher": "sourcepulse.publisher",
}


def __getattr__(name: str) -> Any:
    # The public names load on first use: the hook imports this package inside every hg process.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("sourcepulse")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
