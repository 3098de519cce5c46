# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Milliseconds from a commit of hg, an update of a bug and the end of a build to a consumer's callback.

The peer of the push is a hook that publishes with kombu itself, confirmed, to a bare kombu consumer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.bugzilla import is_real
from bench.latency import WAIT_SECONDS, Broker, Reader, brokers, process, show
from support.brokers import rabbitmq
from support.bugzilla.tree import open_tree
from support.buildbot.masters import Master, make_template

PUSHES, UPDATES, BUILDS = 30, 100, 20
#: Before the first that counts: the relay on demand is up, the modules are in the disk's cache.
WARM_UP_PUSHES = 2
#: The relay collects a place itself once it has swept it.
SETTLE_SECONDS = 17.0
UPDATES_PER_SECOND = 5

_HG = str(Path(sys.executable).with_name("hg"))
_TESTS = Path(__file__).parents[1]
_UPDATES = Path(__file__).with_name("latency_updates.pl")

_OURS = """
[extensions]
sourcepulse_hg =
[sourcepulse]
outbox = {folder}/outbox.db
broker = {url}
source = hg://bench
"""
_PEER = """
[hooks]
changegroup.kombu = python:{folder}/kombu_hook.py:publish
"""
_PEER_HOOK = """
import json
def publish(ui, repo, node=None, **kwargs):
    from hgdemandimport import deactivated
    with deactivated():
        import kombu
    with kombu.Connection({url!r}, transport_options={{"confirm_publish": True}}) as connection:
        exchange = kombu.Exchange("sourcepulse", "topic", durable=True)
        body = json.dumps({{"last": repo[b"tip"].hex().decode()}})
        connection.Producer(exchange=exchange).publish(
            body, routing_key="hg.push", content_type="application/json", content_encoding="utf-8", delivery_mode=2
        )
"""
#: Writes when the transaction was committed: its callbacks run before the locks are released and before any hook.
_STAMP = """
import time
def reposetup(ui, repo):
    class Stamped(repo.__class__):
        def transaction(self, *args, **kwargs):
            tr = super().transaction(*args, **kwargs)
            def stamp(tr):
                with open({out!r}, "w") as file:
                    file.write(repr(time.time()))
            tr.addpostclose(b"!!stamp", stamp)
            return tr
    repo.__class__ = Stamped
"""


def pushes(broker: Broker, folder: Path, *, peer: bool = False) -> None:
    """Measure pushes, one after the other, from the commit on the server."""
    stamp = folder / "stamp"
    (folder / "stamp.py").write_text(_STAMP.format(out=str(stamp)), encoding="utf-8")
    (folder / "kombu_hook.py").write_text(_PEER_HOOK.format(url=broker.url), encoding="utf-8")
    environ = {**os.environ, "HGRCPATH": "", "HGUSER": "bench"}

    def hg(*arguments: str) -> str:
        return subprocess.run(
            [_HG, *arguments], env=environ, check=True, capture_output=True, text=True, timeout=WAIT_SECONDS
        ).stdout

    server, client = folder / "server", folder / "client"
    hg("init", str(server))
    hgrc = (_PEER if peer else _OURS).format(
        folder=folder, url=broker.url
    ) + f"[extensions]\nstamp = {folder}/stamp.py\n"
    (server / ".hg" / "hgrc").write_text(hgrc, encoding="utf-8")
    hg("init", str(client))
    hg("debugbuilddag", "-R", str(client), f"+{PUSHES + WARM_UP_PUSHES}")
    nodes = hg("log", "-R", str(client), "-r", "0:", "-T", "{node}\n").split()
    with ExitStack() as stack:
        if not peer:
            stack.enter_context(process("relay", "--outbox", str(folder / "outbox.db"), "--broker", broker.url))
        reader = Reader(
            "kombu" if peer else "ours", broker.url, folder, lambda data: data.get("last"), topic="hg.push.#"
        )
        stack.callback(reader.close)
        sent: dict[object, float] = {}
        for number, node in enumerate(nodes[:-1]):
            hg("push", "-R", str(client), "-r", node, str(server))
            if number >= WARM_UP_PUSHES:
                sent[node] = float(stamp.read_text(encoding="ascii"))
            elif number == WARM_UP_PUSHES - 1 and not peer:
                time.sleep(SETTLE_SECONDS)
        show(f"commit of a push to callback, {'peer: kombu' if peer else broker.name}", reader.milliseconds(sent))


def updates(broker: Broker, folder: Path) -> None:
    """Measure updates of a bug, from the return of `Bugzilla::Bug->update`."""
    tree = open_tree(folder)
    command = ("bugzilla-sidecar", "--bugzilla", str(tree.home), "--outbox", str(folder / "outbox.db"))
    with process(*command, "--broker", broker.url):
        reader = Reader(
            "ours", broker.url, folder, lambda data: data["comment"].get("text"), topic="bugzilla.comment.created.#"
        )
        try:
            # A sidecar is ready when its socket is there.
            deadline = time.monotonic() + WAIT_SECONDS
            while not (tree.home / "data" / "sourcepulse.sock").exists():
                assert time.monotonic() < deadline, "no sidecar"
                time.sleep(0.1)
            done = subprocess.run(
                ["perl", str(_UPDATES), str(tree.home), str(UPDATES), str(1 / UPDATES_PER_SECOND)],
                check=True, capture_output=True, timeout=WAIT_SECONDS,
            )  # fmt: skip
            where = "real" if is_real() else "fake"
            name = f"update of a bug ({where} Bugzilla) to callback, {broker.name}"
            show(name, reader.milliseconds(json.loads(done.stdout)))
        finally:
            reader.close()


def builds(broker: Broker, folder: Path, template: Path) -> None:
    """Measure builds, from the moment at which Buildbot's own bus says that one is finished."""
    stamps = folder / "stamps"
    config = (
        f'c["services"].append(reporters.PulseStatusPush(name="ci", outbox="outbox.db", broker={broker.url!r}))\n'
        "from bench import buildbot_probe\n"
        f'c["services"].append(buildbot_probe.Stamps(path={str(stamps)!r}))\n'
        'builder("b", "true")\n'
    )
    reader = Reader("ours", broker.url, folder, lambda data: data.get("buildid"), topic="build.finished.#")
    master = Master(template, folder / "master", config)
    try:
        master.start()
        for number in range(BUILDS):
            master.build("b", revision=str(number))
        sent: dict[object, float] = {}
        for line in stamps.read_text(encoding="ascii").splitlines():
            buildid, _, at = line.partition(" ")
            sent[int(buildid)] = float(at)
        show(f"end of a build to callback, {broker.name}", reader.milliseconds(sent))
    finally:
        master.close()
        reader.close()


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name, ExitStack() as stack:
        found = stack.enter_context(brokers(Path(name)))
        template = make_template(Path(name) / "template")
        for number, broker in enumerate(found):
            for what in ("pushes", "updates", "builds"):
                folder = Path(name) / f"{number}-{what}"
                folder.mkdir()
                if what == "pushes":
                    pushes(broker, folder)
                elif what == "updates":
                    updates(broker, folder)
                else:
                    builds(broker, folder, template)
        if rabbitmq.is_installed():
            folder = Path(name) / "peer"
            folder.mkdir()
            pushes(found[1], folder, peer=True)


if __name__ == "__main__":
    main()
