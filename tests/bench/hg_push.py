# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the extension costs a push over ssh-like pipes: CPU and wall time with and without it, in interleaved pairs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stats import AtMost, Figure, row

BIN = Path(sys.executable).parent
HG = str(BIN / "hg")

#: How many pairs for a push of each number of changesets.
PAIRS = {1: 41, 100: 31, 10_000: 5}
#: The relay that the first push starts has come up by then.
SETTLE_SECONDS = 3.0
#: By then its sweep has found that nothing waits.
PROOF_LIMIT_SECONDS = 60.0
HOOK_CPU_MS = 8
#: An idle relay would end after 30 s; the largest pushes take longer than that together.
GOALS = {1: None, 100: AtMost(1.02), 10_000: AtMost(1.02)}

_HGRC = """
[extensions]
sourcepulse_hg =
{probe}
[sourcepulse]
outbox = {folder}/{outbox}
broker = file://{folder}/log.db
{keys}
"""

#: Runs the server and writes the CPU time of its process, as the kernel counted it.
_SSH = """#!{python}
import os, shlex, sys
pid = os.spawnvp(os.P_NOWAIT, {hg!r}, shlex.split(sys.argv[2]))
_, status, usage = os.wait4(pid, 0)
with open({out!r}, "w") as file:
    file.write(f"{{usage.ru_utime + usage.ru_stime}} {{usage.ru_maxrss}}")
sys.exit(os.waitstatus_to_exitcode(status))
"""

#: Writes the CPU time of our imports and of our two entries: in the transaction, and after the locks.
_PROBE = """
import time
def timed(function, spent):
    def call(*args):
        begun = time.process_time()
        try:
            return function(*args)
        finally:
            spent.append(time.process_time() - begun)
    return call
def reposetup(ui, repo):
    import sourcepulse_hg
    from hgdemandimport import deactivated
    def ours(name, _real=sourcepulse_hg._ours, spent=[], wrapped=[]):
        begun = time.process_time()
        with deactivated():
            from sourcepulse_hg.transaction import record
            from sourcepulse_hg.pending import write
            from sourcepulse_hg.gather import changesets
        imported = time.process_time() - begun
        if not wrapped:
            wrapped.append(True)
            record.record = timed(record.record, spent)
            run = timed(write.HandOver.run, spent)
            def run_and_record(self):
                run(self)
                with open({out!r}, "w") as f:
                    f.write("%f %f" % (imported, sum(spent)))
            write.HandOver.run = run_and_record
        return _real(name)
    sourcepulse_hg._ours = ours
"""


@dataclass(frozen=True)
class Cost:
    """What one push took, in seconds; the CPU is that of client and server together."""

    cpu: float
    server_cpu: float
    wall: float
    #: The most that the server ever had.
    server_memory_kib: int


def enabled(folder: Path, *, probe: str = "", keys: str = "", outbox: str = "outbox.db") -> str:
    """Return the hgrc of a server that publishes to a log in this folder."""
    return _HGRC.format(probe=probe, folder=folder, keys=keys, outbox=outbox)


class Site:
    """A client with history, and servers that are configured as their names say."""

    def __init__(self, folder: Path, changesets: int, *, names: Sequence[str], with_files: bool = True) -> None:
        self.folder = folder
        self.environ = {**os.environ, "HGRCPATH": "", "HGPLAIN": "1"}
        self.client = folder / "client"
        self._hg("init", str(self.client))
        if with_files:
            extension = Path(__file__).with_name("history.py")
            self._hg("-R", str(self.client), "--config", f"extensions.h={extension}", "bench-history", str(changesets))
        else:
            self._hg("-R", str(self.client), "debugbuilddag", f"+{changesets}")
        for name in names:
            self._hg("init", str(folder / name))
        self._server_usage = folder / "server.usage"
        (folder / "ssh").write_text(_SSH.format(python=sys.executable, hg=HG, out=str(self._server_usage)))
        (folder / "ssh").chmod(0o755)

    def configure(self, server: str, hgrc: str) -> None:
        """Write the hgrc of a server."""
        (self.folder / server / ".hg" / "hgrc").write_text(hgrc)

    def probe(self) -> str:
        """Make the extension that measures us from inside, and give the line that enables it."""
        (self.folder / "probe.py").write_text(_PROBE.format(out=str(self.folder / "probe.out")))
        return f"probe = {self.folder}/probe.py"

    def push(self, server: str, revision: int) -> Cost:
        started = time.perf_counter()
        process = subprocess.Popen(
            [
                *(HG, "-R", str(self.client), "push", "-q", "-r", str(revision), f"ssh://host/{self.folder / server}"),
                *("--config", f"ui.ssh={self.folder}/ssh", "--config", f"ui.remotecmd={HG}"),
            ],
            env=self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status):
            assert process.stderr is not None
            raise SystemExit(process.stderr.read().decode())
        server_cpu, memory_kib = self._server_usage.read_text().split()
        return Cost(usage.ru_utime + usage.ru_stime, float(server_cpu), wall, int(memory_kib))

    def cpu_of(self, *arguments: str, on: str) -> float:
        """Run hg on a server, give the CPU time."""
        process = subprocess.Popen(
            [HG, "-R", str(self.folder / on), *arguments], env=self.environ, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        return usage.ru_utime + usage.ru_stime

    def probed(self, revision: int) -> tuple[float, float]:
        """Push to the probed server; gives the CPU of imports and of the hook's own body."""
        self.push("probed", revision)
        imported, body = (folder_text := (self.folder / "probe.out").read_text()).split()
        assert folder_text
        return float(imported), float(body)

    def await_relay(self, *servers: str) -> None:
        """Wait until pushes to these servers only wake the relay."""
        deadline = time.monotonic() + PROOF_LIMIT_SECONDS
        while not all((self.folder / server / ".hg" / "sourcepulse" / "relayed").exists() for server in servers):
            assert time.monotonic() < deadline, "no relay collects"
            time.sleep(0.1)

    def _hg(self, *arguments: str) -> None:
        subprocess.run([HG, *arguments], check=True, env=self.environ, stdout=subprocess.DEVNULL)


def main(pairs: dict[int, int] | None = None) -> None:
    """Print the table."""
    pairs = pairs or PAIRS
    with tempfile.TemporaryDirectory(prefix="sourcepulse-bench-") as name:
        changesets = 1 + sum(size * count for size, count in pairs.items()) + pairs[1]
        site = Site(Path(name), changesets, names=("without", "with", "alone", "probed"))
        site.configure("with", enabled(site.folder))
        site.configure("alone", enabled(site.folder, outbox="alone.db", keys="relay = off"))
        site.configure("probed", enabled(site.folder, probe=site.probe()))
        for server in ("without", "with", "alone", "probed"):
            site.push(server, 0)
        site.await_relay("with", "probed")
        _inside(site, pairs[1])
        revision = pairs[1]
        for size, count in pairs.items():
            costs: dict[str, list[Cost]] = {server: [] for server in ("without", "with", "alone")}
            for turn in range(count):
                revision += size
                order = list(costs)
                for server in order if turn % 2 else reversed(order):
                    costs[server].append(site.push(server, revision))
            _compare(f"push of {size}", size, costs["without"], costs["with"])
            if size == 1:
                alone = zip(costs["without"], costs["alone"], strict=True)
                added = Figure.of([1000 * (b.server_cpu - a.server_cpu) for a, b in alone])
                row("push of 1: CPU ms that the hook adds without a relay", added)


def _inside(site: Site, count: int) -> None:
    """Print what a push of one changeset costs, measured inside the server's process."""
    bodies = []
    for revision in range(1, count + 1):
        bodies.append(site.probed(revision))
        for server in ("without", "with", "alone"):
            site.push(server, revision)
    row("hook, imports, CPU ms of a push of 1", Figure.of([1000 * imported for imported, _ in bodies]))
    row("hook, own body, CPU ms of a push of 1", Figure.of([1000 * body for _, body in bodies]))
    row("hook, all in, CPU ms of a push of 1", Figure.of([1000 * sum(both) for both in bodies]), AtMost(HOOK_CPU_MS))


def _compare(what: str, size: int, without: list[Cost], with_: list[Cost]) -> None:
    both = list(zip(without, with_, strict=True))
    added = Figure.of([1000 * (b.server_cpu - a.server_cpu) for a, b in both])
    row(f"{what}: CPU ms that the hook adds to the server", added, AtMost(HOOK_CPU_MS) if size == 1 else None)
    row(f"{what}: CPU, with / without, client and server", Figure.of([b.cpu / a.cpu for a, b in both]), GOALS[size])
    row(f"{what}: CPU, with / without, server", Figure.of([b.server_cpu / a.server_cpu for a, b in both]))
    row(f"{what}: wall, with / without", Figure.of([b.wall / a.wall for a, b in both]))


if __name__ == "__main__":
    main()
