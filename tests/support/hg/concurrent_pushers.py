# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Users who push to one server at the same time, each on a branch of its own, while its processes are killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sourcepulse.outbox.outbox import Outbox
from sourcepulse_hg.pending.collect import collect_repository
from support.hg import kill_at_step
from support.hg.sites import HG_LIMIT_SECONDS, Repository, Site

#: A push has a hundred, the first of a repository half as many more; so some go through.
STEPS = 150
#: Before them it has not begun to look at what came.
FIRST_STEP = 10
#: From the start of a server to after its last hook.
KILL_WINDOW_SECONDS = 0.4
#: Of the kills; the others come at a random instant.
STEP_SHARE = 0.6


@dataclass
class Tally:
    """What happened, for the reader."""

    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> None:
        """Count one more."""
        with self._lock:
            self.counts[what] += 1


class Pusher:
    """One user with a repository of an own branch, whose pushes die as the given chance wills."""

    def __init__(self, site: Site, server: Repository, number: int, *, changesets: int, seed: int) -> None:
        self.name = f"user{number}"
        self._server = server
        self._chance = random.Random(f"{seed}-{number}")
        self._work = site.repository(self.name)
        self._work.hg("debugbuilddag", f"@{self.name} +{changesets}")
        self._nodes = self._work.nodes()
        self._reached = 0
        self._bookmarks: set[str] = set()
        self._pid_file = site.folder / f"{self.name}.pid"
        self._notes = site.folder / f"{self.name}.killed"
        self.tally = Tally()

    def push_and_die(self) -> None:
        """Change something in a random way and push it to a server that is killed, or is not, on its way."""
        arguments = self._change()
        step, delay_s = 0, None
        if self._chance.random() < STEP_SHARE:
            step = self._chance.randint(FIRST_STEP, STEPS)
        else:
            delay_s = self._chance.uniform(0, KILL_WINDOW_SECONDS)
        went_through = self._push(arguments, step=step, delay_s=delay_s)
        self.tally.add("pushed" if went_through else "failed")
        if not went_through:
            self._sweep()
            self._recover()

    def steps_killed(self) -> list[str]:
        """Name the steps before which a server was killed."""
        return self._notes.read_text(encoding="utf-8").splitlines() if self._notes.exists() else []

    def push_all(self) -> None:
        """Bring everything and a last changeset to the server, undisturbed."""
        self._recover()
        self._reached += 1
        bookmarks = [word for name in sorted(self._bookmarks) for word in ("--bookmark", name)]
        assert self._push(["--rev", str(self._reached), *bookmarks], step=0, delay_s=None)

    def _change(self) -> list[str]:
        kind = self._chance.choice(("changesets", "changesets", "bookmark", "bookmark", "no bookmark", "phase"))
        if kind == "bookmark":
            name = f"{self.name}-{self._chance.choice('abc')}"
            target = self._chance.randint(0, self._reached)
            self._work.hg("bookmark", "--force", "--rev", str(target), name)
            self._bookmarks.add(name)
            return ["--rev", str(target), "--bookmark", name]
        if kind == "no bookmark" and self._bookmarks:
            name = self._chance.choice(sorted(self._bookmarks))
            self._bookmarks.discard(name)
            self._work.hg("bookmark", "--delete", name)
            return ["--rev", str(self._reached), "--bookmark", name]
        if kind == "phase":
            self._work.hg("phase", "--public", "--rev", str(self._chance.randint(0, self._reached)))
            return ["--rev", str(self._reached)]
        self._reached = min(self._reached + self._chance.randint(1, 3), len(self._nodes) - 2)
        return ["--rev", str(self._reached)]

    def _push(self, arguments: list[str], *, step: int, delay_s: float | None) -> bool:
        """Push, and return whether that went well, also when the server was killed too late."""
        self._pid_file.unlink(missing_ok=True)
        site = self._work.site
        environ = {"SERVER_PID": str(self._pid_file)}
        if step:
            environ |= {
                "KILL_AT_STEP": str(step),
                "KILL_BELOW": str(self._server.path / ".hg"),
                "KILL_NOTES": str(self._notes),
            }
        ended = threading.Event()
        killer = threading.Thread(target=self._kill_after, args=(delay_s, ended))
        if delay_s is not None:
            killer.start()
        try:
            done = site.hg(
                *("--repository", self._work.path, "push", "--force", *arguments, f"ssh://host/{self._server.path}"),
                check=False,
                env=environ,
            )
        finally:
            ended.set()
            if delay_s is not None:
                killer.join(HG_LIMIT_SECONDS)
        # 1 is nothing to push.
        return done.returncode in (0, 1)

    def _kill_after(self, delay_s: float, ended: threading.Event) -> None:
        deadline = time.monotonic() + HG_LIMIT_SECONDS
        while not ended.is_set() and time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                pid = int(self._pid_file.read_text())
                if not ended.wait(delay_s):
                    os.kill(pid, signal.SIGKILL)
                    self.tally.add("killed at an instant")
                return
            time.sleep(0.005)

    def _sweep(self) -> None:
        """Do what a relay does, which comes by at any time, also while a transaction is abandoned."""
        if self._server.outbox.exists():
            with Outbox.open(self._server.outbox) as outbox:
                collect_repository(str(self._server.path), outbox, deadline_s=HG_LIMIT_SECONDS)

    def _recover(self) -> None:
        """Do what an admin does who finds an abandoned transaction; a living one keeps its lock meanwhile."""
        if not (self._server.path / ".hg" / "store" / "journal").exists():
            return
        done = self._server.hg("recover", check=False)
        if done.returncode == 0:
            self.tally.add("recovered")


def hgrc(extension: str, keys: str) -> str:
    """Return the hgrc of a server that can be killed at a step, with these lines below its first."""
    return (
        f"[extensions]\nkill_at_step = {Path(kill_at_step.__file__)}\n{extension}\n[phases]\npublish = no\n"
        f"[sourcepulse]\nrelay = off\n{keys}\n"
    )


def let_all_push(pushers: list[Pusher], times: int) -> Counter[str]:
    """Make each push `times` times at the same time as the others; raises what one of them raised."""
    failures: list[BaseException] = []

    def run(pusher: Pusher) -> None:
        try:
            for _ in range(times):
                pusher.push_and_die()
        except BaseException as failure:  # noqa: BLE001 - raised below, in the thread of the test
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(pusher,)) for pusher in pushers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    counts: Counter[str] = Counter()
    for pusher in pushers:
        pusher.push_all()
        counts += pusher.tally.counts
        counts["killed at a step"] += len(pusher.steps_killed())
    counts["killed"] = counts["killed at a step"] + counts["killed at an instant"]
    return counts


def bookmarks(repository: Repository) -> dict[str, str]:
    """Return the bookmarks of a repository."""
    lines = repository.hg("bookmarks", "--template", "{bookmark} {node}\n", check=False).stdout.splitlines()
    return dict(line.split() for line in lines if " " in line and "no bookmarks" not in line)


def phases(repository: Repository) -> dict[str, str]:
    """Return the phase of every changeset."""
    lines = repository.hg("log", "--template", "{node} {phase}\n").stdout.splitlines()
    return dict(line.split() for line in lines)
