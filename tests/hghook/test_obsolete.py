# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Obsolescence markers are published, except for those that name a secret changeset."""

from __future__ import annotations

from sourcepulse.events.event import event_id
from support.hg.sites import Repository, Site

_CREATED = "hg.obsolete.created.v1"
_EVOLUTION = "[experimental]\nevolution = createmarkers, exchange, allowunstable\n"


def _pairs(server: Repository) -> list[list[tuple[str, list[str]]]]:
    return [
        [(marker["prednode"], marker["succnodes"]) for marker in event.data["markers"]]
        for event in server.events(of=_CREATED)
    ]


def test_an_amended_changeset_is_published_with_its_marker(each_site: Site) -> None:
    server = each_site.server(
        "srv/one", f"root = {each_site.folder}/srv\nsource = hg://host", other=_EVOLUTION + "[phases]\npublish = no"
    )
    work = each_site.repository("work", _EVOLUTION)
    work.commit()
    work.push_ssh(server)
    (old,) = work.nodes()
    work.hg("commit", "--amend", "--message", "amended", env={"HGUSER": "Zoë <z@example.org>"})
    work.push_ssh(server)
    (new,) = work.nodes()
    event = server.event(_CREATED)
    assert event.routing_key == "hg.obsolete.created.one"
    assert event.id == event_id("hg://host/one", _CREATED, event.data["change_set"])
    assert event.data["count"] == 1
    (marker,) = event.data["markers"]
    assert (marker["prednode"], marker["succnodes"]) == (old, [new])
    assert marker["user"] == "Zoë <z@example.org>"
    assert marker["operation"] == "amend"
    assert marker["date"][0] > 1_500_000_000
    assert [one.type for one in server.last_transaction()] == ["hg.push.v1", "hg.head.created.v1", _CREATED]


def test_a_pruned_changeset_has_no_successor(each_site: Site) -> None:
    server = each_site.server(other=_EVOLUTION)
    server.build("+2")
    first, second = server.nodes()
    server.hg("debugobsolete", second)
    assert _pairs(server) == [[(second, [])]]
    assert server.event(_CREATED).data["markers"][0]["operation"] is None
    # It went, and that is neither a phase change nor a head.
    assert [one.type for one in server.last_transaction()] == [_CREATED]
    assert server.nodes() == [first]


def test_markers_that_name_a_secret_changeset_are_in_no_list_and_no_count(each_site: Site) -> None:
    server = each_site.server(other=_EVOLUTION)
    server.commit("public", name="a")
    server.commit("secret", "--secret", name="b")
    server.hg("commit", "--amend", "--message", "still secret")
    assert server.events(of=_CREATED) == []
    server.hg("update", "--rev", "0")
    server.commit("draft", name="c")
    draft = server.nodes("desc(draft)")[0]
    secret = server.nodes("secret()")[0]
    # Replaced by a secret one, and by one that all see together with one that is nowhere.
    server.hg("debugobsolete", draft, secret)
    assert server.events(of=_CREATED) == []
    unknown = "f" * 40
    server.hg("debugobsolete", unknown, server.nodes()[0])
    assert _pairs(server) == [[(unknown, [server.nodes()[0]])]]


def test_a_marker_whose_bookmark_kept_the_changeset_visible_takes_it_away_with_the_bookmark(each_site: Site) -> None:
    server = each_site.server(other=_EVOLUTION)
    server.build("+2")
    first, second = server.nodes()
    server.hg("bookmark", "--rev", "1", "keep")
    server.hg("debugobsolete", second)
    assert server.nodes() == [first, second]
    server.hg("bookmark", "--delete", "keep")
    assert server.nodes() == [first]
    deleted = server.event("hg.bookmark.deleted.v1").data["bookmarks"]
    assert deleted == [{"bookmark": "keep", "node": None, "oldnode": second}]


def test_a_hidden_changeset_that_can_be_seen_again_is_no_news_nor_is_its_tag(each_site: Site) -> None:
    server = each_site.server(other=_EVOLUTION)
    server.commit("base")
    server.hg("phase", "--draft", "--force", "--rev", "0")
    server.hg("tag", "v1")
    (tagging,) = server.nodes("tip")
    server.hg("update", "--rev", "0")
    server.hg("debugobsolete", tagging)
    server.hg("phase", "--hidden", "--public", "--rev", tagging)
    created = server.events(of="hg.tag.created.v1")
    assert [event.data["tags"][0]["changeset"] for event in created] == [tagging]
    assert server.events(of="hg.tag.deleted.v1") == []
    # It is not a push again, because it was published as one.
    assert [change["node"] for event in server.events() for change in event.data["changesets"]] == server.nodes()


def test_a_changeset_that_came_hidden_is_published_in_full_once_it_can_be_seen(each_site: Site) -> None:
    server = each_site.server(other=f"{_EVOLUTION}[phases]\npublish = no\n")
    work = each_site.repository("work")
    work.commit("base")
    work.push(server)
    work.commit("hidden", name="tagged")
    (node,) = work.nodes("tip")
    server.hg("debugobsolete", node)
    work.push_ssh(server)
    assert len(server.events()) == 1
    server.hg("phase", "--hidden", "--public", "--rev", node)
    published = server.events()[1]
    assert [(one["node"], one["desc"], one["added"]) for one in published.data["changesets"]] == [
        (node, "hidden", ["tagged"])
    ]
    assert published.data["source"] == "phase"


def _pushed(server: Repository) -> list[list[str]]:
    return [[one["node"] for one in event.data["changesets"]] for event in server.events()]


def _parent_that_was_amended(site: Site, server: Repository) -> tuple[str, str]:
    """Amend X as one user and push a child Y of X as another; return X and Y."""
    amends, builds_on = site.repository("amends", _EVOLUTION), site.repository("builds-on", _EVOLUTION)
    amends.commit("root", name="root")
    amends.commit("x")
    amends.push_ssh(server)
    builds_on.hg("pull", server.path)
    builds_on.hg("update", "tip")
    builds_on.commit("y", name="y")
    x, y = builds_on.nodes()[1:]
    return x, y


def test_a_published_changeset_that_an_update_of_the_server_hid_is_no_news(each_site: Site) -> None:
    server = each_site.server(other=_EVOLUTION + "[phases]\npublish = no")
    x, y = _parent_that_was_amended(each_site, server)
    server.hg("update", x)
    amends = Repository(each_site, each_site.folder / "amends")
    amends.hg("commit", "--amend", "--message", "x2")
    amends.push_ssh(server)
    # As the parent of the working directory X stayed visible until here; this is not a transaction.
    server.hg("update", "null")
    Repository(each_site, each_site.folder / "builds-on").push_ssh(server)
    assert _pushed(server)[-1] == [y]
    assert sum(x in nodes for nodes in _pushed(server)) == 1


def test_a_published_changeset_that_a_silent_server_hid_is_no_news(each_site: Site) -> None:
    server = each_site.server(keys="commits = no", other=_EVOLUTION + "[phases]\npublish = no")
    x, y = _parent_that_was_amended(each_site, server)
    server.hg("debugobsolete", x)
    Repository(each_site, each_site.folder / "builds-on").push_ssh(server)
    assert _pushed(server)[-1] == [y]


def test_what_was_hidden_before_there_was_a_record_is_no_news(each_site: Site) -> None:
    server = each_site.server(other=_EVOLUTION + "[phases]\npublish = no")
    x, y = _parent_that_was_amended(each_site, server)
    server.hg("debugobsolete", x)
    # As after an upgrade from a version that kept no record.
    (server.path / ".hg" / "store" / "sourcepulse-vanished").unlink()
    server.commit("another", name="another")
    Repository(each_site, each_site.folder / "builds-on").push_ssh(server)
    assert _pushed(server)[-1] == [y]
