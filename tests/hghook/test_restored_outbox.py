# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an outbox lost by a restore is found again in the repository, or consumers see that it may be lost."""

from __future__ import annotations

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from support.hg.sites import PUSH, Repository, Site, copy_repository
from support.in_process import run_command


def _outbox(repository: Repository, action: str, *arguments: str) -> None:
    ran = run_command("outbox", action, *arguments, "--outbox", str(repository.outbox))
    assert ran.returncode == 0, ran.stderr


def _numbers(repository: Repository) -> list[tuple[str, int]]:
    with Outbox.open(repository.outbox) as outbox:
        return [(row["epoch"], row["sequence"]) for row in rows(outbox, Selection()) if row["type"] == PUSH]


def test_pushes_behind_a_backup_of_the_outbox_are_published_again_on_request(site: Site) -> None:
    server = site.server(keys="source = hg://host/repo")
    work = site.repository("work")
    work.commit("first")
    work.push(server)
    backup = str(site.folder / "backup.db")
    _outbox(server, "backup", backup)
    saved = server.events()[-1].data["last"]
    work.commit("second")
    work.push(server)
    _outbox(server, "restore", backup, "--apply")
    # The next push is numbered in a new epoch; what came between is only in the repository.
    work.commit("third")
    work.push(server)
    (first_epoch, _), (second_epoch, _) = _numbers(server)
    assert first_epoch != second_epoch
    wrong = server.hg("sourcepulse-recover", "--after", "nonsense", check=False)
    assert (wrong.returncode != 0, "unknown revision" in wrong.stderr) == (True, True)
    for collected in (True, False):
        said = server.hg("sourcepulse-recover", "--after", saved).stdout
        assert ("0 events collected" in said) == (not collected)
    *_, found = server.events()
    assert [changeset["desc"] for changeset in found.data["changesets"]] == ["second", "third"]
    assert (found.data["recovered"], found.data["user"]) == (True, None)
    assert len(server.events()) == 3


def test_so_are_those_that_the_hook_alone_published(site: Site) -> None:
    settings = "[sourcepulse]\nsource = hg://host/repo\n"
    server = site.repository(
        "server", f"[hooks]\nchangegroup.sourcepulse = python:sourcepulse_hg.changegroup\n{settings}"
    )
    work = site.repository("work")
    work.commit("first")
    work.push(server)
    backup = str(site.folder / "backup.db")
    _outbox(server, "backup", backup)
    saved = server.events()[-1].data["last"]
    work.commit("second")
    work.push(server)
    _outbox(server, "restore", backup, "--apply")
    server.hg("sourcepulse-recover", "--after", saved, "--config", "extensions.sourcepulse_hg=")
    assert [event.data["changesets"][0]["desc"] for event in server.events()] == ["first", "second"]
    # The hook goes on with what is pushed next.
    work.commit("third")
    work.push(server)
    assert [event.data["changesets"][0]["desc"] for event in server.events()][2:] == ["third"]


def test_a_repository_that_is_restored_with_its_outbox_publishes_what_is_pushed_again(site: Site) -> None:
    server = site.server(keys="source = hg://host/repo")
    work = site.repository("work")
    work.commit("first")
    work.push(server)
    backup = copy_repository(server, "backup")
    work.commit("second")
    work.push(server)
    server.path.rename(site.folder / "broken")
    backup.path.rename(server.path)
    # The repository does not have the second either, so it is pushed once more, and its number is not used twice.
    work.push(server)
    assert [event.data["changesets"][0]["desc"] for event in server.events()] == ["first", "second"]
    (first, _), (second, number) = _numbers(server)
    assert (first != second, number) == (True, 1)
