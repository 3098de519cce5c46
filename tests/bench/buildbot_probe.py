# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Runs inside a master that is measured: how long its reactor is held by what hears the bus."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import SUCCESS
from buildbot.util.service import BuildbotService
from twisted.internet import defer

PAUSE_SECONDS = 0.01
BEAT_SECONDS = 0.002
#: Seconds of each call, in this process.
_spent: list[float] = []
#: When the reactor had its turns.
_beats: list[float] = []
#: What the reporter hears in a build, by the first and last word of the key.
KEYS = (
    *(("changes", "new"), ("buildrequests", "new"), ("buildrequests", "complete"), ("buildsets", "complete")),
    *(("builds", "new"), ("builds", "finished"), ("steps", "started"), ("steps", "finished"), ("logs", "finished")),
    *(("test_result_sets", "completed"), ("workers", "connected"), ("masters", "started")),
)


def timed(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a handler whose calls are measured."""

    def call(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return handler(*arguments)
        finally:
            _spent.append(time.perf_counter() - began)

    return call


def probe_reporter() -> None:
    """Measure the handlers of our reporter."""
    from sourcepulse_buildbot.live.observer import Observer

    handlers = Observer.handlers
    Observer.handlers = lambda self: {words: timed(each) for words, each in handlers(self).items()}  # type: ignore[method-assign]


class Idle(BuildbotService):
    """Hears what the reporter hears, and does nothing."""

    name = "idle"

    def checkConfig(self) -> None:
        """Nothing to check."""

    def reconfigService(self) -> Any:
        """Nothing to take."""
        return defer.succeed(None)

    @defer.inlineCallbacks
    def startService(self) -> Any:
        """Hear."""
        yield super().startService()
        for first, last in KEYS:
            yield self.master.mq.startConsuming(timed(lambda _, __: None), (first, None, last))


async def measured(_: Any) -> dict[str, Any]:
    """Return what was measured since the last time, and the CPU seconds of the master so far."""
    spent, _spent[:] = list(_spent), []
    return {"spent": spent, "cpu": time.process_time()}


async def beat(master: Any) -> None:
    """Note from now on when the reactor has its turn."""

    def turn() -> None:
        _beats.append(time.perf_counter())
        master.reactor.callLater(BEAT_SECONDS, turn)

    turn()


async def longest_beat(_: Any) -> float:
    """Return the longest time between two turns of the reactor since the last call, in seconds."""
    beats, _beats[:] = list(_beats), []
    return max((after - before for before, after in pairwise(beats)), default=0.0)


class AddResults(BuildStep):
    """Stores so many results as any step of Buildbot does."""

    name = "results"

    def __init__(self, results: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._results = results

    @defer.inlineCallbacks
    def run(self) -> Any:
        """Store them."""
        setid = yield self.addTestResultSet("tests", "pass_fail", "boolean")
        for number in range(self._results):
            self.addTestResult(setid, "1", test_name=f"test_something[{number}]", test_code_path="tests/test_a.py")
        return SUCCESS


async def feed(master: Any, steps: int) -> float:
    """Send on the bus that `steps` steps of a running build ended, as fast as the reporter takes it.

    Returns the seconds until all are stored.
    """
    (build,) = [build for builder in master.botmaster.builders.values() for build in builder.building]
    row = await master.data.get(("steps", build.executedSteps[0].stepid))
    began = time.perf_counter()
    for number in range(steps):
        message = dict(
            row, stepid=1_000_000 + number, number=number, complete=True, complete_at=row["started_at"], results=0
        )
        master.mq.produce(("steps", str(message["stepid"]), "finished"), message)
        if number % 50 == 0:
            # A reactor that never gets its turn would be no master.
            await _turn(master.reactor)
    reporter = master.service_manager.namedServices["ci"]
    while reporter._pipeline._writer.waiting:
        # Without a pause the reactor would keep the writer's thread from working.
        await _turn(master.reactor, PAUSE_SECONDS)
    return time.perf_counter() - began


def _turn(reactor: Any, wait_s: float = 0.0) -> defer.Deferred[None]:
    turn: defer.Deferred[None] = defer.Deferred()
    reactor.callLater(wait_s, turn.callback, None)
    return turn


async def serve_api(master: Any) -> int:
    """Serve /api/v2 as a master with a web interface does; returns the port."""
    from buildbot.www.rest import RestRootResource
    from buildbot.www.service import BuildbotSite
    from twisted.web.resource import Resource

    root = Resource()
    root.putChild(b"api", RestRootResource(master))
    site = BuildbotSite(root, None, 0, 0)
    site.sessionFactory = None
    site.master = master
    site.setSessionSecret("bench")
    port: int = master.reactor.listenTCP(0, site, interface="127.0.0.1").getHost().port
    return port


async def threads_cpu(_: Any) -> dict[str, float]:
    """Return the CPU seconds of our threads so far, by name, and those of the whole master."""
    spent = {
        thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.name.startswith("sourcepulse-") and thread.ident is not None
    }
    return {**spent, "master": time.process_time()}


class Stamps(BuildbotService):
    """Writes the id of each finished build and when the bus said so into a file."""

    name = "stamps"

    def checkConfig(self, path: str) -> None:
        """Nothing to check."""

    def reconfigService(self, path: str) -> Any:
        self._path = path
        return defer.succeed(None)

    @defer.inlineCallbacks
    def startService(self) -> Any:
        yield super().startService()
        yield self.master.mq.startConsuming(self._stamp, ("builds", None, "finished"))

    def _stamp(self, _key: Any, build: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="ascii") as file:
            file.write(f"{build['buildid']} {time.time()}\n")
