# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A push with sourcepulse against the same push with what else reports it to others, and against `hg log`.

The peers are Mercurial's own notify, with a mailer that takes everything at once, and a hook that publishes to a
RabbitMQ on this machine with kombu, confirmed, as one would write it first.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.hg_push import SETTLE_SECONDS, Cost, Site, enabled
from bench.stats import AtMost, Figure, row
from support.brokers.rabbitmq import RabbitNode, is_installed

TURNS = 15
SIZES = (1, 100)
#: The most that one event lists; per changeset this is full detail.
DETAILED = 1000
DETAILED_TURNS = 7
LARGEST = 100_000
MEMORY_LIMIT_KIB = 20 * 1024

_NOTIFY = """
[extensions]
notify =
[hooks]
changegroup.notify = python:hgext.notify.hook
[notify]
test = no
sources = serve
[email]
from = hg@example.org
method = /bin/true
[reposubs]
* = reader@example.org
"""

_KOMBU = """
[hooks]
changegroup.kombu = python:{folder}/kombu_hook.py:publish
"""

_KOMBU_HOOK = """
import json
def publish(ui, repo, node=None, **kwargs):
    from hgdemandimport import deactivated
    with deactivated():
        import kombu
    changesets = [
        {{
            "node": ctx.hex().decode(), "author": ctx.user().decode(), "desc": ctx.description().decode(),
            "branch": ctx.branch().decode(), "files": [name.decode() for name in ctx.files()],
        }}
        for ctx in repo.set(b"%s:", node)
    ]
    with kombu.Connection({url!r}, transport_options={{"confirm_publish": True}}) as connection:
        exchange = kombu.Exchange("sourcepulse", "topic", durable=True)
        producer = connection.Producer(exchange=exchange)
        producer.publish(json.dumps(changesets), routing_key="hg.push", delivery_mode=2)
"""

_LOG = (
    "log",
    "--template",
    (
        r"{dict(node, p1node, p2node, author, date, branch, desc, phase,"
        r" files, file_adds, file_mods, file_dels, file_copies)|json}\n"
    ),
)


def peers(folder: Path, node: RabbitNode) -> None:
    """Print how much more a push costs with each peer than with us."""
    site = Site(folder, 2 + TURNS * sum(SIZES), names=("without", "with", "notify", "kombu"))
    site.configure("with", enabled(folder))
    site.configure("notify", _NOTIFY)
    site.configure("kombu", _KOMBU.format(folder=folder))
    (folder / "kombu_hook.py").write_text(_KOMBU_HOOK.format(url=node.url()))
    servers = ("without", "with", "notify", "kombu")
    for server in servers:
        site.push(server, 0)
    time.sleep(SETTLE_SECONDS)
    revision = 0
    for size in SIZES:
        costs: dict[str, list[Cost]] = {server: [] for server in servers}
        for turn in range(TURNS):
            revision += size
            for server in servers if turn % 2 else reversed(servers):
                costs[server].append(site.push(server, revision))
        for server in servers[2:]:
            pairs = list(zip(costs["with"], costs[server], strict=True))
            what = f"push of {size}, {server} / sourcepulse"
            row(f"{what}: CPU of the server", Figure.of([b.server_cpu / a.server_cpu for a, b in pairs]))
            row(f"{what}: wall", Figure.of([b.wall / a.wall for a, b in pairs]))


def per_changeset(folder: Path) -> None:
    """Print what a changeset in full detail costs us, against `hg log` with the same fields."""
    site = Site(folder, 2 + DETAILED * DETAILED_TURNS, names=("probed",))
    site.configure("probed", enabled(folder, probe=site.probe(), keys=f"max_changesets = {DETAILED}"))
    site.push("probed", 0)
    time.sleep(SETTLE_SECONDS)
    revision, ratios, each = 0, [], []
    for _ in range(DETAILED_TURNS):
        first, revision = revision + 1, revision + DETAILED
        _, body = site.probed(revision)
        nothing = site.cpu_of(*_LOG, "--rev", f"{revision}:{revision}", on="probed")
        listed = site.cpu_of(*_LOG, "--rev", f"{first}:{revision}", on="probed") - nothing
        ratios.append(body / listed)
        each.append(1e6 * body / DETAILED)
    row(f"hook, full detail of {DETAILED}, CPU us of a changeset", Figure.of(each))
    row(f"hook, full detail of {DETAILED}, CPU / hg log with the same fields", Figure.of(ratios), AtMost(1))


def largest(folder: Path) -> None:
    """Print what the largest push costs, in CPU and memory."""
    # Each repository takes it once; the first push pays for the client's caches.
    order = ("warm", "without", "with", "with again", "without again")
    # A push without files is the cheapest for Mercurial, so the ratio is the worst.
    site = Site(folder, LARGEST + 1, names=order, with_files=False)
    for server in order:
        if server.startswith("with") and "without" not in server:
            site.configure(server, enabled(folder))
        site.push(server, 0)
    time.sleep(SETTLE_SECONDS)
    cost = {server: site.push(server, LARGEST) for server in order}
    pairs = [(cost["without"], cost["with"]), (cost["without again"], cost["with again"])]
    what = f"push of {LARGEST}"
    row(f"{what}: CPU, with / without, client and server", Figure.of([b.cpu / a.cpu for a, b in pairs]), AtMost(1.02))
    row(f"{what}: CPU ms that the hook adds", Figure.of([1000 * (b.server_cpu - a.server_cpu) for a, b in pairs]))
    added = Figure.of([float(b.server_memory_kib - a.server_memory_kib) for a, b in pairs])
    row(f"{what}: KiB of memory that the hook adds", added, AtMost(MEMORY_LIMIT_KIB))


def main() -> None:
    """Print the table."""
    for measure in (per_changeset, largest):
        with tempfile.TemporaryDirectory(prefix="sourcepulse-bench-") as name:
            measure(Path(name))
    if not is_installed():
        return
    with tempfile.TemporaryDirectory(prefix="sourcepulse-bench-") as name:
        node = RabbitNode(Path(name) / "rabbit")
        try:
            node.start()
            node.declare_exchange("sourcepulse")
            peers(Path(name), node)
        finally:
            node.close()


if __name__ == "__main__":
    main()
