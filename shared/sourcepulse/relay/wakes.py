# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Wakes the threads of a relay as soon as there is work: the ear of the socket beside the outbox."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from sourcepulse.wake.listener import Listener
from sourcepulse.wake.pace import Pace
from sourcepulse.wake.send import wake_path

#: How often the outbox is polled while its writers send wakes. A look costs 0.7 ms.
POLL_SECONDS = 1.0
#: The same while they do not, for example because they run an older version.
POLL_UNANNOUNCED_SECONDS = 0.1
#: After a wake, so that a flood of them costs only a part of a core.
PAUSE_SECONDS = 0.002
#: How often the socket is looked after.
CARE_SECONDS = 1.0
#: More announced places than this wait for the next sweep.
PLACES_MAX = 1_000


class Waiter:
    """Where one thread waits for work."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._pace = Pace()

    def wake(self) -> None:
        """End the current wait, or the next one."""
        self._event.set()

    @property
    def poll_seconds(self) -> float:
        """After how long the thread should look, though it was not woken."""
        return POLL_SECONDS if self._pace.is_announced else POLL_UNANNOUNCED_SECONDS

    def wait(self, seconds: float) -> bool:
        """Wait until woken or for `seconds`; return whether it was woken."""
        woken = self._event.wait(seconds)
        # Before the thread looks: a wake that comes while it looks ends the next wait.
        self._event.clear()
        self._pace.waited(woken=woken)
        return woken

    def found_work(self) -> None:
        """Record that the last look found work."""
        self._pace.found_work()


class Wakes:
    """The ear of one relay, and the places whose first copies were announced.

    Its thread runs `listen` until `close`.
    """

    def __init__(self, outbox: Path) -> None:
        self._listener = Listener(Path(wake_path(outbox)), without="the outbox is polled instead")
        self._ended, self._end = socket.socketpair()
        self._is_closing = False
        self._lock = threading.Lock()
        self._places: dict[bytes, None] = {}
        self.streams: list[Waiter] = []
        #: Woken when a place was announced.
        self.places = Waiter()

    def listen(self) -> None:
        """Wake the waiting threads whenever a wake arrives, until closed."""
        while not self._is_closing:
            if self._listener.open():
                # The members of the folder's group write to the outbox, or only to their repositories.
                self._listener.share()
                # What was announced between two sockets is not known.
                self._wake_streams()
            payloads = self._listener.wait(CARE_SECONDS, self._ended)
            if any(not payload for payload in payloads):
                self._wake_streams()
            self._announce([payload for payload in payloads if payload])
            if payloads:
                time.sleep(PAUSE_SECONDS)

    def announced(self) -> list[tuple[str, str]]:
        """Return the kind and location of each place announced since the last call."""
        with self._lock:
            places, self._places = self._places, {}
        found = []
        for place in places:
            kind, _, location = place.partition(b"\0")
            with suppress(UnicodeDecodeError):
                found.append((kind.decode(), location.decode()))
        return found

    def close(self) -> None:
        """End `listen` and every wait."""
        self._is_closing = True
        with suppress(OSError):
            self._end.send(b"1")
        self._wake_streams()
        self.places.wake()

    def release(self) -> None:
        """Remove the socket, once `listen` has ended."""
        self._listener.close()
        self._ended.close()
        self._end.close()

    def _announce(self, places: list[bytes]) -> None:
        if places:
            with self._lock:
                self._places.update(dict.fromkeys(places[: PLACES_MAX - len(self._places)]))
            self.places.wake()

    def _wake_streams(self) -> None:
        for waiter in self.streams:
            waiter.wake()
