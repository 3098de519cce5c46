# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What Mercurial's other commands, formats and extensions do is published exactly, and they work as without us."""

from __future__ import annotations

from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse_hg.pending.collect import collect_repository
from support.hg import faults as hg_faults
from support.hg.everywhere import Everywhere
from support.hg.sites import PUSH, Repository, Site

_STRIPPED = "hg.repo.stripped.v1"
_COLLECT_LIMIT_SECONDS = 10.0
#: What others may do after the commit; a SystemExit passes all that catches errors.
_EXIT_HOOK = "def run(**_):\n    raise SystemExit(3)\n"
#: Repositories as other versions of Mercurial, and its experiments, make them.
_FORMATS = (
    "format.usestore=no",
    "format.usefncache=no",
    "format.dotencode=no",
    "format.usegeneraldelta=no",
    "format.bookmarks-in-store=yes",
    "format.exp-archived-phase=yes",
    "format.exp-use-copies-side-data-changeset=yes",
    "format.exp-use-changelog-v2=enable-unstable-format-and-corrupt-my-data",
    "experimental.treemanifest=yes",
)


def _published(repository: Repository) -> set[str]:
    """Return the changesets that are there according to the events alone."""
    published: set[str] = set()
    for event in repository.every_event():
        if event.type == PUSH:
            nodes = [changeset["node"] for changeset in event.data["changesets"]]
            assert len(nodes) == event.data["count"]
            assert not published & set(nodes), "a changeset is published twice"
            published.update(nodes)
        elif event.type == _STRIPPED:
            assert set(event.data["nodes"]) <= published
            published.difference_update(event.data["nodes"])
    return published


def test_changesets_that_any_command_adds_or_removes_are_published_exactly(site: Site) -> None:
    extensions = ("rebase", "histedit", "strip", "mq", "transplant", "shelve", "uncommit", "convert")
    everywhere = Everywhere(site, *extensions)
    repository, elsewhere = site.repository("repository"), site.repository("elsewhere")
    elsewhere.commit("converted", name="converted")
    patch, plan, bundle = site.folder / "patch", site.folder / "plan", site.folder / "bundle.hg"

    def append(name: str) -> None:
        with (repository.path / name).open("a") as file:
            file.write("another line\n")

    def step(*arguments: str | Path, adds: bool = True) -> None:
        before = repository.nodes()
        everywhere.hg(repository, *arguments)
        assert (repository.nodes() != before) == adds, arguments
        assert _published(repository) == set(repository.nodes("not secret()")), arguments

    for name in ("base", "second"):
        (repository.path / name).write_text("line\n")
        step("commit", "--addremove", "--message", name)
    everywhere.hg(repository, "export", "--rev", "1", "--output", patch)
    step("update", "--rev", "0", adds=False)
    # What is known already is not published again.
    step("import", patch, adds=False)
    step("update", "--rev", "0", adds=False)
    step("import", "--date", "7 0", patch)
    step("update", "--rev", "0", adds=False)
    step("import", "--bypass", "--date", "8 0", patch)
    step("graft", "--rev", "1", "--date", "9 0")
    step("backout", "--rev", ".", "--message", "backed out")
    append("base")
    step("shelve", adds=False)
    step("unshelve", adds=False)
    step("qnew", "--message", "patch", "a.patch")
    append("base")
    step("qrefresh")
    step("qpop")
    step("qpush")
    step("qfinish", "--applied", adds=False)
    append("base")
    step("commit", "--amend", "--message", "amended")
    first, *others = repository.nodes("4::.")
    plan.write_text(f"pick {first}\n" + "".join(f"roll {node}\n" for node in others))
    step("histedit", "--rev", "4", "--commands", plan)
    step("rebase", "--keep", "--source", ".", "--dest", "3", "--tool", ":merge")
    step("rebase", "--source", ".", "--dest", "2", "--tool", ":merge")
    step("uncommit", "--allow-dirty-working-copy")
    step("update", "--clean", "--rev", ".", adds=False)
    step("transplant", "--source", elsewhere.path, "all()")
    step("convert", "--quiet", elsewhere.path, repository.path)
    step("rollback")
    step("bundle", "--all", bundle, adds=False)
    step("strip", "--no-backup", "3")
    step("unbundle", bundle)
    step("push", "--force", elsewhere.path, adds=False)
    step("treestatus", "--close", "why", adds=False)
    step("treestatus", "--open", adds=False)
    own = ("sourcepulse-recover", "sourcepulse-adopt")
    for command in ("debugrebuildfncache", "debugupdatecaches", "debugrebuilddirstate", *own):
        step(command, adds=False)
    assert _published(elsewhere) == set(elsewhere.nodes())
    published = len(elsewhere.every_event())
    assert site.hg("--repository", repository.path, "push", elsewhere.path, check=False).returncode == 1
    assert len(elsewhere.every_event()) == published
    assert repository.first_copies() == []


def test_repositories_of_every_format_are_published_alike(each_site: Site) -> None:
    work = each_site.repository("work")
    work.commit("one", name="folder/one")
    work.hg("tag", "v1")
    bundle = each_site.folder / "bundle.hg"
    work.hg("bundle", "--all", bundle)
    everywhere = Everywhere(each_site)
    published = []
    for number, setting in enumerate(_FORMATS):
        path = each_site.folder / str(number)
        each_site.hg("init", "--config", setting, path)
        repository = Repository(each_site, path)
        everywhere.hg(repository, "unbundle", bundle)
        everywhere.hg(repository, "bookmark", "--rev", "0", "here")
        published.append([(event.type, event.data.get("changesets")) for event in repository.every_event()])
        assert repository.first_copies() == []
    assert published == [published[0]] * len(_FORMATS)
    assert [type_ for type_, _ in published[0]][-1] == "hg.bookmark.created.v1"


def test_without_a_store_a_push_is_as_exact(site: Site) -> None:
    everywhere = Everywhere(site)
    site.hg("init", "--config", "format.usestore=no", site.folder / "old")
    old, work = Repository(site, site.folder / "old"), site.repository("work")
    work.build("+2")
    assert not (old.path / ".hg" / "store").exists()
    fault = ("--config", f"extensions.faults={hg_faults.__file__}", "--config", "faults.how=exit", "--config")
    work.push(old, "--rev", "0", *fault, "faults.at=finalize", check=False)
    old.hg("recover")
    assert old.nodes() == old.every_event() == []
    work.push(old, "--rev", "0", *fault, "faults.at=postclose", check=False)
    everywhere.hg(old, "unbundle", _bundle_of(work))
    assert [event.data["last"] for event in old.events()] == old.nodes() == work.nodes()


def _bundle_of(work: Repository) -> Path:
    bundle = work.path / "bundle.hg"
    work.hg("bundle", "--all", bundle)
    return bundle


@pytest.mark.parametrize("fault", ["postclose", "txnclose"])
def test_the_next_push_publishes_what_others_interrupted_after_the_commit(site: Site, fault: str) -> None:
    (site.folder / "exit.py").write_text(_EXIT_HOOK)
    lines = {
        "postclose": f"[extensions]\nfaults = {hg_faults.__file__}\n[faults]\nat = postclose\nhow = raise\n",
        "txnclose": f"[hooks]\ntxnclose.exit = python:{site.folder}/exit.py:run\n",
    }
    server = site.server(other=lines[fault])
    work = site.repository("work")
    work.build("+2")
    # Whether the client is content is up to them; what it sees is the same without us.
    work.push_ssh(server, "--rev", "0", check=False)
    assert server.nodes() == work.nodes()[:1]
    server.configure(f"[extensions]\nsourcepulse_hg = {site.program.extension}\n")
    work.push_ssh(server)
    assert [event.data["last"] for event in server.events()] == server.nodes() == work.nodes()


def test_largefiles_lfs_and_subrepositories_are_published_as_they_are_in_the_changesets(site: Site) -> None:
    Everywhere(site, "largefiles", "lfs")
    with (site.folder / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write("[lfs]\ntrack = path:stored\nurl = null://\n[sourcepulse]\noutbox = later/outbox.db\n")
    server, work = site.repository("server"), site.repository("work")
    inner_server, inner = site.repository("server/inner"), site.repository("work/inner")
    (inner.path / "stored").write_text("by lfs")
    inner.hg("commit", "--addremove", "--cwd", inner.path, "--message", "lfs")
    (work.path / "large").write_text("by largefiles")
    (work.path / ".hgsub").write_text("inner = inner\n")
    work.hg("add", "--cwd", work.path, "--large", "large")
    work.hg("commit", "--cwd", work.path, "--addremove", "--message", "large")
    work.push(server)
    for one, files in ((server, [".hglf/large", ".hgsub", ".hgsubstate"]), (inner_server, ["stored"])):
        assert one.first_copies() == ["r"]
        outbox = one.path / "outbox.db"
        with Outbox.open(outbox) as opened:
            # No Mercurial, and so none of its extensions, is needed for it.
            collect_repository(str(one.path), opened, deadline_s=_COLLECT_LIMIT_SECONDS)
        (event,) = one.events(outbox)
        assert event.data["changesets"][0]["files"] == files


def test_a_clone_is_published_by_its_transaction_whichever_way_it_is_made(site: Site) -> None:
    Everywhere(site)
    origin = site.repository("origin")
    origin.commit()
    for name, options in (("pulled", ["--pull"]), ("streamed", ["--stream"]), ("copied", [])):
        source = f"ssh://host/{origin.path}" if name == "streamed" else origin.path
        site.hg("clone", *options, source, site.folder / name)
    pulled, streamed, copied = (Repository(site, site.folder / name) for name in ("pulled", "streamed", "copied"))
    assert [(event.data["source"], event.data["last"]) for event in pulled.events()] == [("pull", *origin.nodes())]
    assert [(event.data["source"], event.data["last"]) for event in streamed.events()] == [("clone", *origin.nodes())]
    # A local clone is a copy of files: there is no transaction, and nothing of ours in it.
    assert not (copied.path / ".hg" / "sourcepulse").exists()
    assert len(origin.events()) == 1


def test_a_narrow_clone_and_its_pushes_are_published(site: Site) -> None:
    Everywhere(site, "narrow")
    server = Repository(site, site.folder / "server")
    site.hg("init", "--config", "experimental.treemanifest=yes", server.path)
    server.commit("in", name="inside/file")
    server.commit("out", name="outside/file")
    site.hg("clone", "--narrow", "--include", "inside", f"ssh://host/{server.path}", site.folder / "narrow")
    narrow = Repository(site, site.folder / "narrow")
    assert [event.data["count"] for event in narrow.events()] == [2]
    narrow.hg("tracked", "--addinclude", "outside")
    assert _published(narrow) == set(narrow.nodes())
    narrow.commit("by narrow", name="inside/file")
    narrow.hg("push")
    assert _published(narrow) == _published(server) == set(server.nodes())


def test_a_required_extension_and_plain_output_change_nothing(site: Site) -> None:
    server = site.repository("server", "[extensions]\nsourcepulse_hg =\nsourcepulse_hg:required = yes\n")
    work = site.repository("work")
    work.commit()
    work.push_ssh(server, env={"HGPLAIN": "1", "LANGUAGE": "de", "HGENCODING": "ascii"})
    assert len(server.events()) == 1
    assert server.hg("treestatus", env={"HGPLAIN": "1"}).stdout == "open\n"
