# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of workers and masters: Buildbot keeps no record of these, so they are published when observed."""

from __future__ import annotations

from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.emitter import Emitter, make_event
from sourcepulse_buildbot.mapping.rows import Row

#: What stands between host and folder in the name that Buildbot gives to a master.
_PATH = ":/"


def worker_event(
    emitter: Emitter,
    state: str,
    *,
    worker: Row,
    masterid: int,
    time: float,
    last_connection: str | None = None,
    recovered: bool = False,
) -> Event:
    """Return the event that a worker is `connected`, `disconnected`, `missing`, `paused` or `unpaused` at a master."""
    return make_event(
        emitter,
        f"build.worker.{state}.v1",
        {
            "workerid": worker["workerid"],
            "name": worker["name"],
            "masterid": masterid,
            "pause_reason": worker.get("pause_reason"),
            "last_connection": last_connection,
            "max_builds": worker.get("max_builds"),
            "paused": bool(worker.get("paused")),
            "graceful": bool(worker.get("graceful")),
        },
        key=[str(worker["workerid"]), str(masterid), str(int(time))],
        subject=f"worker/{worker['name']}",
        time=time,
        words=[worker["name"]],
        recovered=recovered,
    )


def master_event(
    emitter: Emitter, state: str, *, masterid: int, name: str, time: float, recovered: bool = False
) -> Event:
    return make_event(
        emitter,
        f"build.master.{state}.v1",
        {"masterid": masterid, "name": name},
        key=[str(masterid), str(int(time))],
        subject=f"master/{name}",
        time=time,
        words=[name],
        recovered=recovered,
    )


def master_name(name: str) -> str:
    """Return a master's name without its folder: Buildbot's own is `host:/path`, and paths are not published."""
    return name.partition(_PATH)[0] or name
