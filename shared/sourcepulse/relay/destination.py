# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The destination of a stream by the current settings: a correction in a file takes effect without a restart."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.brokers import Publisher, open_publisher
from sourcepulse.errors import ConfigError, DestinationError
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.outbox.delivery_state import bind_broker, bound_broker, record_failure, remember_place
from sourcepulse.outbox.delivery_state import places as former_places
from sourcepulse.relay.streams import Place, check_apart, check_former

if TYPE_CHECKING:
    from sourcepulse.config import Config
    from sourcepulse.outbox.outbox import Outbox

#: Each stream and the prefix of its settings.
STREAMS = ((PUBLIC, ""), (RESTRICTED, "restricted_"))
#: The digest is kept so short that it cannot help to guess a password.
_MARK_BYTES = 2


def places_of(config: Config) -> dict[str, Place]:
    """Return the destination of each stream that has a broker."""
    return {
        stream: Place(url, config.require(f"{prefix}exchange"))
        for stream, prefix in STREAMS
        if (url := config.broker(prefix)) is not None
    }


def keep_apart(outbox: Outbox, places: dict[str, Place]) -> None:
    """Refuse destinations that could make restricted events public; ConfigError says what to change.

    `rebind` does not override this."""
    if RESTRICTED not in places:
        return
    try:
        check_apart(places[PUBLIC], places[RESTRICTED])
        for former in former_places(outbox, PUBLIC):
            check_former(former, places[RESTRICTED])
    except ConfigError as error:
        # A relay started by the hook has no terminal, so `status` shows the error.
        record_failure(outbox, RESTRICTED, error, retry_in=lambda _: 0.0)
        raise


def admit(outbox: Outbox, stream: str, broker: str, *, rebind: bool) -> None:
    """Check that a stream may go to a broker; ConfigError if another one confirmed events and `rebind` is false.

    `Destination.confirmed` binds the stream to it; until then a mistyped broker can be corrected.
    """
    recorded = bound_broker(outbox, stream)
    if recorded == broker:
        return
    if recorded is not None and not rebind:
        text = (
            f"the {stream} events of {outbox.path} go to {recorded}; to send them to {broker} from now on, run "
            f"`sourcepulse outbox rebind --outbox {outbox.path}`, or start the relay with --rebind"
        )
        # A relay started by the hook has no terminal, so `status` shows the error.
        error = ConfigError(text)
        record_failure(outbox, stream, error, retry_in=lambda _: 0.0)
        raise error
    # Before anything is sent, because subscribers there may receive events that are never confirmed.
    remember_place(outbox, stream, broker)
    if recorded is not None:
        bind_broker(outbox, stream, broker)


class Moves:
    """Counts how often any stream moved to another broker; the others then check again whether they may stay."""

    def __init__(self) -> None:
        self.count = 0


class Destination:
    """The destination of one stream; used by one thread, with its own outbox connection."""

    def __init__(self, outbox: Outbox, stream: str, config: Config, moves: Moves) -> None:
        self.stream = stream
        self.place = places_of(config)[stream]
        self._outbox = outbox
        self._config = config
        self._moves = moves
        self._moves_seen = moves.count
        self._tried: object = None
        self._is_bound = False

    def changed(self) -> bool:
        """Return whether settings, certificates or binding changed since the last attempt."""
        return self._tried is not None and self._look() != self._tried

    def stale(self) -> bool:
        """Return whether another stream moved to another broker since the last attempt."""
        return self._moves_seen != self._moves.count

    def mark(self) -> str:
        """Return a digest of the settings, which a later relay can compare with its own."""
        return blake2b(repr(self._look()).encode("utf-8", "replace"), digest_size=_MARK_BYTES).hexdigest()

    def publisher(self) -> Publisher:
        """Return an unopened publisher for the current settings.

        DestinationError if they are wrong, or if the stream may not go there.
        """
        self._tried = self._look()
        self._moves_seen = self._moves.count
        try:
            places = places_of(self._config.again())
            place = places.get(self.stream)
            if place is None:
                raise ConfigError(f"the {self.stream} stream no longer has a broker")
            if str(place) != str(self.place) or self._moves.count:
                keep_apart(self._outbox, places)
                admit(self._outbox, self.stream, str(place), rebind=False)
            publisher = open_publisher(place.url, exchange=place.exchange)
        except ConfigError as error:
            raise DestinationError(str(error)) from error
        if str(place) != str(self.place):
            self._moves.count += 1
            self._moves_seen = self._moves.count
            self._is_bound = False
        self.place = place
        return publisher

    def confirmed(self) -> None:
        """Bind the stream to this place, because the broker confirmed an event."""
        if not self._is_bound:
            if bound_broker(self._outbox, self.stream) != str(self.place):
                bind_broker(self._outbox, self.stream, str(self.place))
            self._is_bound = True

    def _look(self) -> object:
        bound = bound_broker(self._outbox, self.stream)
        try:
            config = self._config.again()
            prefix = dict(STREAMS)[self.stream]
            url = config.broker(prefix)
        except ConfigError as error:
            return str(error), bound
        files = [] if url is None else [url.option(name) for name in ("ca", "cert", "key")]
        return config.text(f"{prefix}broker"), config.text(f"{prefix}exchange"), [*map(_state_of, files)], bound


def _state_of(path: str | None) -> object:
    if path:
        with suppress(OSError):
            status = Path(path).stat()
            return status.st_mtime_ns, status.st_size, status.st_ino
    return None
