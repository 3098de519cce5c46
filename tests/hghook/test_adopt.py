# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Copies and restored backups: what came with them waits until `hg sourcepulse-adopt` decides."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.hg.sites import PUSH, Repository, Site, copy_repository

#: Nothing can be collected, so that first copies wait.
_NO_OUTBOX = "outbox = /dev/null/none"


def _copy_with_first_copies(site: Site) -> tuple[Repository, Repository]:
    """Return the original, where two first copies wait, and its copy."""
    server, work = site.server(keys=_NO_OUTBOX), site.repository("work")
    work.build("+2")
    for revision in ("0", "1"):
        work.push(server, "--rev", revision)
    assert server.first_copies() == ["r", "r"]
    return server, copy_repository(server, "copy")


def _enable(repository: Repository, keys: str = "") -> None:
    repository.configure(f"[extensions]\nsourcepulse_hg = {repository.site.program.extension}\n[sourcepulse]\n{keys}\n")


def test_what_came_with_a_copy_is_shown_and_discarded(each_site: Site) -> None:
    _, copy = _copy_with_first_copies(each_site)
    _enable(copy)
    shown = copy.hg("sourcepulse-adopt", check=False)
    assert shown.returncode == 1
    assert shown.stdout.count(PUSH) == 2
    assert "--discard" in shown.stdout
    assert copy.first_copies() == ["r", "r"]
    assert "2 first copies discarded" in copy.hg("sourcepulse-adopt", "--discard").stdout
    assert copy.first_copies() == []
    assert copy.every_event() == []
    again = copy.hg("sourcepulse-adopt")
    assert "nothing to decide" in again.stdout


def test_a_restored_backup_announces_with_the_same_ids_what_the_original_would_have(site: Site) -> None:
    server, copy = _copy_with_first_copies(site)
    _enable(server)
    _enable(copy)
    server.hg("sourcepulse-recover")
    assert "2 first copies taken over" in copy.hg("sourcepulse-adopt", "--announce").stdout
    assert copy.first_copies() == []
    assert [(event.id, event.source) for event in copy.every_event()] == [
        (event.id, event.source) for event in server.every_event()
    ]
    assert "0 first copies taken over" in copy.hg("sourcepulse-adopt", "--announce").stdout
    # From now on it is a repository like any other; under the old name it is not published as a new one.
    shutil.rmtree(server.path)
    Path(copy.path).rename(server.path)
    work = site.repository("more")
    work.hg("pull", "--update", server.path)
    work.commit()
    work.push(server)
    assert [event.data["last"] for event in server.events()] == server.nodes()
    assert len(server.events(of="hg.repo.created.v1")) == 1


def test_announce_and_discard_exclude_each_other(site: Site) -> None:
    server = site.server()
    refused = server.hg("sourcepulse-adopt", "--announce", "--discard", check=False)
    assert refused.returncode == 10 or refused.returncode == 255
    assert "exclude each other" in refused.stderr


def test_a_repository_that_does_not_publish_says_nothing(site: Site) -> None:
    server, work = site.server(keys="publish = no"), site.repository("work")
    work.commit()
    pushed = work.push(server)
    work.hg("bookmark", "one")
    work.push(server, "--bookmark", "one", check=False)
    server.hg("update")
    server.commit("local")
    assert "sourcepulse" not in pushed.stderr
    assert not (server.path / ".hg" / "sourcepulse").exists()
    assert not (server.path / ".hg" / "store" / "sourcepulse").exists()
    # What is pushed after publishing was enabled is published, and nothing of before.
    _enable(server)
    work.commit()
    work.push(server)
    assert [event.data["count"] for event in server.events()] == [1]
