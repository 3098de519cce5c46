# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""New branches, heads that a branch gained, and closed heads, whatever Mercurial's caches hold."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from sourcepulse.events.event import event_id
from support.hg.sites import Repository, Site

_NEW_BRANCH = "hg.branch.created.v1"
_NEW_HEAD = "hg.head.created.v1"
_CLOSED = "hg.head.closed.v1"


def _heads(server: Repository) -> dict[str, list[tuple[str, str]]]:
    """Return the heads (node, branch) in the events of the last published transaction, by type."""
    return {
        event.type: [(head["node"], head["branch"]) for head in event.data["heads"]]
        for event in server.last_transaction()
        if event.type in (_NEW_BRANCH, _NEW_HEAD, _CLOSED)
    }


def _commit_on(repository: Repository, revision: str, branch: str | None = None, *options: str) -> str:
    repository.hg("update", "--rev", revision)
    if branch is not None:
        repository.hg("branch", "--force", branch)
    repository.commit("change", *options, name=f"file{len(repository.nodes())}")
    return repository.nodes("tip")[0]


def test_branches_and_heads_over_their_lives(each_site: Site) -> None:
    server = each_site.server("srv/one", f"root = {each_site.folder}/srv\nsource = hg://host")
    work = each_site.repository("work")
    work.commit(name="base")
    (base,) = work.nodes()
    work.push_ssh(server)
    event = server.event(_NEW_BRANCH)
    assert event.routing_key == "hg.branch.created.one"
    assert event.id == event_id("hg://host/one", _NEW_BRANCH, event.data["change_set"])
    assert _heads(server) == {_NEW_BRANCH: [(base, "default")], _NEW_HEAD: [(base, "default")]}
    # What follows a head is not a new one.
    following = _commit_on(work, base)
    work.push_ssh(server)
    assert _heads(server) == {}
    second = _commit_on(work, base)
    work.push_ssh(server)
    assert _heads(server) == {_NEW_HEAD: [(second, "default")]}
    stable = _commit_on(work, following, "stable")
    work.push_ssh(server)
    assert _heads(server) == {_NEW_BRANCH: [(stable, "stable")], _NEW_HEAD: [(stable, "stable")]}
    # `following` is still the head of its branch, though another one goes on from there.
    merged = _commit_on(work, stable, "default")
    work.push_ssh(server)
    assert _heads(server) == {}
    closed = _commit_on(work, stable, None, "--close-branch")
    work.push_ssh(server)
    assert _heads(server) == {_CLOSED: [(closed, "stable")]}
    # A closed head is one: to go on from there opens it again, and it is none more.
    reopened = _commit_on(work, closed)
    work.push_ssh(server)
    assert _heads(server) == {}
    # The branch is there already, by another line.
    another = _commit_on(work, merged, "stable")
    work.push_ssh(server)
    assert _heads(server) == {_NEW_HEAD: [(another, "stable")]}
    assert sorted(work.nodes("head()")) == sorted([second, merged, reopened, another])


def test_only_the_branch_that_stays_a_head_is_closed(each_site: Site) -> None:
    server = each_site.server()
    server.commit(name="base")
    work = each_site.repository("work")
    work.hg("pull", server.path)
    work.hg("update")
    _commit_on(work, "0", "feature")
    _commit_on(work, "tip", None, "--close-branch")
    open_again = _commit_on(work, "tip")
    work.push(server)
    assert _heads(server) == {_NEW_BRANCH: [(open_again, "feature")], _NEW_HEAD: [(open_again, "feature")]}


def test_amending_gives_the_branch_another_head(each_site: Site) -> None:
    server = each_site.server()
    server.build("+2")
    _commit_on(server, "tip")
    server.hg("commit", "--amend", "--message", "amended", "--config", "experimental.evolution=createmarkers")
    assert _heads(server) == {_NEW_HEAD: [(server.nodes("tip")[0], "default")]}


def test_a_branch_is_there_once_a_pull_can_see_it(each_site: Site) -> None:
    server = each_site.server()
    server.commit(name="base")
    secret = _commit_on(server, "0", "hush", "--secret")
    assert len(server.events(of=_NEW_BRANCH)) == 1
    server.hg("phase", "--draft", "--rev", secret)
    assert _heads(server) == {_NEW_BRANCH: [(secret, "hush")], _NEW_HEAD: [(secret, "hush")]}
    assert [event.data["source"] for event in server.events()] == ["commit", "phase"]
    # One more secret head, and one that all see on the branch that is secret to them by now.
    server.hg("phase", "--force", "--secret", "--rev", secret)
    public = _commit_on(server, "0", "hush")
    assert _heads(server) == {_NEW_BRANCH: [(public, "hush")], _NEW_HEAD: [(public, "hush")]}


def test_a_branch_name_that_is_not_utf8_is_published(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit(name="base")
    extension = each_site.folder / "rawbytes.py"
    extension.write_text(
        "from mercurial import encoding\ndef uisetup(ui):\n    encoding.fromlocal = lambda text: text\n"
    )
    (work.path / ".hg" / "branch").write_bytes(b"caf\xe9\n")
    work.commit("raw", "--config", f"extensions.rawbytes={extension}", name="raw")
    work.push(server)
    names = [head["branch"] for head in server.event(_NEW_BRANCH).data["heads"]]
    push = server.event().data
    assert "default" not in names or len(names) == 2
    assert [changeset["branch"] for changeset in push["changesets"]][1] in names


def test_many_heads_are_counted(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.build("+1:base " + "<base +1 " * 1100)
    work.push(server)
    data = server.event(_NEW_HEAD).data
    assert data["truncated"] == [{"field": "/heads", "kept": 1000, "total": 1100}]
    assert [head["node"] for head in data["heads"]] == work.nodes("head()")[:1000]


@pytest.mark.parametrize("caches", ["kept", "gone", "no-rev-branch-cache"])
def test_new_branches_are_those_of_hg_branches(each_site: Site, caches: str) -> None:
    """Push a repository of many branches in random pieces; what Mercurial lists before and after is the oracle."""
    chance = random.Random(f"{caches} {each_site.program.name}")
    server = each_site.server()
    work = each_site.repository("work")
    parts = ["@default", "+2:t0"]
    for number in range(1, 60):
        parts += [f"<t{chance.randrange(number)}", f"@{chance.choice(['default', 'a', 'b', f'n{number}'])}"]
        parts += [f"+{chance.randint(1, 2)}:t{number}"]
    work.build(" ".join(parts))
    graph = _Graph(work)
    done = 0
    published = 0
    while done < len(graph.nodes):
        before = graph.branch_heads(done)
        done = min(len(graph.nodes), done + chance.randint(5, 30))
        work.push(server, "--rev", f"0:{done - 1}")
        assert server.nodes() == graph.nodes[:done]
        after = graph.branch_heads(done)
        heads = _heads(server)
        of_new = [head for branch in after.keys() - before.keys() for head in after[branch]]
        gained = [
            head
            for branch in after
            for head in after[branch] - before.get(branch, set())
            if not graph.ancestors(head) & before.get(branch, set())
        ]
        assert heads.get(_NEW_BRANCH, []) == [(graph.nodes[head], graph.branches[head]) for head in sorted(of_new)]
        assert heads.get(_NEW_HEAD, []) == [(graph.nodes[head], graph.branches[head]) for head in sorted(gained)]
        published += len(of_new)
        _spoil(server.path / ".hg" / "cache", caches)
    assert published > 5


class _Graph:
    """All of a repository, looked at as a whole."""

    def __init__(self, repository: Repository) -> None:
        template = "{node} {p1.rev} {p2.rev} {branch}\n"
        lines = repository.hg("log", "--rev", "0:", "--template", template).stdout.splitlines()
        fields = [line.split() for line in lines]
        self.nodes = [node for node, *_ in fields]
        self.parents = [{int(one), int(two)} - {-1} for _, one, two, _ in fields]
        self.branches = [branch for *_, branch in fields]

    def ancestors(self, revision: int) -> set[int]:
        found, stack = {revision}, [revision]
        while stack:
            new = self.parents[stack.pop()] - found
            found |= new
            stack += new
        return found

    def branch_heads(self, stop: int) -> dict[str, set[int]]:
        heads: dict[str, set[int]] = {}
        for revision in range(stop):
            on_branch = heads.setdefault(self.branches[revision], set())
            on_branch -= self.ancestors(revision)
            on_branch.add(revision)
        return heads


def _spoil(cache: Path, caches: str) -> None:
    if caches == "gone":
        shutil.rmtree(cache)
    elif caches == "no-rev-branch-cache":
        for path in cache.glob("rbc-*"):
            path.unlink()
