# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What strip and rollback remove is published once, whenever they die, and what strip adds again is not published."""

from __future__ import annotations

import pytest

from sourcepulse.events.event import event_id
from support.hg.sites import Repository, Site, copy_repository

STRIPPED = "hg.repo.stripped.v1"
_STRIP = "[extensions]\nstrip =\n"
_STRIP_COMMANDS = [["strip", "--no-backup"], ["debugstrip", "--no-backup"]]
_KILL = "kill -9 $PPID"


def _branched(site: Site, other: str = "", keys: str = "") -> tuple[Repository, list[str]]:
    """Return a server with four changesets, and their nodes; 1 and its child 2 can go, 3 is in the way."""
    server = site.server(keys=keys, other=_STRIP)
    work = site.repository("work")
    work.build("+1:base +2 <base +1")
    work.push(server)
    nodes = server.nodes()
    assert len(nodes) == 4
    hgrc = server.path / ".hg" / "hgrc"
    hgrc.write_text(hgrc.read_text(encoding="utf-8") + other, encoding="utf-8")
    return server, nodes


def _drop_hooks(server: Repository) -> None:
    hgrc = server.path / ".hg" / "hgrc"
    hgrc.write_text(hgrc.read_text(encoding="utf-8").partition("[hooks]")[0], encoding="utf-8")


def _types(server: Repository) -> list[str]:
    return [event.type for event in server.every_event()]


@pytest.mark.parametrize("command", _STRIP_COMMANDS, ids=lambda command: command[0])
def test_strip_publishes_what_is_gone_and_nothing_of_what_it_adds_again(each_site: Site, command: list[str]) -> None:
    server, nodes = _branched(each_site)
    server.hg("bookmark", "--rev", "3", "stays")
    before = len(server.every_event())
    server.hg(*command, "--rev", "1")
    assert server.nodes() == [nodes[0], nodes[3]]
    (event,) = server.every_event()[before:]
    assert event.type == STRIPPED
    assert event.data["operation"] == event.data["source"] == "strip"
    assert (event.data["count"], event.data["nodes"]) == (2, nodes[1:3])
    assert event.data["user"] == "localuser"
    assert not event.data["recovered"]
    assert event.id == event_id(event.source, STRIPPED, event.data["change_set"])
    assert server.first_copies() == []


def test_bookmarks_that_strip_moves_are_published_after_what_is_gone(each_site: Site) -> None:
    server, nodes = _branched(each_site)
    server.hg("bookmark", "--rev", "2", "goes")
    before = len(_types(server))
    server.hg("strip", "--no-backup", "--rev", "1")
    assert _types(server)[before:] == [STRIPPED, "hg.bookmark.moved.v1"]
    assert server.event("hg.bookmark.moved.v1").data["bookmarks"] == [
        {"bookmark": "goes", "node": nodes[0], "oldnode": nodes[2]}
    ]


def test_what_no_reader_could_see_is_in_no_list_and_no_count(each_site: Site) -> None:
    server = each_site.server(other=_STRIP)
    server.commit("seen")
    server.commit("also seen")
    server.commit("secret", "--secret")
    seen = server.nodes()[1]
    server.hg("strip", "--no-backup", "--rev", "2")
    assert server.events(of=STRIPPED) == []
    server.commit("secret", "--secret")
    server.hg("strip", "--no-backup", "--rev", "1")
    assert server.event(STRIPPED).data["nodes"] == [seen]
    assert server.event(STRIPPED).data["count"] == 1


def test_amending_without_evolution_publishes_the_old_changeset_as_gone(each_site: Site) -> None:
    server = each_site.server(other="[experimental]\nevolution = no\n")
    server.commit("draft")
    (old,) = server.nodes()
    server.hg("commit", "--amend", "--message", "better")
    assert server.event(STRIPPED).data["nodes"] == [old]
    assert [event.data["first"] for event in server.events()] == [old, *server.nodes()]


def test_without_local_commits_only_what_was_published_is_published_as_gone(each_site: Site) -> None:
    server, nodes = _branched(each_site, keys="commits = no")
    server.hg("update", "--rev", "2")
    server.commit("local")
    server.hg("commit", "--amend", "--message", "better", "--config", "experimental.evolution=no")
    assert server.events(of=STRIPPED) == []
    server.hg("strip", "--no-backup", "--rev", "1")
    assert server.event(STRIPPED).data["nodes"] == nodes[1:3]


def test_more_nodes_than_an_event_lists_are_counted(site: Site) -> None:
    server = site.server(other=_STRIP)
    server.hg("debugbuilddag", "+1200")
    server.hg("strip", "--no-backup", "--rev", "0")
    data = server.event(STRIPPED).data
    assert (data["count"], len(data["nodes"])) == (1200, 1000)
    assert data["truncated"] == [{"field": "/nodes", "kept": 1000, "total": 1200}]


@pytest.mark.parametrize(
    ("hooks", "settled_by"),
    [
        pytest.param(
            f'pretxnclose.kill = test "$HG_TXNNAME" != strip -o -n "$HG_SOURCE" || {_KILL}', "recover", id="truncated"
        ),
        pytest.param(
            f"pretxnopen.kill = test ! -e .hg/sourcepulse/removing || {_KILL}", "commit", id="before-adding-again"
        ),
        pytest.param(f'pretxnclose.kill = test "$HG_SOURCE" != strip || {_KILL}', "commit", id="adding-again"),
        pytest.param(f'pretxnopen.kill = test "$HG_TXNNAME" != repair || {_KILL}', "recover", id="before-repair"),
        pytest.param(f'pretxnclose.kill = test "$HG_TXNNAME" != repair || {_KILL}', "recover", id="in-repair"),
        pytest.param(f'txnclose.kill = test "$HG_TXNNAME" != repair || {_KILL}', "commit", id="afterwards"),
    ],
)
def test_a_strip_that_dies_is_published_with_what_is_really_gone(each_site: Site, hooks: str, settled_by: str) -> None:
    server, nodes = _branched(each_site, f"[hooks]\n{hooks}\n")
    server.hg("bookmark", "--rev", "2", "goes")
    assert server.hg("strip", "--no-backup", "--rev", "1", check=False).returncode != 0
    _drop_hooks(server)
    note = server.path / ".hg" / "sourcepulse" / "removing"
    if (server.path / ".hg" / "store" / "journal").exists():
        if note.exists():
            # It is not known yet what will be there.
            assert server.hg("sourcepulse-recover", check=False).returncode == 1
            assert server.events(of=STRIPPED) == []
        server.hg("recover")
    if settled_by == "recover":
        server.hg("sourcepulse-recover")
    else:
        server.commit("whatever")
    left = server.nodes()
    event = server.event(STRIPPED)
    assert event.data["nodes"] == [node for node in nodes if node not in left]
    assert event.data["nodes"] != []
    # Nothing that is there twice.
    server.hg("sourcepulse-recover")
    server.commit("more")
    assert len(server.events(of=STRIPPED)) == 1
    assert not note.exists()


def test_what_an_interrupted_strip_had_to_add_again_is_published_when_a_user_adds_it(each_site: Site) -> None:
    server, nodes = _branched(each_site, f'[hooks]\npretxnclose.kill = test "$HG_SOURCE" != strip || {_KILL}\n')
    server.hg("strip", "--no-backup", "--rev", "1", check=False)
    _drop_hooks(server)
    server.hg("recover")
    assert server.event(STRIPPED).data["nodes"] == nodes[1:]
    assert server.event(STRIPPED).data["recovered"]
    (bundle,) = (server.path / ".hg" / "strip-backup").glob("*-temp.hg")
    server.hg("unbundle", bundle)
    assert server.nodes() == [nodes[0], nodes[3]]
    assert [event.data["last"] for event in server.events()] == [nodes[3], nodes[3]]


def test_a_strip_that_is_refused_publishes_nothing(each_site: Site) -> None:
    server, nodes = _branched(each_site, '[hooks]\npretxnopen.no = test "$HG_TXNNAME" != strip\n')
    assert server.hg("strip", "--no-backup", "--rev", "1", check=False).returncode != 0
    assert server.nodes() == nodes
    assert server.events(of=STRIPPED) == []


def test_a_copy_of_a_repository_leaves_the_publishing_to_the_original(site: Site) -> None:
    hook = f"[hooks]\npretxnopen.kill = test ! -e .hg/sourcepulse/removing || {_KILL}\n"
    server, _ = _branched(site, hook)
    server.hg("strip", "--no-backup", "--rev", "1", check=False)
    _drop_hooks(server)
    copy = copy_repository(server, "copy")
    copy.hg("sourcepulse-recover", check=False)
    server.hg("sourcepulse-recover")
    assert len(server.events(of=STRIPPED)) == 1
    assert copy.events(of=STRIPPED) == []


@pytest.mark.parametrize("on_error", ["refuse", "lose"])
def test_a_strip_that_cannot_be_noted_is_refused_or_lost_as_configured(site: Site, on_error: str) -> None:
    server, nodes = _branched(site, keys=f"on_error = {on_error}")
    # Nothing can be written to a name that is a folder.
    (server.path / ".hg" / "sourcepulse" / "removing.part").mkdir()
    result = server.hg("strip", "--no-backup", "--rev", "1", check=False)
    lost = server.path / ".hg" / "sourcepulse" / "lost"
    if on_error == "refuse":
        assert result.returncode == 255
        assert "cannot be recorded" in result.stderr
        assert server.nodes() == nodes
        assert not lost.exists()
        assert not (server.path / ".hg" / "store" / "journal").exists()
    else:
        assert result.returncode == 0
        assert server.nodes() == [nodes[0], nodes[3]]
        assert len(lost.read_text(encoding="utf-8").splitlines()) == 1
    assert server.events(of=STRIPPED) == []


def test_rollback_publishes_what_it_undid(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit("one")
    work.push(server)
    work.commit("two")
    work.commit("three")
    work.push(server)
    nodes = work.nodes()
    undone = server.events()[-1].data["change_set"]
    server.hg("rollback", "--dry-run")
    assert server.events(of=STRIPPED) == []
    server.hg("rollback")
    assert server.nodes() == nodes[:1]
    event = server.event(STRIPPED)
    assert (event.data["operation"], event.data["count"], event.data["nodes"]) == ("rollback", 2, nodes[1:])
    assert event.data["change_set"] == undone
    assert event.id == event_id(event.source, STRIPPED, "rollback", undone)
    # What was undone may come again.
    work.push(server)
    assert [event.data["count"] for event in server.events()] == [1, 2, 2]


def test_rollback_of_a_bookmark_names_the_transaction_that_is_undone(each_site: Site) -> None:
    server = each_site.server()
    server.commit()
    server.hg("bookmark", "mark")
    undone = server.event("hg.bookmark.created.v1").data["change_set"]
    server.hg("rollback")
    event = server.event(STRIPPED)
    assert (event.data["count"], event.data["nodes"], event.data["change_set"]) == (0, [], undone)


def test_rollback_of_what_was_never_published_is_not_published(each_site: Site) -> None:
    server = each_site.server(keys="commits = no")
    server.commit("one")
    server.hg("rollback")
    server.commit("two", "--secret")
    server.hg("rollback")
    assert server.every_event() == []
    assert server.nodes() == []


def test_a_rollback_that_mercurial_refuses_publishes_nothing(each_site: Site) -> None:
    server = each_site.server()
    server.commit("one")
    server.commit("two")
    server.hg("update", "--rev", "0")
    assert server.hg("rollback", check=False).returncode == 255
    assert len(server.nodes()) == 2
    assert server.events(of=STRIPPED) == []
    assert not (server.path / ".hg" / "sourcepulse" / "removing").exists()


def test_a_first_copy_that_waits_in_the_store_outlives_the_rollback_of_its_transaction(each_site: Site) -> None:
    server = each_site.server()
    server.commit("one")
    waiting = server.path / ".hg" / "sourcepulse"
    server.commit("two", "--config", "sourcepulse.outbox=/dev/null/none")
    (ready,) = waiting.glob("r-*")
    pending = server.path / ".hg" / "store" / "sourcepulse"
    pending.mkdir()
    ready.rename(pending / ready.name.replace("r-", "p-", 1))
    server.hg("rollback")
    assert [event.data["count"] for event in server.events()] == [1, 1]
    assert server.event(STRIPPED).data["nodes"] == [server.events()[-1].data["last"]]


def test_a_rollback_that_dies_is_published_with_what_is_really_gone(each_site: Site) -> None:
    killer = each_site.folder / "killer.py"
    killer.write_text(
        "import os, signal\n"
        "from mercurial import extensions, localrepo, transaction\n"
        "def extsetup(ui):\n"
        "    def rollback(orig, *args, **kwargs):\n"
        "        orig(*args, **kwargs)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    extensions.wrapfunction(transaction, 'rollback', rollback)\n",
        encoding="utf-8",
    )
    server = each_site.server()
    server.commit("one")
    server.commit("two")
    gone = server.nodes()[1]
    assert server.hg("rollback", "--config", f"extensions.killer={killer}", check=False).returncode == -9
    server.hg("sourcepulse-recover")
    event = server.event(STRIPPED)
    assert event.data["nodes"] == [gone]
    assert event.data["recovered"]
    assert event.data["user"] == "localuser"


def test_a_strip_that_takes_the_working_directory_away_for_a_while_warns_of_nothing(each_site: Site) -> None:
    server = each_site.server(other=f"{_STRIP}[experimental]\nevolution = createmarkers\n")
    server.commit("base")
    # With something to hide Mercurial asks for the parents of the working directory, which pin what it shows.
    for name in ("hidden", "goes", "in the way"):
        server.commit(name)
        if name == "hidden":
            server.hg("debugobsolete", server.nodes()[-1])
        if name != "in the way":
            server.hg("update", "--rev", "0")
    goes = server.nodes()[1]
    result = server.hg("strip", "--no-backup", "--rev", goes)
    assert "unknown working parent" not in result.stdout + result.stderr
    assert server.event(STRIPPED).data["nodes"] == [goes]


def test_a_bookmark_that_strip_moves_has_moved_beside_hidden_changesets_too(each_site: Site) -> None:
    server = each_site.server(other=f"{_STRIP}[experimental]\nevolution = createmarkers, allowunstable\n")
    server.commit("one")
    server.hg("commit", "--amend", "--message", "better", "--config", "experimental.evolution=createmarkers")
    server.commit("two")
    gone = server.nodes("tip")[0]
    server.hg("bookmark", "--inactive", "--rev", "tip", "b1")
    server.hg("strip", "--no-backup", "--rev", "tip")
    moved = server.event("hg.bookmark.moved.v1")
    assert moved.data["bookmarks"] == [{"bookmark": "b1", "node": server.nodes("tip")[0], "oldnode": gone}]
