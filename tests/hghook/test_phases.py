# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Phase changes are published of changesets that were there before and that a pull can see."""

from __future__ import annotations

from typing import Any

from sourcepulse.events.event import event_id
from support.hg.sites import Repository, Site

_CHANGED = "hg.phase.changed.v1"


def _published(server: Repository) -> list[list[tuple[str, str, str]]]:
    for event in server.events(of=_CHANGED):
        assert event.data["count"] >= len(event.data["changes"])
    return [
        [(one["node"], one["oldphase"], one["phase"]) for one in event.data["changes"]]
        for event in server.events(of=_CHANGED)
    ]


def _common(server: Repository) -> dict[str, Any]:
    return dict(server.event(_CHANGED).data)


def test_a_push_that_only_moves_phases_is_published(each_site: Site) -> None:
    server = each_site.server(
        "srv/one", f"root = {each_site.folder}/srv\nsource = hg://host", other="[phases]\npublish = no"
    )
    work = each_site.repository("work")
    work.build("+3")
    work.push_ssh(server)
    assert _published(server) == []
    work.hg("phase", "--public", "--rev", "1")
    work.push_ssh(server, check=False)
    first, second, _ = work.nodes()
    event = server.event(_CHANGED)
    assert event.routing_key == "hg.phase.changed.one"
    assert event.id == event_id("hg://host/one", _CHANGED, event.data["change_set"])
    assert event.data["count"] == 2
    assert _published(server) == [[(first, "draft", "public"), (second, "draft", "public")]]
    assert (event.data["user"], event.data["source"], event.data["url"]) == ("sshuser", "serve", "remote:ssh")
    assert [one.type for one in server.last_transaction()] == [_CHANGED]


def test_an_old_client_moves_phases_in_a_transaction_of_its_own(each_site: Site) -> None:
    server = each_site.server(keys="commits = no")
    work = each_site.repository("work")
    work.build("+2")
    work.push_ssh(server, "--config", "devel.legacy.exchange=bundle1")
    first, second = work.nodes()
    # What is pushed to a publishing repository comes as draft or public, as the client's version has it.
    assert [event.type for event in server.every_event()][:2] == ["hg.repo.created.v1", "hg.push.v1"]
    arrived = {one["node"]: one["phase"] for one in server.event().data["changesets"]}
    changed = {node: (old, new) for event in _published(server) for node, old, new in event}
    assert {node: changed.get(node, (None, phase))[1] for node, phase in arrived.items()} == {
        first: "public",
        second: "public",
    }


def test_new_changesets_are_not_phase_changes(each_site: Site) -> None:
    server = each_site.server()
    server.commit()
    server.commit("secret", "--secret")
    assert _published(server) == []


def test_a_phase_change_to_secret_is_not_published_and_one_back_is(each_site: Site) -> None:
    server = each_site.server()
    server.build("+3")
    first, second, third = server.nodes()
    # Mercurial 6.3 says here that the first changeset became secret, too.
    server.hg("phase", "--force", "--secret", "--rev", "1")
    assert server.nodes("secret()") == [second, third]
    assert _published(server) == []
    server.hg("phase", "--draft", "--rev", "1")
    server.hg("phase", "--public", "--rev", "0")
    server.hg("phase", "--force", "--draft", "--rev", "0")
    assert _published(server) == [
        [(second, "secret", "draft")],
        [(first, "draft", "public")],
        [(first, "public", "draft")],
    ]


def test_of_many_changes_the_first_thousand_are_listed(site: Site) -> None:
    server = site.server()
    server.build("+1200")
    server.hg("phase", "--public", "--rev", "all()")
    data = _common(server)
    assert data["count"] == 1200
    assert data["truncated"] == [{"field": "/changes", "kept": 1000, "total": 1200}]
    assert [change["node"] for change in data["changes"]] == server.nodes()[:1000]


def test_a_changeset_that_is_no_longer_secret_is_published_in_full(each_site: Site) -> None:
    server = each_site.server(other="[phases]\nnew-commit = secret\n")
    server.commit("one")
    server.commit("two")
    assert server.events() == []
    server.hg("phase", "--draft", "--rev", "tip")
    event = server.event()
    assert [(one["node"], one["phase"], one["desc"]) for one in event.data["changesets"]] == [
        (node, "draft", desc) for node, desc in zip(server.nodes(), ("one", "two"), strict=True)
    ]
    assert (event.data["source"], event.data["count"]) == ("phase", 2)
    assert [head["node"] for head in event.data["heads"]] == server.nodes()[1:]
    # What was published is not published again when only a later phase changes, nor when it was secret meanwhile.
    server.hg("phase", "--public", "--rev", "tip")
    server.hg("phase", "--secret", "--force", "--rev", "tip")
    server.hg("phase", "--draft", "--rev", "tip")
    assert len(server.events()) == 1


def test_what_an_aborted_transaction_hid_is_not_kept_as_hidden(each_site: Site) -> None:
    server = each_site.server()
    kept = server.path / ".hg" / "store" / "sourcepulse-vanished"
    refused = ("--config", "hooks.pretxnclose=false")
    for name in ("one", "two"):
        server.commit(name, name=name)
    assert server.hg("phase", "--secret", "--force", "--rev", "0", *refused, check=False).returncode != 0
    assert not kept.exists()
    server.hg("phase", "--secret", "--force", "--rev", "1")
    assert kept.read_bytes().hex() == server.nodes("1")[0]
    assert server.hg("phase", "--secret", "--force", "--rev", "0", *refused, check=False).returncode != 0
    assert kept.read_bytes().hex() == server.nodes("1")[0]
    server.hg("phase", "--draft", "--rev", "1")
    assert [event.data["count"] for event in server.events()] == [1, 1]
