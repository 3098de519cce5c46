# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which files a changeset added, modified, removed and copied, as Mercurial itself says of the repository."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from support.hg.sites import Repository, Site

_KINDS = ("added", "modified", "removed")
_LISTED = r"{node}\0{join(files, '\n')}\0{join(file_adds, '\n')}\0{join(file_mods, '\n')}\0{join(file_dels, '\n')}\0"
_COPIES = r"{join(file_copies % '{name}\t{source}', '\n')}\1"

#: Neighbours of equal length are what a delta of manifests cannot distinguish.
_HISTORY = """
import random
from mercurial import context, registrar
cmdtable = {}
command = registrar.command(cmdtable)
NAMES = [b"%s%c%c" % (folder, letter, letter) for folder in (b"", b"d/", b"d/e/") for letter in b"abcdefgh"]

@command(b"random-history", [], b"SEED")
def random_history(ui, repo, seed):
    chance = random.Random(int(seed))
    def commit(parents, files, copies):
        def content(repo, ctx, name):
            if files[name] is None:
                return None
            flags = {"islink": False, "isexec": chance.random() < 0.2}
            return context.memfilectx(repo, ctx, name, files[name], copysource=copies.get(name), **flags)
        return context.memctx(repo, parents, b"change", list(files), content, b"me").commit()
    with repo.wlock(), repo.lock(), repo.transaction(b"history"):
        last = commit((repo[b"null"].node(), None), {name: b"0" for name in NAMES[::2]}, {})
        for number in range(1, 100):
            other = chance.choice(list(repo.changelog)) if chance.random() < 0.2 else None
            second = None if other is None or repo[other].node() == last else repo[other].node()
            manifest = repo[last].manifest()
            files, copies = {}, {}
            for name in chance.sample(NAMES, chance.randint(1, 6)):
                files[name] = None if name in manifest and chance.random() < 0.5 else b"%d" % number
                if files[name] and name not in manifest and chance.random() < 0.5:
                    copies[name] = chance.choice(list(manifest))
            last = commit((last, second), files, copies)
"""


_MANY = """
from mercurial import context, registrar
cmdtable = {}
command = registrar.command(cmdtable)

@command(b"many-files", [], b"COUNT")
def many_files(ui, repo, count):
    names = [b"d%02d/f%05d" % (number % 100, number) for number in range(int(count))]
    def commit(parent, files, copies):
        def content(repo, ctx, name):
            text = files[name]
            return text and context.memfilectx(repo, ctx, name, text, copysource=copies.get(name))
        return context.memctx(repo, (parent, None), b"change", list(files), content, b"me").commit()
    with repo.wlock(), repo.lock(), repo.transaction(b"many"):
        first = commit(repo[b"null"].node(), dict.fromkeys(names, b"1"), {})
        changed = {**dict.fromkeys(names[:3000]), **dict.fromkeys(names[3000:3300], b"2"), names[-1]: None}
        commit(first, {**changed, b"last": b"1"}, {b"last": names[-1]})
"""

_UNREADABLE = """
from mercurial import error, manifest
def reposetup(ui, repo):
    def unreadable(*args):
        raise error.StorageError(b"no such delta")
    manifest.manifestrevlog.revdiff = unreadable
"""


def published(server: Repository) -> dict[str, dict[str, Any]]:
    return {one["node"]: one for event in server.events() for one in event.data["changesets"]}


def logged(repository: Repository) -> dict[str, dict[str, Any]]:
    found = {}
    for entry in repository.hg("log", "--template", _LISTED + _COPIES).stdout.split("\1")[:-1]:
        node, *lists = entry.split("\0")
        files, added, modified, removed, copies = ([name for name in part.split("\n") if name] for part in lists)
        found[node] = {"files": files, "added": added, "modified": modified, "removed": removed}
        pairs = [copy.split("\t") for copy in copies]
        found[node]["copies"] = [{"file": name, "source": source} for name, source in pairs if name in added]
    return found


def assert_published_as_logged(server: Repository, repository: Repository) -> None:
    heard, said = published(server), logged(repository)
    assert heard.keys() == said.keys()
    assert {node: {name: one[name] for name in said[node]} for node, one in heard.items()} == said


def inside(repository: Repository, *arguments: str | bytes) -> None:
    repository.hg("--cwd", repository.path, *arguments)


def write(repository: Repository, content: str, *names: str) -> None:
    for name in names:
        path = repository.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def test_files_are_added_modified_removed_renamed_and_copied(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    write(work, "1", "a", "b", "dir/c", "dir/d", "dir/e")
    work.hg("commit", "--addremove", "--message", "first")
    write(work, "2", "a")
    inside(work, "rename", "b", "b2")
    inside(work, "copy", "dir/c", "other/c")
    inside(work, "remove", "dir/d")
    write(work, "2", "dir/new")
    work.hg("commit", "--addremove", "--message", "second")
    work.push(server)
    first, second = (published(server)[node] for node in work.nodes())
    assert first["added"] == first["files"] == ["a", "b", "dir/c", "dir/d", "dir/e"]
    assert (first["modified"], first["removed"], first["copies"]) == ([], [], [])
    assert second["files"] == ["a", "b", "b2", "dir/d", "dir/new", "other/c"]
    assert second["added"] == ["b2", "dir/new", "other/c"]
    assert second["modified"] == ["a"]
    assert second["removed"] == ["b", "dir/d"]
    assert second["copies"] == [{"file": "b2", "source": "b"}, {"file": "other/c", "source": "dir/c"}]
    assert_published_as_logged(server, work)


def test_of_a_merge_files_are_sorted_against_both_parents(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    write(work, "1\n2\n3\n", "both", "gone-here", "gone-there", "left")
    work.hg("commit", "--addremove", "--message", "base")
    write(work, "0\n1\n2\n3\n", "both")
    write(work, "new", "of-one")
    inside(work, "remove", "gone-here")
    work.hg("commit", "--addremove", "--message", "one")
    work.hg("update", "--rev", "0")
    write(work, "1\n2\n3\n4\n", "both")
    inside(work, "rename", "left", "right")
    inside(work, "remove", "gone-there")
    work.hg("commit", "--addremove", "--message", "other")
    work.hg("merge", "--rev", "1")
    write(work, "new", "of-the-merge")
    inside(work, "remove", "--force", "of-one")
    work.hg("commit", "--addremove", "--message", "merge")
    work.push(server)
    merge = published(server)[work.nodes("tip")[0]]
    assert merge["added"] == ["of-the-merge"]
    assert "both" in merge["modified"]
    assert "of-one" in merge["removed"]
    assert_published_as_logged(server, work)


def test_a_file_that_comes_again_is_added_again_and_flags_are_a_change(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    write(work, "1", "again", "script")
    work.hg("commit", "--addremove", "--message", "first")
    inside(work, "remove", "again")
    work.hg("commit", "--message", "gone")
    write(work, "1", "again")
    (work.path / "script").chmod(0o755)
    work.hg("commit", "--addremove", "--message", "again")
    (work.path / "script").unlink()
    (work.path / "script").symlink_to("again")
    work.hg("commit", "--message", "link")
    work.hg("commit", "--close-branch", "--message", "no files")
    work.push(server)
    kinds = [[published(server)[node][kind] for kind in _KINDS] for node in work.nodes()[1:]]
    assert kinds == [
        [[], [], ["again"]],
        [["again"], ["script"], []],
        [[], ["script"], []],
        [[], [], []],
    ]


@pytest.mark.parametrize("count", [4_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_of_thousands_of_files_200_of_a_kind_are_listed_and_all_are_counted(site: Site, count: int) -> None:
    server = site.server()
    extension = site.folder / "many.py"
    extension.write_text(_MANY, encoding="utf-8")
    server.hg("--config", f"extensions.many={extension}", "many-files", str(count))
    names = [f"d{number % 100:02}/f{number:05}" for number in range(count)]
    (event,) = server.events()
    first, second = event.data["changesets"]
    assert first["added"] == first["files"] == sorted(names)[:200]
    assert first["modified"] == first["removed"] == first["copies"] == []
    assert second["added"] == ["last"]
    assert second["copies"] == [{"file": "last", "source": names[-1]}]
    assert second["modified"] == sorted(names[3000:3300])[:200]
    assert second["removed"] == sorted([*names[:3000], names[-1]])[:200]
    assert {cut["field"]: (cut["kept"], cut["total"]) for cut in event.data["truncated"]} == {
        "/changesets/0/files": (200, count),
        "/changesets/0/added": (200, count),
        "/changesets/1/files": (200, 3_302),
        "/changesets/1/modified": (200, 300),
        "/changesets/1/removed": (200, 3_001),
    }


def test_names_that_are_not_utf8_are_kept_beside_the_readable_text(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    (work.path / "old\udcff").touch()
    work.hg("commit", "--addremove", "--message", "first")
    inside(work, "rename", b"old\xff", b"new\xfe")
    work.hg("commit", "--message", "second")
    work.push(server)
    (event,) = server.events()
    assert event.data["changesets"][1]["copies"] == [{"file": "new\ufffd", "source": "old\ufffd"}]
    raw = {note["field"]: base64.b64decode(note["base64"]) for note in event.data["raw"]}
    assert raw["/changesets/0/added/0"] == raw["/changesets/1/removed/0"] == b"old\xff"
    assert raw["/changesets/1/copies/0/file"] == raw["/changesets/1/added/0"] == b"new\xfe"
    assert raw["/changesets/1/copies/0/source"] == b"old\xff"


def test_where_copies_would_cost_too_much_they_are_unknown_and_the_kinds_are_not(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    for number in range(6):
        write(work, "1", *(f"{number}/f{place:03}" for place in range(190)))
        work.hg("commit", "--addremove", "--message", "many")
    write(work, "x" * 17 * 1024 * 1024, "large")
    work.push(server)
    changesets = server.event().data["changesets"]
    assert [one["copies"] for one in changesets] == [[], [], [], [], [], None]
    assert [len(one["added"]) for one in changesets] == [190] * 6
    work.hg("commit", "--addremove", "--message", "large")
    inside(work, "rename", "0/f000", "renamed")
    work.hg("commit", "--message", "renamed")
    work.push(server)
    large, renamed = server.events()[1].data["changesets"]
    assert (large["added"], large["copies"]) == (["large"], None)
    assert renamed["added"] == ["renamed"]


def test_a_manifest_that_cannot_be_read_leaves_the_kinds_unknown_and_the_push_whole(site: Site) -> None:
    server = site.server()
    server.commit("first")
    extension = site.folder / "unreadable.py"
    extension.write_text(_UNREADABLE, encoding="utf-8")
    write(server, "2", "file", "other")
    result = server.hg("commit", "--addremove", "--message", "second", "--config", f"extensions.unreadable={extension}")
    assert "are published unsorted: " in result.stderr
    second = server.events()[1].data["changesets"][0]
    assert [second[kind] for kind in (*_KINDS, "copies")] == [None] * 4
    assert second["files"] == ["file", "other"]


def test_a_file_among_so_many_programs_that_their_flags_take_the_bytes_of_a_line_is_added(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    programs = [f"bin/t{number:02}" for number in range(1, 71)]
    write(work, "1", *programs, "a", "c")
    for name in programs:
        (work.path / name).chmod(0o755)
    inside(work, "commit", "--addremove", "--message", "programs")
    write(work, "2", *programs, "bin/t35new")
    inside(work, "commit", "--addremove", "--message", "one more")
    for name in (*programs, "a"):
        (work.path / name).unlink()
    write(work, "3", "b")
    inside(work, "commit", "--addremove", "--message", "another, all others gone")
    work.push(server)
    assert_published_as_logged(server, work)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_histories_are_published_as_mercurial_logs_them(each_site: Site, seed: int) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    extension = each_site.folder / "history.py"
    extension.write_text(_HISTORY, encoding="utf-8")
    work.hg("--config", f"extensions.history={extension}", "random-history", str(seed))
    work.push(server, "--force")
    assert len(published(server)) == 100
    assert_published_as_logged(server, work)


@pytest.mark.parametrize(
    "format_",
    ["experimental.treemanifest=yes", "format.exp-use-copies-side-data-changeset=yes"],
    ids=["trees", "apart"],
)
def test_files_are_sorted_in_repositories_of_other_formats(site: Site, format_: str) -> None:
    server = site.server("server", other="")
    other = Path(site.folder / "other")
    site.hg("init", "--config", format_, other)
    (other / ".hg" / "hgrc").write_text((server.path / ".hg" / "hgrc").read_text(), encoding="utf-8")
    server = Repository(site, other)
    write(server, "1", "a", "dir/b", "dir/c")
    server.hg("commit", "--addremove", "--message", "first")
    inside(server, "rename", "dir/b", "dir/d")
    inside(server, "remove", "dir/c")
    write(server, "2", "a")
    server.hg("commit", "--addremove", "--message", "second")
    second = published(server)[server.nodes("tip")[0]]
    assert [second[kind] for kind in ("files", *_KINDS)] == [
        ["a", "dir/b", "dir/c", "dir/d"],
        ["dir/d"],
        ["a"],
        ["dir/b", "dir/c"],
    ]
    assert second["copies"] == [{"file": "dir/d", "source": "dir/b"}]
