# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Bookmarks are published as a pull would see them, whatever moved them."""

from __future__ import annotations

from typing import Any

from sourcepulse.events.event import event_id
from support.hg.sites import Repository, Site, serve

_PREFIX = "hg.bookmark."


def _published(server: Repository) -> list[tuple[str, list[tuple[str, str | None, str | None]]]]:
    """Return kind and changes (name, old, new) of each event."""
    return [
        (event.type.split(".")[2], [(one["bookmark"], one["oldnode"], one["node"]) for one in event.data["bookmarks"]])
        for event in server.events(of=_PREFIX)
    ]


def _common(server: Repository, kind: str) -> tuple[Any, Any, Any]:
    data = server.event(f"{_PREFIX}{kind}.v1").data
    return data["user"], data["source"], data["url"]


def test_bookmarks_pushed_over_ssh_are_created_moved_and_deleted(each_site: Site) -> None:
    server = each_site.server("srv/one", f"root = {each_site.folder}/srv\nsource = hg://host")
    work = each_site.repository("work")
    work.commit("first", name="a")
    work.hg("bookmark", "zoë")
    work.hg("bookmark", "--inactive", "abc")
    work.push_ssh(server, "--bookmark", "zoë", "--bookmark", "abc")
    (first,) = work.nodes()
    created = server.event("hg.bookmark.created.v1")
    assert created.routing_key == "hg.bookmark.created.one"
    assert created.id == event_id("hg://host/one", "hg.bookmark.created.v1", created.data["change_set"])
    assert _common(server, "created") == ("sshuser", "serve", "remote:ssh")
    assert [event.type for event in server.last_transaction()][:2] == ["hg.push.v1", "hg.bookmark.created.v1"]
    work.commit("second", name="b")
    work.push_ssh(server, "--bookmark", "zoë")
    second = work.nodes()[1]
    work.hg("bookmark", "--delete", "abc")
    work.push_ssh(server, "--bookmark", "abc", check=False)
    assert _published(server) == [
        ("created", [("abc", None, first), ("zoë", None, first)]),
        ("moved", [("zoë", first, second)]),
        ("deleted", [("abc", first, None)]),
    ]


def test_a_bookmark_pushed_over_http_is_published(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.commit()
    work.hg("bookmark", "here")
    with serve(server) as url:
        work.hg("push", "--bookmark", "here", url)
    assert _common(server, "created") == (None, "serve", "remote:http")


def test_an_old_client_pushes_bookmarks_in_transactions_of_their_own(each_site: Site) -> None:
    # Such a transaction has no source; its name is the only trace.
    server = each_site.server(keys="commits = no")
    work = each_site.repository("work")
    work.commit()
    work.hg("bookmark", "here")
    bundle1 = ("--config", "devel.legacy.exchange=bundle1")
    work.push_ssh(server, "--bookmark", "here", *bundle1)
    (node,) = work.nodes()
    assert _published(server) == [("created", [("here", None, node)])]
    assert _common(server, "created") == ("sshuser", "bookmarks", None)
    assert len(server.events()) == 1


def test_local_commands_and_pulls_move_bookmarks_too(each_site: Site) -> None:
    server, quiet = each_site.server(), each_site.server("quiet", "commits = no")
    upstream = each_site.repository("upstream")
    upstream.commit("theirs", name="theirs")
    upstream.hg("bookmark", "shared")
    for repository in (server, quiet):
        repository.hg("pull", "--bookmark", "shared", upstream.path)
        repository.hg("update", "shared")
        repository.commit("mine", name="mine")
        repository.hg("bookmark", "--rename", "shared", "renamed")
        repository.hg("commit", "--amend", "--message", "amended")
    theirs, amended = server.nodes()
    mine = server.events()[1].data["last"]
    assert _published(quiet) == []
    assert _published(server) == [
        ("created", [("shared", None, theirs)]),
        ("moved", [("shared", theirs, mine)]),
        ("created", [("renamed", None, mine)]),
        ("deleted", [("shared", mine, None)]),
        ("moved", [("renamed", mine, amended)]),
    ]
    assert [event.data["source"] for event in server.events(of=_PREFIX)] == [
        "pull",
        "commit",
        "bookmark",
        "bookmark",
        "amend",
    ]


def test_a_bookmark_is_there_while_its_changeset_is_served(each_site: Site) -> None:
    server = each_site.server()
    server.commit("public", name="a")
    server.commit("secret", "--secret", name="b")
    public, secret = server.nodes()
    server.hg("bookmark", "--rev", "1", "mark")
    server.hg("bookmark", "--rev", "1", "stays secret")
    assert _published(server) == []
    # From a secret one to one that all see, and back.
    server.hg("bookmark", "--force", "--rev", "0", "mark")
    server.hg("bookmark", "--force", "--rev", "1", "mark")
    # The target crosses the border, and the bookmark with it.
    server.hg("phase", "--draft", "--rev", "1")
    server.hg("phase", "--force", "--secret", "--rev", "1")
    assert _published(server) == [
        ("created", [("mark", None, public)]),
        ("deleted", [("mark", public, None)]),
        ("created", [("mark", None, secret), ("stays secret", None, secret)]),
        ("deleted", [("mark", secret, None), ("stays secret", secret, None)]),
    ]
    # Nothing else was said of the secret changeset while it was one.
    assert [event.type for event in server.last_transaction()] == ["hg.bookmark.deleted.v1"]


def test_what_comes_to_nothing_within_a_transaction_is_nothing(site: Site) -> None:
    server = site.server()
    server.commit()
    server.hg("bookmark", "mark")
    server.hg("bookmark", "--force", "--rev", "0", "mark")
    assert [kind for kind, _ in _published(server)] == ["created"]


def test_divergent_bookmarks_are_not_published(each_site: Site) -> None:
    server = each_site.server()
    server.commit()
    server.hg("bookmark", "mark@other")
    server.hg("bookmark", "@")
    (node,) = server.nodes()
    assert _published(server) == [("created", [("@", None, node)])]


def test_strip_moves_the_bookmarks_of_what_it_removes(each_site: Site) -> None:
    server = each_site.server(other="[extensions]\nstrip =")
    server.commit("one", name="a")
    server.commit("two", name="b")
    one, two = server.nodes()
    server.commit("three", "--secret", name="c")
    server.hg("bookmark", "--rev", "1", "seen")
    server.hg("bookmark", "--rev", "2", "unseen")
    server.hg("strip", "--no-backup", "--rev", "1")
    assert _published(server) == [
        ("created", [("seen", None, two)]),
        ("created", [("unseen", None, one)]),
        ("moved", [("seen", two, one)]),
    ]


def test_a_stripped_secret_changeset_stays_unsaid_though_others_are_added_again(each_site: Site) -> None:
    server = each_site.server(other="[extensions]\nstrip =")
    server.commit("base", name="a")
    server.commit("secret", "--secret", name="b")
    server.hg("bookmark", "--rev", "1", "unseen")
    server.hg("update", "--rev", "0")
    server.commit("survivor", name="c")
    base, _, survivor = server.nodes()
    server.hg("strip", "--no-backup", "--rev", "1")
    assert server.nodes() == [base, survivor]
    assert _published(server) == [("created", [("unseen", None, base)])]
    assert len(server.events()) == 2


def test_more_bookmarks_than_an_event_lists_are_counted(site: Site) -> None:
    server = site.server()
    server.commit()
    server.hg("bookmark", *(f"mark{number:04}" for number in range(1200)))
    data = server.event("hg.bookmark.created.v1").data
    assert data["truncated"] == [{"field": "/bookmarks", "kept": 1000, "total": 1200}]
    assert data["bookmarks"][-1]["bookmark"] == "mark0999"


def test_a_bookmark_on_no_changeset_is_none(each_site: Site) -> None:
    server = each_site.server()
    server.hg("bookmark", "--rev", "null", "early")
    server.commit("one")
    server.hg("bookmark", "--force", "--rev", "0", "early")
    created = server.events(of="hg.bookmark.")
    assert [(event.type, event.data["bookmarks"]) for event in created] == [
        ("hg.bookmark.created.v1", [{"bookmark": "early", "node": server.nodes()[0], "oldnode": None}])
    ]
