# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which workers and masters are present: Buildbot keeps no record of when they come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sourcepulse.events.event import format_time
from sourcepulse_buildbot.mapping.rows import Row
from sourcepulse_buildbot.mapping.workers import master_event, master_name, worker_event
from sourcepulse_buildbot.writer import Fact

CONNECTED, DISCONNECTED, STARTED, STOPPED = "connected", "disconnected", "started", "stopped"
_PAUSED, _UNPAUSED = "paused", "unpaused"
_STATE_UPDATED = "state_updated"
#: How Buildbot writes the last connection of a missing worker: in local time, as ctime(3) does.
_CTIME = "%a %b %d %H:%M:%S %Y"


class Presence:
    """The last published state of this master and its workers; `state` is kept with the mark for the next start."""

    def __init__(self, masterid: int, *, all_masters: bool, name: str | None, changed: Callable[[], None]) -> None:
        self._masterid = masterid
        #: Messages of other masters reach us only if they were sent here, on behalf of a master that died.
        self._all_masters = all_masters
        self._name = name
        #: Called when the state changes, so that it survives if the master is killed.
        self.changed = changed
        self._master = STOPPED
        self._published_name = ""
        self._connected: dict[int, str] = {}
        self._paused: set[int] = set()

    @property
    def state(self) -> dict[str, Any]:
        """The state that the next start compares with, as JSON."""
        return {
            "master": self._master,
            "name": self._published_name,
            "workers": {str(key): name for key, name in self._connected.items()},
        }

    def at_the_end(self) -> dict[str, Any]:
        """Return the state for the next start when messages are no longer received.

        If the master continues without the reporter, its later changes are not recorded anywhere.
        """
        return self.state if self._master == STOPPED else {}

    def after_a_stop(self, state: Mapping[str, Any], time: float) -> Iterator[Fact]:
        """Yield what was not published when the master ended: its workers are gone, and it may have been killed."""
        for workerid, name in (state.get("workers") or {}).items():
            worker = {"workerid": int(workerid), "name": name}
            yield partial(
                worker_event, state=DISCONNECTED, worker=worker, masterid=self._masterid, time=time, recovered=True
            )
        if state.get("master") == STARTED and state.get("name"):
            yield partial(
                master_event, state=STOPPED, masterid=self._masterid, name=state["name"], time=time, recovered=True
            )

    def worker(self, state: str, worker: Row, time: float) -> Iterator[Fact]:
        """Yield the change of a worker's state; an update is an event only if the worker was paused or unpaused."""
        workerid = worker["workerid"]
        paused = bool(worker.get("paused"))
        if state == CONNECTED:
            self._connected[workerid] = worker["name"]
        elif state == DISCONNECTED:
            self._connected.pop(workerid, None)
        if state != _STATE_UPDATED:
            last = _last_connection(worker.get("last_connection"))
            yield partial(
                worker_event, state=state, worker=worker, masterid=self._masterid, time=time, last_connection=last
            )
        if paused != (workerid in self._paused):
            (self._paused.add if paused else self._paused.discard)(workerid)
            state = _PAUSED if paused else _UNPAUSED
            yield partial(worker_event, state=state, worker=worker, masterid=self._masterid, time=time)
        self.changed()

    def master(self, state: str, master: Row, time: float) -> Iterator[Fact]:
        """Yield the start or stop of a master: this one, or one that died and that this one reports for."""
        if master["masterid"] == self._masterid:
            name = self._name or master_name(master["name"])
            self._master, self._published_name = state, name
        elif self._all_masters:
            name = master_name(master["name"])
        else:
            return
        yield partial(master_event, state=state, masterid=master["masterid"], name=name, time=time)
        self.changed()


def _last_connection(text: Any) -> str | None:
    if not isinstance(text, str):
        return None
    try:
        return format_time(datetime.strptime(text, _CTIME).astimezone().timestamp())
    except ValueError:
        return None
