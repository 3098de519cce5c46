# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a crash swallowed before the `changegroup` hook ran is published with the next push, and nothing twice."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from sourcepulse.errors import SourcePulseError
from sourcepulse.events.event import event_id
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_hg.changegroup_hook import mark
from sourcepulse_hg.pending import collect
from support.hg.sites import HG_LIMIT_SECONDS, PUSH, VENV_HG, Program, Repository, Site, copy_repository

_HOOK = "changegroup.sourcepulse = python:sourcepulse_hg.changegroup"
_KILL = "txnclose.kill = kill -9 $PPID"


def _hook_line(program: Program) -> str:
    if program is VENV_HG:
        return _HOOK
    return f"changegroup.sourcepulse = python:{program.extension}/__init__.py:changegroup"


def _configure(server: Repository, *hooks: str, keys: str = "", other: str = "") -> None:
    lines = "\n".join((_hook_line(server.site.program), *hooks))
    server.configure(f"[hooks]\n{lines}\n[sourcepulse]\n{keys}\n{other}\n")


def _pair(site: Site, **configuration: str) -> tuple[Repository, Repository]:
    """Return a server with the hook that has published one push, and the repository that pushes."""
    server, work = site.repository("server"), site.repository("work")
    _configure(server, **configuration)
    work.commit()
    work.push(server)
    return server, work


def _swallow(work: Repository, server: Repository, count: int = 1, **configuration: str) -> None:
    """Push changesets, and kill the server before its hook."""
    for _ in range(count):
        work.commit()
    _configure(server, _KILL, **configuration)
    work.push(server, check=False)
    _configure(server, **configuration)


def _published(server: Repository) -> list[tuple[bool, list[str]]]:
    return [
        (event.data["recovered"], [changeset["node"] for changeset in event.data["changesets"]])
        for event in server.events()
    ]


def test_the_next_push_publishes_before_itself_what_a_crash_swallowed(each_site: Site) -> None:
    server, work = _pair(each_site)
    _swallow(work, server, 2)
    _swallow(work, server)
    work.commit()
    work.push(server)
    nodes = work.nodes()
    assert server.nodes() == nodes
    assert _published(server) == [(False, nodes[:1]), (True, nodes[1:4]), (False, nodes[4:])]
    found = server.events()[1]
    assert found.id == event_id(found.source, PUSH, "recovered", nodes[1], nodes[3], "3")
    for name in ("user", "source", "url", "change_set"):
        assert found.data[name] is None
    numbers = [event.numbers.sequence for event in server.every_event() if event.numbers]
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_came_with_it_is_published_as_recovered_too(site: Site) -> None:
    server, work = _pair(site)
    work.hg("branch", "stable")
    _swallow(work, server)
    work.commit()
    work.push(server)
    event = server.events(of="hg.branch.created.v1")[-1]
    assert event.data["recovered"]
    assert event.data["heads"] == [{"node": work.nodes()[1], "branch": "stable"}]


def test_what_was_there_before_the_hook_is_not_published(site: Site) -> None:
    server, work = site.repository("server"), site.repository("work")
    work.commit()
    work.push(server)
    _configure(server)
    work.commit()
    work.push(server)
    assert _published(server) == [(False, work.nodes()[1:])]


def test_a_first_copy_that_waits_says_the_mark(site: Site) -> None:
    server, work = _pair(site, keys="outbox = /dev/null/none")
    for _ in range(2):
        work.commit()
        work.push(server)
    assert server.first_copies() == ["r", "r", "r"]
    _swallow(work, server, keys="outbox = /dev/null/none")
    _configure(server)
    work.commit()
    work.push(server)
    nodes = work.nodes()
    assert _published(server) == [
        (False, [nodes[0]]),
        (False, [nodes[1]]),
        (False, [nodes[2]]),
        (True, [nodes[3]]),
        (False, [nodes[4]]),
    ]


def test_a_collector_that_dies_after_the_outbox_has_the_events_does_no_harm(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, work = _pair(site, keys="outbox = /dev/null/none")

    def die(*_: object) -> None:
        raise OSError("died")

    with monkeypatch.context() as patch, Outbox.open(server.outbox) as outbox:
        patch.setattr(mark, "keep_mark", die)
        with pytest.raises(SourcePulseError):
            collect.collect_repository(str(server.path), outbox, deadline_s=10)
    assert len(server.events()) == 1
    assert server.first_copies() == ["r"]
    _configure(server)
    work.commit()
    work.push(server)
    assert _published(server) == [(False, [node]) for node in work.nodes()]


def test_nothing_secret_is_found(site: Site) -> None:
    server, work = _pair(site)
    server.hg("update", "--config", "hooks.changegroup.sourcepulse=")
    server.commit("secret", "--secret")
    work.commit()
    work.push(server)
    assert _published(server) == [(False, [node]) for node in work.nodes()]


@pytest.mark.parametrize("commits", ["yes", "no"])
def test_local_commits_are_found_with_the_next_push_unless_they_are_not_wanted(site: Site, commits: str) -> None:
    server, work = _pair(site, keys=f"commits = {commits}")
    server.hg("update")
    server.commit("local")
    local = server.nodes()[1]
    work.commit()
    work.push(server)
    first, second = work.nodes()
    found = [(True, [local])] if commits == "yes" else []
    assert _published(server) == [(False, [first]), *found, (False, [second])]


def test_what_a_strip_took_leads_to_no_repeat_and_no_loss(each_site: Site) -> None:
    strip = "[extensions]\nstrip ="
    server, work = _pair(each_site, other=strip)
    # The last one that was published goes.
    server.hg("strip", "--no-backup", "--rev", "tip")
    work.push(server)
    first = work.nodes()
    assert _published(server) == [(False, first), (False, first)]
    # Another one than the last goes, and among what is added again is what was swallowed.
    for number in range(2):
        work.hg("update", "--rev", "0")
        work.commit(name=f"other{number}")
    work.push(server)
    _swallow(work, server, other=strip)
    server.hg("strip", "--no-backup", "--rev", "1")
    work.commit()
    work.push(server, "--rev", "tip")
    nodes = work.nodes()
    assert _published(server)[2:] == [(False, nodes[1:3]), (True, nodes[3:4]), (False, nodes[4:])]


def test_the_extension_publishes_everything_and_the_hook_after_it_nothing_of_that_again(site: Site) -> None:
    server, work = _pair(site)
    server.configure("[extensions]\nsourcepulse_hg =\n")
    work.commit()
    work.push(server)
    _configure(server)
    work.commit()
    work.push(server)
    _swallow(work, server)
    work.commit()
    work.push(server)
    nodes = work.nodes()
    assert [nodes for _, nodes in _published(server)] == [[node] for node in nodes]
    assert [recovered for recovered, _ in _published(server)] == [False, False, False, True, False]


def test_a_copy_of_the_repository_finds_nothing_that_waits_in_the_original(site: Site) -> None:
    server, work = _pair(site, keys="outbox = /dev/null/none")
    copy = copy_repository(server, "copy")
    _configure(copy)
    work.commit()
    work.push(copy)
    assert _published(copy) == [(False, work.nodes()[1:])]


def test_a_hook_that_is_overtaken_finds_its_push_published(site: Site) -> None:
    server, work = _pair(site)
    other = site.repository("other")
    other.hg("pull", "--update", server.path)
    go = site.folder / "go"
    wait = f'changegroup.aaa = test -z "$SLOW" || while test ! -e {go}; do sleep 0.02; done'
    _configure(server, wait, "priority.changegroup.aaa = 1")
    work.commit("slow")
    slow = subprocess.Popen(
        [site.program.path, "--repository", work.path, "push", server.path],
        env={**site.environ, "SLOW": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + HG_LIMIT_SECONDS
        while len(server.nodes()) < 2 or (server.path / ".hg" / "store" / "lock").is_symlink():
            assert time.monotonic() < deadline
        other.commit("fast", name="fast")
        other.push(server)
    finally:
        go.touch()
        slow.wait(HG_LIMIT_SECONDS)
    nodes = server.nodes()
    assert _published(server) == [(False, nodes[:1]), (True, nodes[1:2]), (False, nodes[2:])]
    assert server.first_copies() == []


def test_a_damaged_mark_is_none(site: Site) -> None:
    server, work = _pair(site)
    mark = Path(server.path, ".hg", "sourcepulse", "mark")
    assert mark.read_text(encoding="ascii") == f"{work.nodes()[0]}\n"
    assert os.stat(mark).st_mode & 0o777 == os.stat(mark.parent).st_mode & 0o664
    mark.write_bytes(b"\xff")
    work.commit()
    work.push(server)
    assert _published(server) == [(False, [node]) for node in work.nodes()]


_NO_FLOCK = """
import errno, fcntl, os
real = fcntl.flock
def flock(fd, operation):
    if "/.hg/" in os.readlink(f"/proc/self/fd/{fd}"):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    real(fd, operation)
fcntl.flock = flock
"""


@pytest.mark.parametrize("is_extension", [True, False], ids=["extension", "hook"])
def test_a_file_system_without_locks_is_none_of_our_business(site: Site, is_extension: bool) -> None:
    (site.folder / "no_flock.py").write_text(_NO_FLOCK, encoding="utf-8")
    other = f"[extensions]\nno_flock = {site.folder}/no_flock.py"
    server, work = site.repository("server"), site.repository("work")
    _configure(server, keys=f"outbox = {site.folder}/outbox.db", other=other + "\nsourcepulse_hg =" * is_extension)
    for _ in range(2):
        work.commit()
        work.push(server)
    published = [event.data["last"] for event in server.events(site.folder / "outbox.db")]
    assert published == work.nodes()
    assert server.first_copies() == []
    assert (site.folder / "outbox.db.collect.lock").exists()
