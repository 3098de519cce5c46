# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The streams alone in a process of their own, on the gateway's site, with a view and a channel to look at.

`python -m support.web.stream_server LOG PORT [CLIENTS_MAX]`; it prints its port when it listens, and ends when
its input does.
A row is viewed as its position, and the channel `board` counts the events of a routing key; for the key ODD both fail.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.task import LoopingCall

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.file.reader import LogReader, Row
from sourcepulse.brokers.file.tables import LogFile
from sourcepulse_web.process.gateway import allow_connections
from sourcepulse_web.server import site
from sourcepulse_web.services import Services
from sourcepulse_web.settings import WebSettings
from sourcepulse_web.stream.clients import members
from sourcepulse_web.stream.frames import as_json
from sourcepulse_web.stream.hub import Hub

KEEP_ALIVE_SECONDS = 2
IDLE_SECONDS = 1.5
PATTERNS_MAX = 120
ORIGIN = "https://tree.example.org"
#: While this file is beside the log, the broker is away.
AWAY_NAME = "away"
#: While this file is beside the log, the channel has not read all of it.
LEFT_NAME = "left"

#: For events of this key the view and the channel have a fault.
ODD = "hg.push.odd"


class Counter:
    """A channel: how many events of a key there are in a stretch of the log."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._left = log.path.parent / LEFT_NAME

    def is_level(self) -> bool:
        return not self._left.exists()

    def frames(self, name: str, after: int, until: int) -> list[bytes]:
        rows = [row for row in self._log.read(after, limit=10_000) if row.position <= until and row.routing_key == name]
        if rows and name == ODD:
            raise OverflowError("an odd event")
        return [as_json({"key": name, "count": len(rows), "after": after, "until": until})] if rows else []


def look(row: Row) -> bytes | None:
    """View a row."""
    if row.routing_key == ODD:
        raise OverflowError("an odd event")
    return None if row.routing_key.endswith("unseen") else as_json({"position": row.position, "key": row.routing_key})


def main(log_path: Path, port: int, clients_max: int) -> None:
    """Serve until the input ends."""
    # A test cannot wait for the usual 15 s or 60 s, nor open hundreds of streams.
    members.KEEP_ALIVE_SECONDS = KEEP_ALIVE_SECONDS
    site.IDLE_SECONDS = IDLE_SECONDS
    members.PATTERNS_MAX = PATTERNS_MAX
    reactor: Any = the_reactor
    LogFile(log_path).close()
    log = LogReader(log_path, DEFAULT_EXCHANGE)
    away = log_path.parent / AWAY_NAME
    hub = Hub(
        log,
        clock=time.time,
        reactor=reactor,
        views={"rows": look},
        channels={"board": Counter(log)},
        away=lambda: "it was stopped" if away.exists() else None,
    )
    settings = WebSettings(clients_max=clients_max, origins=(ORIGIN,))
    services = Services(settings=lambda: settings, log=log, hub=hub, board=None, clock=time.time, version="test")
    allow_connections(clients_max)
    hub.start()
    follow = LoopingCall(hub.levelled)
    follow.start(0.1)
    listening = reactor.listenTCP(port, site.GatewaySite(services), interface="127.0.0.1", backlog=4096)

    def end() -> None:
        listening.stopListening()
        hub.stop("shutdown").addBoth(lambda _: reactor.stop())

    def wait() -> None:
        sys.stdin.read()
        reactor.callFromThread(end)

    threading.Thread(target=wait, daemon=True).start()
    print(listening.getHost().port, flush=True)
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5_000)
