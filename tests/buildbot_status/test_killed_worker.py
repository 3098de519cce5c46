# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A worker of its own process that is killed in the middle of a build."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from sourcepulse.events.event import Event
from support.buildbot.masters import REPORTER, MakeMaster, Master
from support.buildbot.oracle import assert_exact

CONFIG = (
    REPORTER
    + """
c["protocols"]["pb"] = {{"port": "tcp:{port}:interface=127.0.0.1"}}
c["workers"].append(worker.Worker("far", "pass", keepalive_interval=1, missing_timeout=1, notify_on_missing=[]))
builder("far", "echo one", "sleep 60", workernames=["far"])
"""
)
_WORKER = (sys.executable, "-c", "from buildbot_worker.scripts.runner import run; run()")
LIMIT_SECONDS = 30.0
DISCONNECTED = "build.worker.disconnected.v1"
MISSING = "build.worker.missing.v1"


def _from_when_it_was_gone(master: Master) -> list[Event]:
    events = [event for event in master.events("build.worker.") if event.data["name"] == "far"]
    types = [event.type for event in events]
    return events[types.index(DISCONNECTED) :] if DISCONNECTED in types else []


def test_a_killed_worker_is_published_as_missing_and_its_build_is_a_retry(
    make_master: MakeMaster, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    master = make_master(CONFIG.format(port=port))
    folder = tmp_path / "far"
    subprocess.run(
        [*_WORKER, "create-worker", "-q", folder, f"127.0.0.1:{port}", "far", "pass"], check=True, timeout=LIMIT_SECONDS
    )
    master.start()
    worker = subprocess.Popen(
        [*_WORKER, "start", "--nodaemon", folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        asked = master.request("far")
        master.wait_for(lambda: master.query("SELECT 1 FROM steps WHERE name = 'shell_1'"))
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(LIMIT_SECONDS)
    (finished,) = master.wait_for_events(1, "build.finished")
    assert finished.data["outcome"] == "retry"
    assert finished.data["workername"] == "far"
    # On a busy machine the worker connects more than a second after the master started, and is missing then, too.
    master.wait_for(lambda: MISSING in [event.type for event in _from_when_it_was_gone(master)])
    gone, missing = _from_when_it_was_gone(master)
    assert missing.type == MISSING
    assert missing.data["last_connection"] is not None
    master.do("cancel", buildrequestid=asked["requests"]["far"])
    master.wait_for_events(1, "build.buildset.completed")
    master.stop()
    assert gone.routing_key == "build.worker.disconnected.far"
    assert_exact(master)
    assert not any(event.data["recovered"] for event in master.events())
