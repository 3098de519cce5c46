# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A change source for Buildbot: changes come from `hg.push` events, so nothing polls the repositories.

Put this file beside master.cfg, and there:

    from change_source import HgPushes
    c["change_source"] = [HgPushes("amqps://reader:password@host/vhost", "reader.builds")]
"""

import threading
from typing import Any

from buildbot.changes.base import ChangeSource
from twisted.internet import defer, threads
from twisted.python import log

from sourcepulse import Consumer

#: How often the thread looks whether the master stops.
LOOK_SECONDS = 1.0


class HgPushes(ChangeSource):
    """Adds every changeset of every push; an event is acknowledged when its changes are stored."""

    def __init__(self, url: str, queue: str) -> None:
        super().__init__(name=f"pushes of {queue}")
        self._consumer = Consumer(url, ["hg.push.#"], queue=queue, durable=True, timeout=LOOK_SECONDS)
        self._stopping = threading.Event()

    def activate(self) -> Any:
        self._ended = threads.deferToThread(self._listen).addErrback(log.err, "no more pushes arrive")
        return defer.succeed(None)

    def deactivate(self) -> Any:
        self._stopping.set()
        return self._ended

    def _listen(self) -> None:
        while not self._stopping.is_set():
            for event in self._consumer:
                for changeset in event.data["changesets"]:
                    threads.blockingCallFromThread(self.master.reactor, self._add, event.data, changeset)

    def _add(self, push: dict[str, Any], changeset: dict[str, Any]) -> Any:
        names = {"author": "author", "comments": "desc", "revision": "node", "branch": "branch"}
        known = {name: changeset[member] for name, member in names.items()} | {"files": changeset["files"] or []}
        place = {"repository": push["repo_url"], "project": push["repo"], "when_timestamp": changeset["date"][0]}
        return self.master.data.updates.addChange(**known, **place, src="hg")
