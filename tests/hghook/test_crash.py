# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A push that dies at any point leaves an event if and only if it is committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.hg import faults as hg_faults
from support.hg.sites import Repository, Site, copy_repository

_FAULTS = str(Path(hg_faults.__file__))
_VETO = "[hooks]\npretxnclose.veto = false"
_KILL = "kill -9 $PPID"


def _pushed(site: Site, other: str) -> tuple[Repository, Repository]:
    """Return a server with one announced push, then a fault, and the work that was pushed into the fault."""
    server = site.server()
    work = site.repository("work")
    work.build("+2")
    work.push(server, "--rev", "0")
    with (server.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(other)
    work.push(server, check=False)
    site.server("configuration")
    server.configure((site.folder / "configuration" / ".hg" / "hgrc").read_text(encoding="utf-8"))
    return server, work


def _fault(at: str, how: str) -> str:
    return f"[extensions]\nfaults = {_FAULTS}\n[faults]\nat = {at}\nhow = {how}\n"


def _journal(server: Repository) -> bool:
    return (server.path / ".hg" / "store" / "journal").exists()


def _published(server: Repository) -> list[str]:
    return [changeset["node"] for event in server.events() for changeset in event.data["changesets"]]


@pytest.mark.parametrize(
    "other", [_VETO, _fault("validator", "veto"), _fault("finalize", "veto")], ids=["hook", "validator", "finalizer"]
)
def test_a_vetoed_push_leaves_nothing(each_site: Site, other: str) -> None:
    server, work = _pushed(each_site, other)
    assert not _journal(server)
    assert server.first_copies() == []
    assert server.nodes() == _published(server) == work.nodes()[:1]
    assert server.hg("sourcepulse-recover").returncode == 0
    work.push(server)
    assert _published(server) == work.nodes()


@pytest.mark.parametrize(
    "other",
    [
        f"[hooks]\npretxnclose.kill = {_KILL}\n",
        _fault("validator", "kill"),
        _fault("finalize", "exit"),
    ],
    ids=["killed-before-us", "killed-after-us", "exit-in-finalize"],
)
def test_a_push_that_dies_before_its_commit_is_undecided_until_recover_takes_it_back(
    each_site: Site, other: str
) -> None:
    server, work = _pushed(each_site, other)
    assert _journal(server)
    waiting = server.first_copies()
    recover = server.hg("sourcepulse-recover", check=False)
    assert recover.returncode == (1 if waiting else 0)
    assert ("hg recover" in recover.stderr) == bool(waiting)
    assert server.first_copies() == waiting
    assert _published(server) == work.nodes()[:1]
    server.hg("recover")
    assert server.first_copies() == []
    work.push(server)
    assert _published(server) == server.nodes() == work.nodes()
    assert server.first_copies() == []


@pytest.mark.parametrize("how", ["abort-post-finalize", "kill-9-post-finalize"])
def test_a_push_that_readers_saw_but_that_was_never_committed_is_not_published(site: Site, how: str) -> None:
    server, work = _pushed(site, f"[devel]\ndebug.abort-transaction = {how}\n")
    if how.startswith("kill"):
        # Readers see it now, so that a changeset is there proves nothing.
        assert server.nodes() == work.nodes()
        assert server.first_copies() == ["p"]
        assert server.hg("sourcepulse-recover", check=False).returncode == 1
        server.hg("recover")
    assert server.nodes() == _published(server) == work.nodes()[:1]
    assert server.first_copies() == []
    work.push(server)
    assert _published(server) == work.nodes()


@pytest.mark.parametrize(
    ("other", "waiting"),
    [
        (_fault("postclose", "exit"), ["p"]),
        (f"[hooks]\ntxnclose.kill = {_KILL}\n", ["r"]),
        (f"[hooks]\ntxnclose.kill = {_KILL}\nchangegroup.sourcepulse = python:sourcepulse_hg.changegroup\n", ["r"]),
    ],
    ids=["postclose", "txnclose", "with-the-hook-too"],
)
def test_a_push_that_dies_after_its_commit_is_published_by_recover(
    each_site: Site, other: str, waiting: list[str]
) -> None:
    server, work = _pushed(each_site, other)
    assert not _journal(server)
    assert server.first_copies() == waiting
    assert _published(server) == work.nodes()[:1]
    result = server.hg("sourcepulse-recover")
    assert "1 events collected" in result.stdout
    assert _published(server) == server.nodes() == work.nodes()
    assert server.first_copies() == []


def test_the_changegroup_hook_of_another_may_die_without_harm(each_site: Site) -> None:
    server, work = _pushed(each_site, f"[hooks]\nchangegroup.kill = {_KILL}\n")
    assert _published(server) + ["r"] * len(server.first_copies()) in (work.nodes(), [work.nodes()[0], "r"])
    server.hg("sourcepulse-recover")
    assert _published(server) == work.nodes()


def test_the_next_push_brings_what_a_crash_left_in_the_order_of_the_commits(each_site: Site) -> None:
    server, work = _pushed(each_site, _fault("postclose", "exit"))
    work.hg("update", "--rev", "tip")
    work.commit()
    work.push(server)
    assert _published(server) == server.nodes() == work.nodes()
    assert [event.numbers.typesequence for event in server.events() if event.numbers] == [1, 2, 3]


def test_a_copy_of_the_repository_announces_nothing_and_names_what_it_holds_back(each_site: Site) -> None:
    server, work = _pushed(each_site, f"[hooks]\ntxnclose.kill = {_KILL}\n")
    copy = copy_repository(server, "copy")
    (copy.path / ".hg" / "sourcepulse" / "outbox.db").unlink()
    result = copy.hg("sourcepulse-recover", check=False)
    assert result.returncode == 1
    assert str(copy.path) in result.stderr
    assert copy.events() == []
    # What is pushed to the copy itself is published.
    work.hg("update", "--rev", "tip")
    work.commit()
    work.push(copy)
    assert _published(copy) == work.nodes()[2:]
    assert copy.first_copies() == ["r"]
    server.hg("sourcepulse-recover")
    assert _published(server) == work.nodes()[:2]


def test_an_upgrade_of_the_store_loses_nothing(site: Site) -> None:
    server, work = _pushed(site, _fault("postclose", "exit"))
    assert server.first_copies() == ["p"]
    server.hg("debugupgraderepo", "--run", "--optimize", "re-delta-all")
    assert server.first_copies() == []
    assert list((server.path / ".hg").glob("upgradebackup.*/store/sourcepulse/p-*"))
    server.hg("sourcepulse-recover")
    assert _published(server) == work.nodes()
