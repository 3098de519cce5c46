# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A mirror publishes what the repository it pulls from published: the same ids, each when it has the changesets."""

from __future__ import annotations

from support.hg.sites import Repository, Site, serve


def _published(repository: Repository) -> list[tuple[str, str, str, str]]:
    return [(event.type, event.id, event.source, event.routing_key) for event in repository.every_event()]


def _pair(site: Site, keys: str = "mirrors = yes") -> tuple[Repository, Repository, Repository]:
    """Return the origin with one push, its empty mirror, and the work that is pushed."""
    origin = site.server("origin", keys=f"source = hg://origin.example\n{keys}")
    mirror = site.server("mirror", keys="role = mirror\nsource = hg://origin.example/origin")
    work = site.repository("work")
    work.build("+4")
    work.push(origin, "--rev", "0")
    return origin, mirror, work


def test_a_mirror_publishes_the_same_events_once_when_it_has_the_changesets(each_site: Site) -> None:
    origin, mirror, work = _pair(each_site)
    mirror.hg("pull", f"ssh://host/{origin.path}")
    assert len(_published(origin)) > 1
    assert _published(mirror) == _published(origin)
    assert [event.data for event in mirror.every_event()] == [event.data for event in origin.every_event()]
    work.push(origin, "--rev", "2")
    work.hg("bookmark", "--rev", "1", "caf\u00e9")
    work.push(origin, "--rev", "1", "--bookmark", "caf\u00e9", check=False)
    for _ in range(2):
        mirror.hg("pull", origin.path)
        assert _published(mirror) == _published(origin)
    assert len(origin.events(of="hg.bookmark.created.v1")) == 1
    numbers = [event.numbers.sequence for event in mirror.every_event() if event.numbers]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_mirror_does_not_publish_changesets_that_it_does_not_have(site: Site) -> None:
    origin, mirror, work = _pair(site)
    for revision in ("1", "2", "3"):
        work.push(origin, "--rev", revision)
    mirror.hg("pull", "--rev", work.nodes()[1], origin.path)
    assert [event.data["last"] for event in mirror.events()] == work.nodes()[:2]
    mirror.hg("pull", origin.path)
    assert _published(mirror) == _published(origin)


def test_changesets_that_cannot_be_pulled_any_more_delay_nothing(site: Site) -> None:
    origin, mirror, work = _pair(site)
    work.push(origin, "--rev", "2")
    origin.hg("strip", "--config", "extensions.strip=", "--no-backup", "--rev", "1")
    work.hg("update", "--rev", "0")
    work.commit(name="other")
    work.push(origin, "--rev", ".")
    hgrc = origin.path / ".hg" / "hgrc"
    hgrc.write_text(hgrc.read_text(encoding="utf-8") + "[experimental]\nevolution = all\n", encoding="utf-8")
    origin.hg("phase", "--draft", "--force", "--rev", "tip")
    origin.hg("debugobsolete", origin.nodes()[-1])
    work.hg("update", "--rev", "0")
    work.commit(name="another")
    work.push(origin, "--rev", ".")
    mirror.hg("pull", origin.path)
    published = _published(mirror)
    assert published == _published(origin)
    assert {"hg.repo.stripped.v1", "hg.obsolete.created.v1"} <= {type_ for type_, *_ in published}


def test_a_mirror_over_http_publishes_nothing_of_its_own(site: Site) -> None:
    origin, mirror, work = _pair(site)
    with serve(origin) as url:
        mirror.hg("pull", "--update", url)
    published = _published(mirror)
    assert published == _published(origin)
    mirror.commit("local")
    work.push(mirror)
    assert _published(mirror) == published


def test_an_origin_that_allows_no_mirrors_or_is_restricted_gives_nothing_away(site: Site) -> None:
    origin, mirror, _ = _pair(site, keys="")
    pulled = mirror.hg("pull", origin.path)
    assert mirror.every_event() == []
    assert "sourcepulse" not in pulled.stderr
    closed = site.server("closed", keys="mirrors = yes\nvisibility = restricted")
    closed.hg("pull", origin.path)
    listed = mirror.hg("debugpushkey", closed.path, "sourcepulse")
    assert listed.stdout == ""
    assert len(closed.events(stream="restricted")) == 1


def test_the_repository_a_mirror_pulls_from_cannot_publish_for_another_source(site: Site) -> None:
    origin, mirror, _ = _pair(site)
    mirror.configure("[extensions]\nsourcepulse_hg =\n[sourcepulse]\nrole = mirror\nsource = hg://other.example/\n")
    pulled = mirror.hg("pull", origin.path)
    assert "hg://origin.example/origin" in pulled.stderr
    assert "source" in pulled.stderr
    assert mirror.every_event() == []


def test_what_is_read_from_a_strange_repository_is_no_more_than_events(site: Site) -> None:
    origin, mirror, _ = _pair(site)
    extension = site.folder / "strange.py"
    extension.write_text(
        "from mercurial import pushkey\n"
        "def reposetup(ui, repo):\n"
        "    strange = {b'1': b'[', b'x': b'[1, 2]', b'2': b'[\"hg.push\", {}]', b'3': b'{}'}\n"
        "    pushkey.register(b'sourcepulse', lambda *_: False, lambda repo: strange)\n",
        encoding="utf-8",
    )
    origin.configure(f"[extensions]\nstrange = {extension}\n")
    mirror.hg("pull", f"ssh://host/{origin.path}")
    assert mirror.nodes() == origin.nodes()
    assert mirror.every_event() == []
