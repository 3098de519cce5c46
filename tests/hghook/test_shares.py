# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A share's events are published by the repository it shares, also after a crash; a share has no files of ours."""

from __future__ import annotations

from support.hg.everywhere import Everywhere
from support.hg.sites import Repository, Site

_BOOKMARK = "hg.bookmark.created.v1"


def _shared(
    site: Site, *, share_safe: bool, options: tuple[str, ...] = ()
) -> tuple[Everywhere, Repository, Repository]:
    """Return the hg of a user who has the extension, a repository and a share of it."""
    everywhere = Everywhere(site, "share", "strip")
    server, share = Repository(site, site.folder / "server"), Repository(site, site.folder / "share")
    site.hg("init", "--config", f"format.use-share-safe={share_safe}", server.path)
    site.hg("share", "--noupdate", *options, server.path, share.path)
    return everywhere, server, share


def _bookmarks(server: Repository) -> list[str]:
    return [bookmark["bookmark"] for event in server.events(of=_BOOKMARK) for bookmark in event.data["bookmarks"]]


def test_all_that_is_done_in_a_share_is_published_by_the_repository_it_shares(site: Site) -> None:
    everywhere, server, share = _shared(site, share_safe=True, options=("--relative", "--bookmarks"))
    share.commit("in the share")
    share.commit("and stripped")
    everywhere.hg(share, "strip", "--no-backup", "tip")
    everywhere.hg(share, "treestatus", "--close", "why")
    work = site.repository("work")
    work.commit("other")
    assert "the tree is closed: why" in work.push_ssh(server, check=False).stderr
    share.hg("bookmark", "--rev", "0", "everybodys")
    assert everywhere.hg(share, "sourcepulse-recover").stdout.startswith("sourcepulse: 0 events")
    assert [(event.type.split(".", 1)[1], event.subject) for event in server.every_event()] == [
        (name, "server")
        for name in (
            *("repo.created.v1", "push.v1", "branch.created.v1", "head.created.v1", "push.v1", "repo.stripped.v1"),
            *("tree.closed.v1", "tree.refused.v1", "bookmark.created.v1"),
        )
    ]
    assert not (share.path / ".hg" / "sourcepulse").exists()
    # From now on it is a repository of its own.
    everywhere.hg(share, "unshare")
    share.commit("after unshare")
    assert [event.subject for event in share.every_event()] == ["share"] * 2
    assert len(server.events()) == 2


def test_a_bookmark_is_published_if_it_is_one_of_the_repository(each_site: Site) -> None:
    everywhere, server, share = _shared(each_site, share_safe=True)
    server.commit()
    share.hg("bookmark", "--rev", "0", "of the share alone")
    server.hg("bookmark", "--rev", "0", "of the repository")
    assert _bookmarks(server) == ["of the repository"]
    # What a share has for itself is in no pull from the repository.
    assert "share alone" not in everywhere.hg(server, "bookmarks").stdout
    both = Repository(each_site, each_site.folder / "both")
    each_site.hg("share", "--noupdate", "--bookmarks", server.path, both.path)
    both.hg("bookmark", "--rev", "0", "of both")
    assert "of both" in everywhere.hg(server, "bookmarks").stdout
    # Without the extension that shares them they are not shared.
    both.hg("bookmark", "--config", "extensions.share=!", "--rev", "0", "of neither")
    assert "of neither" not in everywhere.hg(server, "bookmarks").stdout
    assert _bookmarks(server) == ["of the repository", "of both"]


def test_a_push_that_dies_in_a_share_is_settled_from_anywhere(site: Site) -> None:
    everywhere, server, share = _shared(site, share_safe=False)
    other = Repository(site, site.folder / "other")
    site.hg("share", "--noupdate", server.path, other.path)
    work = site.repository("work")
    work.build("+2")
    # Before its commit, then after it and before the locks are released.
    work.push(share, "--rev", "0", "--config", "hooks.pretxnclose=kill -9 $PPID", check=False)
    assert (server.path / ".hg" / "store" / "journal").exists()
    everywhere.hg(other, "recover")
    assert server.first_copies() == []
    assert server.every_event() == []
    work.push(share, "--rev", "0", "--config", "hooks.txnclose=kill -9 $PPID", check=False)
    assert server.first_copies() == ["r"]
    everywhere.hg(other, "sourcepulse-recover")
    work.push(share)
    assert [event.data["last"] for event in server.events()] == server.nodes() == work.nodes()
