# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Users push at the same time to a server that is killed at any step: its changelog and bookmarks are published."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from sourcepulse.events.event import Event
from support.hg.concurrent_pushers import Pusher, bookmarks, hgrc, let_all_push, phases
from support.hg.sites import PUSH, VENV_HG, Repository, Site, require

USERS = 3
SOAK_KILLS = 1000
#: Repeats a run that failed.
SEED = int(os.environ.get("SOURCEPULSE_SEED", "1"))


def push_with_kills(folder: Path, *, extension: str, keys: str, pushes: int) -> tuple[Repository, Counter[str]]:
    """Make each user push `pushes` times, with kills; return the server, without work left, and what happened."""
    site = Site(folder / "site", require(VENV_HG))
    server = site.repository("server")
    server.configure(hgrc(extension, keys))
    pushers = [Pusher(site, server, number, changesets=3 * pushes, seed=SEED) for number in range(USERS)]
    counts = let_all_push(pushers, pushes)
    counts["changesets"] = len(server.nodes())
    counts["events"] = len(server.every_event())
    # Seen with `pytest -s`, and when a test fails.
    print(f"SOURCEPULSE_SEED={SEED}", dict(counts))
    return server, counts


def assert_pushes_are_those_of_the_changelog(server: Repository) -> None:
    published = [changeset["node"] for event in server.events(of=PUSH) for changeset in event.data["changesets"]]
    assert published == server.nodes(), "each committed changeset is published once, in the order of the commits"


def assert_numbers_have_no_gap(events: list[Event]) -> None:
    numbers = [event.numbers.sequence for event in events if event.numbers is not None]
    assert numbers == list(range(1, len(events) + 1))


def assert_bookmarks_are_those_of_the_repository(server: Repository) -> None:
    now: dict[str, str] = {}
    for event in server.events(of="hg.bookmark."):
        for change in event.data["bookmarks"]:
            assert now.get(change["bookmark"]) == change["oldnode"], "each change begins where the last one ended"
            if change["node"] is None:
                del now[change["bookmark"]]
            else:
                now[change["bookmark"]] = change["node"]
    assert now == bookmarks(server)


def assert_phases_are_those_of_the_repository(server: Repository) -> None:
    now: dict[str, str] = {}
    for event in server.every_event():
        if event.type == PUSH:
            now |= {changeset["node"]: changeset["phase"] for changeset in event.data["changesets"]}
        elif event.type == "hg.phase.changed.v1":
            for change in event.data["changes"]:
                assert now[change["node"]] == change["oldphase"]
                now[change["node"]] = change["phase"]
    assert now == phases(server)


def assert_exact(server: Repository) -> None:
    """Compare all that is published with the repository, which is the truth."""
    events = server.every_event()
    assert server.first_copies() == []
    assert_numbers_have_no_gap(events)
    assert_pushes_are_those_of_the_changelog(server)
    assert_bookmarks_are_those_of_the_repository(server)
    assert_phases_are_those_of_the_repository(server)
    assert len({event.id for event in events}) == len(events)
    branches = [head["branch"] for event in server.events(of="hg.branch.created.v1") for head in event.data["heads"]]
    assert len(branches) == len(set(branches)), "a branch begins once"
    assert len(server.events(of="hg.repo.created.v1")) == 1


def test_what_is_published_is_what_is_committed_wherever_a_process_dies(tmp_path: Path) -> None:
    server, counts = push_with_kills(tmp_path, extension="sourcepulse_hg =", keys="", pushes=5)
    assert_exact(server)
    assert counts["killed"] > USERS


@pytest.mark.soak
def test_the_hook_alone_publishes_each_changeset_once_when_a_push_goes_through(tmp_path: Path) -> None:
    hook = "[hooks]\nchangegroup.sourcepulse = python:sourcepulse_hg.changegroup"
    server, counts = push_with_kills(tmp_path, extension=hook, keys="", pushes=SOAK_KILLS // 10)
    assert_numbers_have_no_gap(server.every_event())
    assert_pushes_are_those_of_the_changelog(server)
    assert server.first_copies() == []
    assert counts["killed"] > SOAK_KILLS // 10
    assert any(event.data["recovered"] for event in server.events())


@pytest.mark.soak
def test_what_is_published_is_what_is_committed_after_a_thousand_kills(tmp_path: Path) -> None:
    # Some servers are done before they are to die, or find an abandoned transaction and end by themselves.
    pushes = SOAK_KILLS * 7 // 4 // USERS
    server, counts = push_with_kills(tmp_path, extension="sourcepulse_hg =", keys="", pushes=pushes)
    assert_exact(server)
    assert counts["killed"] >= SOAK_KILLS
    assert counts["recovered"] > 0
