# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A clone that has a part of the files only, or cannot read one of them, publishes of files what it knows."""

from __future__ import annotations

from typing import Any

import pytest

from support.hg.everywhere import Everywhere
from support.hg.sites import Repository, Site

_KINDS = ("added", "modified", "removed", "copies")


def _sorted(repository: Repository) -> list[tuple[Any, ...]]:
    """Return of each changeset, in order, its files and what was published of them."""
    changesets = [one for event in repository.events() for one in event.data["changesets"]]
    return [tuple(one[kind] for kind in ("files", *_KINDS)) for one in changesets]


def _origin(site: Site, *options: str) -> Repository:
    origin = Repository(site, site.folder / "origin")
    site.hg("init", *options, origin.path)
    origin.commit("out", name="outside/file")
    origin.commit("in", name="inside/file")
    origin.hg("--cwd", origin.path, "copy", "inside/file", "inside/copy")
    origin.commit("out again", name="outside/file")
    return origin


def test_a_narrow_clone_that_is_widened_has_nothing_to_complain_of(site: Site) -> None:
    Everywhere(site, "narrow")
    origin = _origin(site)
    with (origin.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write("[experimental]\nnarrowservebrokenellipses = yes\n")
    site.hg("clone", "--narrow", "--include", "inside", f"ssh://host/{origin.path}", site.folder / "narrow")
    narrow = Repository(site, site.folder / "narrow")
    widened = narrow.hg("tracked", "--addinclude", "outside")
    assert "sourcepulse" not in widened.stdout + widened.stderr
    copied = [{"file": "inside/copy", "source": "inside/file"}]
    files = ["inside/copy", "outside/file"]
    assert _sorted(narrow)[-1] == (files, ["inside/copy"], ["outside/file"], [], copied)


@pytest.mark.parametrize("is_flat", [True, False], ids=["flat", "trees"])
def test_a_narrow_clone_knows_of_what_it_leaves_out_what_its_manifests_say(site: Site, is_flat: bool) -> None:
    Everywhere(site, "narrow")
    origin = _origin(site, *(() if is_flat else ("--config", "experimental.treemanifest=yes")))
    cloned = site.hg("clone", "--narrow", "--include", "inside", f"ssh://host/{origin.path}", site.folder / "narrow")
    assert "sourcepulse" not in cloned.stdout + cloned.stderr
    out, into, both = _sorted(Repository(site, site.folder / "narrow"))
    assert into == (["inside/file"], ["inside/file"], [], [], [])
    files = ["inside/copy", "outside/file"]
    if is_flat:
        assert out == (["outside/file"], ["outside/file"], [], [], None)
        copied = [{"file": "inside/copy", "source": "inside/file"}]
        assert both == (files, ["inside/copy"], ["outside/file"], [], copied)
    else:
        assert [out, both] == [(["outside/file"], *[None] * 4), (files, *[None] * 4)]


def test_a_shallow_clone_does_not_ask_its_server_where_files_were_copied_from(site: Site) -> None:
    Everywhere(site, "remotefilelog")
    origin = _origin(site)
    with (origin.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write("[remotefilelog]\nserver = yes\n")
    cache = f"remotefilelog.cachepath={site.folder}/cache"
    cloned = site.hg(
        *("clone", "--shallow", "--noupdate", "--config", cache, "--config", "remotefilelog.reponame=origin"),
        *(f"ssh://host/{origin.path}", site.folder / "shallow"),
    )
    assert "sourcepulse" not in cloned.stdout + cloned.stderr
    assert not [path for path in (site.folder / "cache").rglob("*") if path.is_file()]
    published = _sorted(Repository(site, site.folder / "shallow"))
    assert published == [
        (["outside/file"], ["outside/file"], [], [], None),
        (["inside/file"], ["inside/file"], [], [], None),
        (["inside/copy", "outside/file"], ["inside/copy"], ["outside/file"], [], None),
    ]


def test_a_file_that_cannot_be_read_leaves_its_source_unknown_and_the_kinds_known(site: Site) -> None:
    server = site.server(other="[censor]\npolicy = ignore\n")
    work = site.repository("work")
    work.commit("secret", name="secret")
    work.commit("next", name="secret")
    work.hg("--config", "extensions.censor=", "censor", "--rev", "0", work.path / "secret")
    pushed = work.push(server)
    assert _sorted(server) == [(["secret"], ["secret"], [], [], None), (["secret"], [], ["secret"], [], [])]
    assert "published without the copy sources of its files" in pushed.stdout + pushed.stderr
