# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the hub remembers of one client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sourcepulse_web.stream.clients.wire import Wire
from sourcepulse_web.stream.filter import Filter
from sourcepulse_web.stream.frames import Framing, chunk

if TYPE_CHECKING:
    from twisted.web.server import Request


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client asked for; those who asked for the same share every byte."""

    #: None for a client that only follows channels.
    filter: Filter | None
    framing: Framing
    view: str | None = None
    #: Names of channels, each with what is followed there: `("board", "integration/inbound")`.
    channels: tuple[tuple[str, str], ...] = ()

    @property
    def is_of_a_page(self) -> bool:
        """Whether a page of ours listens: it must hear that all is well; scripts hear no block that has only an id."""
        return self.view is not None or bool(self.channels)


class Client:
    """One connection, and how far it is: while it is level with the others, the hub's own position counts."""

    __slots__ = (
        "behind_bytes", "gone", "position", "queued", "side", "stalled_since", "subscription", "turn", "wire",
    )  # fmt: skip

    def __init__(self, subscription: Subscription, position: int, side: int) -> None:
        self.subscription = subscription
        #: Every event up to it was sent.
        self.position = position
        #: Every withdrawal and every change of a channel up to it was sent.
        self.side = side
        #: What others got while this one read nothing.
        self.behind_bytes = 0
        self.stalled_since = 0.0
        #: In which second of a round it gets its keep-alive.
        self.turn = 0
        self.gone = False
        #: Whether it waits for its turn to catch up.
        self.queued = False
        self.wire: Wire

    def open(self, request: Request, reactor: Any, first: bytes, drained: Callable[[Client], None]) -> None:
        """Send the head of the answer and the first frames."""
        self.wire = Wire(request, reactor, first, lambda: drained(self))

    def send(self, data: bytes, *, now: float) -> bool:
        """Send frames; return whether all have left."""
        if self.wire.send(chunk(data) if self.wire.chunked else data):
            return True
        self.stalled_since = now
        return False
