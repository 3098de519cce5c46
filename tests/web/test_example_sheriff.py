# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sheriff of the examples: when it closes a tree and when it opens it, and that real pushes are then refused."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Event, Outbox
from sourcepulse.brokers.file.admin import queue_statistics
from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.wire import decode
from support.brokers.embedded_log import wait_until
from support.fenced_blocks import block
from support.hg.relayed import relaying
from support.hg.sites import PUSH, ROOT, VENV_HG, Repository, Site
from support.web.gateway import EXCHANGE, publish
from support.web.tree_events import Tree

EXAMPLE = ROOT / "shared" / "docs" / "examples" / "sheriff.py"
LINES_MAX = 80
LIMIT_SECONDS = 60.0
REPO = "integration/inbound"
ONE, TWO = "linux64-unit", "win64-unit"


def _module() -> Any:
    spec = spec_from_file_location("sheriff", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class World:
    """A tree, and a sheriff that reads its events."""

    def __init__(self, builders: int = 2) -> None:
        self.tree = Tree(REPO)
        self.sheriff = _module().Sheriff(REPO, builders)

    def reads(self, *events: Event) -> list[str]:
        """Return what the sheriff orders: a reason to close or the empty text to open; the tree then does so."""
        orders = []
        for event in events:
            order = self.sheriff.decide(event)
            if order is not None:
                orders.append(order)
                self.sheriff.decide(self.tree.closed(order) if order else self.tree.opened())
        return orders

    def pushes(self, *descs: str) -> Event:
        push = self.tree.push(*descs)
        assert self.reads(push) == []
        return push

    def builds(self, push: Event, builder: str, *failed: str, outcome: str = "") -> list[str]:
        build = self.tree.build(builder, push)
        outcome = outcome or ("failure" if failed else "success")
        return self.reads(build.started(), *map(build.failed, failed), build.finished(outcome))


@pytest.fixture
def world() -> World:
    """Two builders whose first builds passed, apart from a test that always fails."""
    world = World()
    first = world.pushes("Start")
    assert world.builds(first, ONE, "always.t") == world.builds(first, TWO) == []
    return world


def test_the_example_is_small() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


def test_a_tree_closes_when_enough_builders_fail_on_tests_that_passed(world: World) -> None:
    push = world.pushes("Bug 1234 - handle empty input", "Tidy up, bug 1234 and bug 77")
    assert world.builds(push, ONE, "always.t", "parse.t") == []
    (reason,) = world.builds(push, TWO, "parse.t")
    node = push.data["last"][:12]
    assert reason == f"{ONE}, {TWO} broke: parse.t since {node} by alice, bug 1234, bug 77"
    assert world.builds(push, "mac-unit", "parse.t") == []


def test_a_tree_opens_when_what_broke_passes_again(world: World) -> None:
    push = world.pushes("Bug 1234 - handle empty input")
    world.builds(push, ONE, "always.t", "parse.t")
    world.builds(push, TWO, "parse.t")
    repair = world.pushes("Backed out 1f0c5a2be9d0")
    assert world.builds(repair, ONE, "always.t") == []
    assert world.builds(repair, TWO) == [""]


def test_what_failed_before_and_what_has_no_earlier_build_closes_nothing(world: World) -> None:
    push = world.pushes("Change nothing")
    assert world.builds(push, ONE, "always.t") == []
    assert world.builds(push, "mac-unit", "parse.t") == []
    assert world.builds(push, "mac-jit", "parse.t") == []


def test_older_pushes_other_trees_and_builds_that_did_not_run_change_nothing(world: World) -> None:
    older = world.pushes("Older")
    newer = world.pushes("Newer")
    world.builds(newer, ONE, "always.t")
    world.builds(newer, TWO)
    assert world.builds(older, ONE, "parse.t") == world.builds(older, TWO, "parse.t") == []
    world.builds(newer, ONE, "parse.t")
    assert world.builds(newer, TWO, outcome="failure") == []
    assert world.builds(newer, TWO, "parse.t", outcome="exception") == []
    other = Tree("try").push("Try it")
    assert world.reads(other) == world.builds(other, TWO, "parse.t") == []


def test_what_people_close_stays_closed_and_what_they_open_stays_open(world: World) -> None:
    push = world.pushes("Bug 1234 - handle empty input")
    world.reads(world.tree.closed("planned maintenance"))
    assert world.builds(push, ONE, "parse.t") == world.builds(push, TWO, "parse.t") == []
    repair = world.pushes("Repair")
    assert world.builds(repair, ONE) == world.builds(repair, TWO) == []
    world.reads(world.tree.opened())
    broken = world.pushes("Break it again")
    world.builds(broken, ONE, "parse.t")
    assert len(world.builds(broken, TWO, "parse.t")) == 1
    world.reads(world.tree.opened())
    assert world.builds(world.pushes("Still broken"), TWO, "parse.t") == []


@contextmanager
def _running(site: Site, log: Path, server: Repository) -> Iterator[subprocess.Popen[str]]:
    """Run the command of the page, with the paths of a site."""
    printed = block("shared/docs/examples/README.md: python3 sheriff.py").script
    places = {"/var/lib/sourcepulse/log.db": log, f"/srv/hg/{REPO}": server.path, "sheriff.py": EXAMPLE}
    for place, path in places.items():
        printed = printed.replace(place, str(path))
    _, *arguments = shlex.split(printed)
    environ = {**site.environ, "PATH": f"{VENV_HG.path.parent}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _in(log: Path, prefix: str) -> list[Event]:
    """Return the events of a log whose types begin so."""
    with closing(LogReader(log, EXCHANGE)) as reader:
        rows = [row for row in reader.read(0) if row.type.startswith(prefix)]
    return [decode(row.body, routing_key=row.routing_key) for row in rows]


def test_real_pushes_are_refused_until_the_tests_pass_again(tmp_path: Path) -> None:
    site, log = Site(tmp_path / "site", VENV_HG), tmp_path / "log.db"
    outbox = tmp_path / "outbox.db"
    keys = f"root = {tmp_path / 'site'}\nsource = hg://hg.example.org\noutbox = {outbox}\nrelay = off"
    server, work = site.server(REPO, keys=keys + "\ntree_closed_words = CLOSED TREE"), site.repository("work")
    tree = Tree(REPO)

    def pushes(desc: str) -> Event:
        work.commit(desc)
        work.push(server)
        # A relay sends the events of several sources side by side, so a build could come before its push.
        wait_until(lambda: work.nodes("tip") == [push.data["last"] for push in _in(log, PUSH)][-1:], LIMIT_SECONDS)
        return _in(log, PUSH)[-1]

    def builds(push: Event, *failed: str) -> None:
        for builder in (ONE, TWO):
            build = tree.build(builder, push)
            ended = build.finished("failure" if failed else "success")
            with Outbox.open(outbox) as opened:
                opened.append([*map(build.failed, failed), ended])
                opened.wake_relay()

    publish(log, [])
    with relaying(outbox, log), _running(site, log, server) as sheriff:
        wait_until(lambda: queue_statistics(BrokerUrl.parse(f"file://{log}")), LIMIT_SECONDS)
        builds(pushes("Start"))
        broken = pushes("Bug 1234 - handle empty input")
        builds(broken, "parse.t")
        assert sheriff.stdout is not None
        reason = f"{ONE}, {TWO} broke: parse.t since {broken.data['last'][:12]} by localuser, bug 1234"
        assert sheriff.stdout.readline() == f"hg treestatus --close {reason}\n"
        assert sheriff.stdout.readline().startswith(f"closed: {reason}")
        work.commit("Go on")
        refused = work.push(server, check=False)
        assert f"the tree is closed: {reason}" in refused.stdout + refused.stderr
        builds(pushes("Repair it, CLOSED TREE"))
        assert sheriff.stdout.readline() == "hg treestatus --open\n"
        wait_until(lambda: _in(log, "hg.tree.opened"), LIMIT_SECONDS)
    assert [event.data["reason"] for event in _in(log, "hg.tree.closed")] == [reason]
    work.commit("Go on")
    work.push(server)
