# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Masters in processes of their own, forked from one that has loaded Buildbot, and nothing of ours.

Half of a master's start is the import of a thousand modules. A forked master reads its configuration, its plugins and
its database itself, as `buildbot start --nodaemon` does.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path

#: What a master of the tests loads in the end, none of it from its own configuration.
LOADED = (
    "alembic",
    "buildbot.master",
    "buildbot.mq.simple",
    "buildbot.reporters.mail",
    "buildbot.schedulers.forcesched",
    "buildbot.schedulers.triggerable",
    "buildbot.scripts.runner",
    "buildbot.scripts.start",
    "buildbot.steps.download_secret_to_worker",
    "buildbot.steps.shell",
    "buildbot.steps.source.svn",
    "buildbot.steps.worker",
    "buildbot.worker.local",
    "buildbot.worker.protocols.null",
    "buildbot_worker.bot",
    "buildbot_worker.commands.shell",
    "buildbot_worker.null",
    "jinja2",
    "sqlalchemy.dialects.sqlite",
    "twisted.scripts._twistd_unix",
    "twisted.scripts.twistd",
)


class ForkedMaster:
    """The master in a folder, in a session of its own; a process like those of `subprocess`."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        context: ForkServerContext = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(LOADED))
        self._process = context.Process(target=_run, args=(str(folder), dict(environ)))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code once it ended."""
        return self._process.exitcode

    def wait(self, limit_s: float) -> None:
        """Wait for its end."""
        self._process.join(limit_s)
        if self._process.is_alive():
            raise TimeoutError(f"the master {self.pid} goes on after {limit_s:.0f} s")

    def terminate(self) -> None:
        """End it in good order."""
        os.kill(self.pid, signal.SIGTERM)


def _run(folder: str, environ: dict[str, str]) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.environ.clear()
    os.environ.update(environ)
    # It was made when it was imported, and its descriptors are those of every process that was forked.
    importlib.import_module("twisted.internet.reactor").__init__()
    from buildbot.scripts.runner import run

    sys.argv = ["buildbot", "start", "--nodaemon", folder]
    run()
