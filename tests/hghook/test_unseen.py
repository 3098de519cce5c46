# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an hg without the extension added is found by the next transaction or by an admin, and published once."""

from __future__ import annotations

import pytest

from support.hg.sites import Repository, Site

_WITHOUT = ("--config", "extensions.sourcepulse_hg=!")


def _published(server: Repository) -> list[str]:
    return [one["node"] for event in server.events() for one in event.data["changesets"]]


def _server(site: Site, other: str = "") -> Repository:
    server = site.server(other=f"[extensions]\nstrip =\n{other}")
    server.commit("one")
    return server


def test_the_next_transaction_publishes_what_was_added_without_the_extension(each_site: Site) -> None:
    server = _server(each_site)
    server.commit("two", *_WITHOUT)
    server.commit("three", *_WITHOUT)
    server.commit("four")
    assert _published(server) == server.nodes()
    first, found, last = server.events()
    assert [event.data["recovered"] for event in (first, found, last)] == [False, True, False]
    assert (found.data["count"], found.data["change_set"], found.data["user"]) == (2, None, None)
    server.commit("five")
    assert _published(server) == server.nodes()


def test_an_admin_finds_it_without_a_transaction(each_site: Site) -> None:
    server = _server(each_site)
    server.commit("two", *_WITHOUT)
    assert "1 events collected" in server.hg("sourcepulse-recover").stdout
    assert _published(server) == server.nodes()
    assert server.events()[-1].data["recovered"]
    assert "0 events collected" in server.hg("sourcepulse-recover").stdout
    server.commit("three")
    assert _published(server) == server.nodes()


def test_the_first_transaction_of_the_extension_publishes_no_history(each_site: Site) -> None:
    server = each_site.server()
    server.commit("one", *_WITHOUT)
    server.commit("two")
    assert _published(server) == server.nodes()[1:]


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_strip_hides_nothing_and_repeats_nothing(each_site: Site, is_watched: bool) -> None:
    server = _server(each_site)
    base = server.nodes()[0]
    for name in ("b", "c"):
        server.hg("update", "--rev", base)
        server.commit(name, name=name)
    published = _published(server)
    # The first of two branches goes, the other stays and gets another number.
    server.hg("strip", "--no-backup", "--rev", published[1], *(() if is_watched else _WITHOUT))
    server.commit("d", *_WITHOUT)
    server.commit("e")
    assert _published(server) == [*published, *server.nodes()[2:]]


def test_a_rollback_takes_the_mark_back_as_well(each_site: Site) -> None:
    server = _server(each_site)
    server.commit("two")
    server.hg("rollback", "--force", "--config", "ui.rollback=true")
    server.commit("three", *_WITHOUT)
    server.commit("four")
    assert _published(server)[-2:] == server.nodes()[-2:]
