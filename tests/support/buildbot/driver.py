# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Runs inside a Buildbot master under test: does what a test asks for over a UNIX socket, one JSON line each way."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

from buildbot.util.service import BuildbotService
from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

LINE_MOST_BYTES = 64 * 1024 * 1024


class Driver(BuildbotService):
    """Listens at `path` while the master runs."""

    name = "driver"

    def checkConfig(self, *, path: str) -> None:
        """Nothing to check."""

    def reconfigService(self, *, path: str) -> Any:
        """Remember the place."""
        self.path = path
        return defer.succeed(None)

    @defer.inlineCallbacks
    def startService(self) -> Any:
        """Listen when the master is running."""
        yield super().startService()
        if os.path.exists(self.path):
            os.unlink(self.path)
        factory = Factory.forProtocol(_Line)
        factory.driver = self
        self._port = self.master.reactor.listenUNIX(self.path, factory)

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Listen no more."""
        yield self._port.stopListening()
        yield super().stopService()

    async def do(self, what: str, **arguments: Any) -> Any:
        """Do one thing and give what it gave."""
        return await getattr(self, f"do_{what}")(**arguments)

    async def do_request(
        self,
        builders: list[str],
        properties: dict[str, Any] | None = None,
        reason: str = "asked",
        sourcestamps: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> Any:
        """Request builds; gives the buildset and the requests by builder."""
        ids = {name: await self.master.data.updates.findBuilderId(name) for name in builders}
        bsid, requests = await self.master.data.updates.addBuildset(
            waited_for=False,
            scheduler=None,
            sourcestamps=sourcestamps
            or [{"codebase": "", "repository": "", "branch": None, "revision": None, "project": ""} | more],
            reason=reason,
            properties={name: (value, "test") for name, value in (properties or {}).items()},
            builderids=list(ids.values()),
        )
        return {"bsid": bsid, "requests": {name: requests[number] for name, number in ids.items()}}

    async def do_change(self, **arguments: Any) -> Any:
        """Add a change."""
        return await self.master.data.updates.addChange(**arguments)

    async def do_stop_build(self, buildid: int) -> None:
        """Stop a build."""
        await self.master.data.control("stop", {"reason": "the test says so"}, ("builds", buildid))

    async def do_cancel(self, buildrequestid: int) -> None:
        """Cancel a request."""
        await self.master.data.control("cancel", {"reason": "no more"}, ("buildrequests", buildrequestid))

    async def do_rebuild(self, buildid: int) -> None:
        """Build again what a build built."""
        await self.master.data.control("rebuild", {}, ("builds", buildid))

    async def do_pause(self, workerid: int, action: str = "pause") -> None:
        """Pause or unpause a worker."""
        await self.master.data.control(action, {"reason": "a break"}, ("workers", workerid))

    async def do_get(self, path: list[Any]) -> Any:
        """Read from the data API."""
        return await self.master.data.get(tuple(path))

    async def do_reconfig(self) -> None:
        """Read master.cfg again."""
        await self.master.doReconfig()

    async def do_expire(self, folder: str) -> None:
        """Do for the master in a folder what others do when it has not been heard of for ten minutes."""
        for row in await self.master.data.get(("masters",)):
            if row["name"].endswith(folder):
                await self.master.data.updates.masterStopped(name=row["name"], masterid=row["masterid"])

    async def do_call(self, module: str, function: str, **arguments: Any) -> Any:
        """Call a function of the test's own with the master."""
        import importlib

        return await getattr(importlib.import_module(module), function)(self.master, **arguments)


class _Line(LineReceiver):
    delimiter = b"\n"
    MAX_LENGTH = LINE_MOST_BYTES
    factory: Any

    def lineReceived(self, line: bytes) -> None:
        """Answer one question."""
        asked = json.loads(line)
        deferred = defer.ensureDeferred(self.factory.driver.do(**asked))
        deferred.addCallbacks(self._answer, self._fail)

    def _answer(self, result: Any) -> None:
        self.sendLine(json.dumps({"result": result}, default=_plain).encode())

    def _fail(self, failure: Failure) -> None:
        self.sendLine(json.dumps({"error": failure.getTraceback()}).encode())


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else str(value)
