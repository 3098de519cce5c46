# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A repository is published once, before the first thing that happens in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sourcepulse.events.event import event_id
from support.events.outbox_contents import outbox_events
from support.hg import faults as hg_faults
from support.hg.sites import PUSH, Repository, Site, copy_repository

CREATED = "hg.repo.created.v1"
_STATE = Path(".hg", "sourcepulse", "repository")
_FAULTS = str(Path(hg_faults.__file__))


def _types(repository: Repository) -> list[str]:
    return [event.type for event in repository.every_event() if event.type in (CREATED, PUSH)]


def _state(repository: Repository) -> dict[str, object]:
    content: dict[str, object] = json.loads((repository.path / _STATE).read_text(encoding="utf-8"))
    return content


def test_the_first_push_is_preceded_by_the_repository_and_no_other(each_site: Site) -> None:
    server = each_site.server("some/repo", f"root = {each_site.folder}")
    work = each_site.repository("work")
    for _ in range(2):
        work.commit()
        work.push_ssh(server)
    assert _types(server) == [CREATED, PUSH, PUSH]
    created, push = server.every_event()[:2]
    assert created.id == event_id(created.source, CREATED, str(_state(server)["id"]))
    assert created.routing_key == "hg.repo.created.some.repo"
    assert (created.source, created.subject, created.time) == (push.source, push.subject, push.time)
    assert created.data["change_set"] is None
    for name in ("repo", "repo_url", "user", "source", "url"):
        assert created.data[name] == push.data[name]


def test_without_the_extension_too(site: Site) -> None:
    hook = "python:sourcepulse_hg.changegroup"
    server = site.repository("server", f"[hooks]\nchangegroup.sourcepulse = {hook}\n")
    work = site.repository("work")
    for _ in range(2):
        work.commit()
        work.push(server)
    assert _types(server) == [CREATED, PUSH, PUSH]


def test_a_repository_with_nothing_to_publish_is_not_announced(site: Site) -> None:
    server = site.server()
    server.commit("secret", "--secret")
    assert server.every_event() == []


def test_it_is_announced_once_even_if_the_first_push_was_refused_or_died(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit()
    hgrc = (server.path / ".hg" / "hgrc").read_text(encoding="utf-8")
    server.configure(hgrc + "[hooks]\npretxnclose.no = false\n")
    work.push(server, check=False)
    server.configure(hgrc + f"[extensions]\nfaults = {_FAULTS}\n[faults]\nat = postclose\nhow = exit\n")
    work.push(server, check=False)
    # The first copy is in the store, and no process could note that it is committed.
    assert server.first_copies() == ["p"]
    assert not _state(server)["announced"]
    server.configure(hgrc)
    work.commit()
    work.push(server)
    assert _types(server) == [CREATED, PUSH, PUSH]
    assert _state(server)["announced"]


def test_a_copy_is_another_repository_and_a_restored_backup_is_not(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.commit()
    work.push(server)
    copy = copy_repository(server, "copy")
    (copy.path / ".hg" / "sourcepulse" / "outbox.db").unlink()
    backup = copy_repository(server, "backup")
    work.commit()
    work.push(copy)
    assert _types(copy) == [CREATED, PUSH]
    assert _state(copy)["id"] != _state(server)["id"]
    server.path.rename(site.folder / "broken")
    backup.path.rename(server.path)
    work.push(server)
    assert _types(server) == [CREATED, PUSH, PUSH]
    assert _state(server)["inode"] == os.stat(server.path / ".hg").st_ino


def test_a_clone_is_another_repository(site: Site) -> None:
    server = site.server("server", f"outbox = {site.folder}/outbox.db")
    work = site.repository("work")
    work.commit()
    work.push(server)
    clone = Repository(site, site.folder / "clone")
    site.hg("clone", server.path, clone.path)
    clone.configure((server.path / ".hg" / "hgrc").read_text(encoding="utf-8"))
    work.commit()
    work.push(clone)
    announced = [event.subject for event in outbox_events(site.folder / "outbox.db") if event.type == CREATED]
    assert announced == ["server", "clone"]


def test_a_renamed_repository_is_the_one_it_was(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.commit()
    work.push(server)
    renamed = Repository(site, server.path.rename(site.folder / "renamed"))
    work.commit()
    work.push(renamed)
    assert _types(renamed) == [CREATED, PUSH, PUSH]


def test_a_damaged_note_does_not_refuse_a_push(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.commit()
    work.push(server)
    (server.path / _STATE).write_bytes(b'{"id": "')
    work.commit()
    work.push(server)
    assert _types(server) == [CREATED, PUSH, CREATED, PUSH]


def test_a_note_that_cannot_be_written_does_not_refuse_a_push(site: Site) -> None:
    server = site.server()
    (server.path / ".hg" / "sourcepulse").mkdir()
    (server.path / ".hg" / "sourcepulse" / "repository.part").mkdir()
    work = site.repository("work")
    work.commit()
    work.push(server)
    assert _types(server) == [PUSH]
    (server.path / ".hg" / "sourcepulse" / "repository.part").rmdir()
    work.commit()
    work.push(server)
    assert _types(server) == [PUSH, CREATED, PUSH]


def test_a_rollback_of_everything_does_not_make_it_new(site: Site) -> None:
    server = site.server()
    server.commit()
    server.hg("rollback")
    server.commit()
    assert _types(server) == [CREATED, PUSH, PUSH]
