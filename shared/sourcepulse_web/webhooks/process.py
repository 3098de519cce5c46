# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The process of the sender: its parts by the settings of now, put together again when these change, and its end.

The gateway starts it and holds its stdin, whose end is the end of the gateway, however that ended.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from sourcepulse.cli.common import settings as read_settings
from sourcepulse.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, ConfigError
from sourcepulse.outbox.files import open_shared, try_lock
from sourcepulse.outbox.sqlite_file import PRIVATE_MODE
from sourcepulse_web.process.live_settings import LiveSettings
from sourcepulse_web.webhooks.notices.notices import Notices
from sourcepulse_web.webhooks.place import Place, place_of
from sourcepulse_web.webhooks.post.post import Poster
from sourcepulse_web.webhooks.post.url import may_be_internal
from sourcepulse_web.webhooks.send.sender import Sender
from sourcepulse_web.webhooks.settings import TABLE
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore
from sourcepulse_web.webhooks.visibility import Asker

#: How often the configuration file is looked at, and whether another sender has ended.
LOOK_SECONDS = 1.0
#: An attempt lasts 15 s at most; what has not ended then is ended by force, and its event is POSTed again.
STOP_SECONDS = 19.0
#: Follows the name of the store: one sender at a time.
LOCK_SUFFIX = ".sender"
READ_BYTES = 4_096
#: The number of a process and the end of its line.
NUMBER_MAX_BYTES = 32

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Send until SIGTERM, SIGINT, or with --until-eof the end of stdin; return the exit code."""
    stop = threading.Event()
    signals = _stop_at_signals(stop, until_eof=args.until_eof)
    # What is wrong in the file is logged by the gateway already.
    live = LiveSettings(
        read_settings(args),
        lambda each: place_of(each, os.environ, log=args.log, store=args.file),
        quiet=args.until_eof,
    )
    report = Report(sys.stdout if args.until_eof else None)
    while not stop.is_set():
        place = live()
        with _alone(place.store, stop, report) as is_alone:
            if is_alone:
                serve(place, live, stop, report)
    return EXIT_INTERRUPTED if signal.SIGINT in signals else EXIT_OK


class Report:
    """Lines of JSON for the gateway: what keeps the sender from its work, and events about hooks from the bus.

    `holder` is another process that sends from the store, which this one waits for; "" while it sends itself.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._last: dict[str, str] = {}

    def send(self, problem: str = "", doubt: str = "", *, holder: str = "") -> None:
        """Write a line if something has changed."""
        now = {"problem": problem, "doubt": doubt, "holder": holder}
        if self._stream is not None and now != self._last:
            self._last = now
            # Without a reader, the end of stdin comes as well.
            with suppress(OSError):
                print(json.dumps(now), file=self._stream, flush=True)


def serve(place: Place, live: LiveSettings[Place], stop: threading.Event, report: Report) -> None:
    """Send by these settings, until the end or until they have changed."""
    over = threading.Event()
    with ExitStack() as parts:
        store = parts.enter_context(HookStore(place.store))
        queues = parts.enter_context(closing(HookQueues(place.log, place.exchange, private=place.own_log)))
        notices = parts.enter_context(
            closing(
                Notices(
                    place.outbox,
                    live.config(),
                    broker_file=place.settings.broker_file,
                    is_internal=lambda url: may_be_internal(url, place.settings),
                )
            )
        )
        asker = parts.enter_context(closing(Asker(place.settings.bugzilla_outbox)))
        poster = Poster(place.settings)
        sender = Sender(store, queues, poster, notices, asker, place.settings, time.time)

        def look() -> None:
            try:
                while not over.is_set() and not stop.wait(LOOK_SECONDS) and live() == place:
                    live.look()
                    report.send(sender.problem, notices.problem)
            finally:
                # Also after a fault of ours: the sender is put together again, and so is this.
                over.set()
                queues.interrupt()

        looking = threading.Thread(target=look, name="settings", daemon=True)
        notices.start()
        looking.start()
        try:
            sender.run(over)
        finally:
            over.set()
            looking.join(2 * LOOK_SECONDS)
    if not stop.is_set():
        logger.info("the settings of webhooks have changed, and the sender goes on with them")


def _stop_at_signals(stop: threading.Event, *, until_eof: bool) -> list[int]:
    """Set `stop` at a signal or the end of stdin; return the list to which the signals are added.

    A thread sets it, because a handler may run while the main thread is inside of the event.
    """
    signals: list[int] = []
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    # Python writes the number of each signal that has a handler.
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda *_: None)
    # A terminal sends it to the gateway as well, which ends its sender.
    signal.signal(signal.SIGINT, signal.SIG_IGN if until_eof else lambda *_: None)

    def watch() -> None:
        stdin = sys.stdin.fileno()
        sources = [reader, stdin] if until_eof else [reader]
        while not signals:
            ready, _, _ = select.select(sources, [], [])
            if stdin in ready and not os.read(stdin, READ_BYTES):
                break
            if reader in ready:
                signals.extend(os.read(reader, READ_BYTES))
        stop.set()
        time.sleep(STOP_SECONDS)
        logger.error("the sender did not end within %.0f s; what it has not acknowledged is POSTed again", STOP_SECONDS)
        os._exit(EXIT_FAILURE)

    threading.Thread(target=watch, name="end", daemon=True).start()
    return signals


@contextmanager
def _alone(store: Path, stop: threading.Event, report: Report) -> Iterator[bool]:
    """Hold the right to send from this store, with our number in its lock file; yield False if the end came first."""
    path = store.with_name(store.name + LOCK_SUFFIX)
    try:
        fd = open_shared(path, PRIVATE_MODE, like=store)
    except OSError as error:
        raise ConfigError(
            f"the hook store {store} cannot be used, because {path.name} beside it cannot: {error.strerror}; correct "
            f"`file` in {TABLE}, or the rights of its folder"
        ) from None
    try:
        known = ""
        while not (is_alone := try_lock(fd)) and not stop.wait(LOOK_SECONDS):
            holder = _holder(fd)
            if holder != known:
                logger.info("another sender (%s) serves %s; this one waits until that has ended", holder, store)
            known = holder
            report.send(holder=holder)
        if is_alone:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
            report.send()
        yield is_alone
    finally:
        os.close(fd)


def _holder(fd: int) -> str:
    """Return the process that holds the lock, as it named itself."""
    text = os.pread(fd, NUMBER_MAX_BYTES, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdecimal() else "a process without a number"
