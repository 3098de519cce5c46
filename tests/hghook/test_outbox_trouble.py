# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever is wrong with the outbox or the settings, the push passes, in time, and its event is not lost."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mercurial import ui as hg_ui

from sourcepulse_hg.settings import SettingsReader
from support.hg.sites import Repository, Site

#: A push on a busy machine takes a second or two; the allowance of the hook is 0.2 s.
_IN_TIME_SECONDS = 8.0


def _pushed_once(site: Site, keys: str = "") -> tuple[Repository, Repository]:
    server = site.server(keys=keys)
    work = site.repository("work")
    work.build("+2")
    work.push(server, "--rev", "0")
    return server, work


def _published(server: Repository) -> list[str]:
    return [changeset["node"] for event in server.events() for changeset in event.data["changesets"]]


@contextmanager
def _locked_by_flock(outbox: Path) -> Iterator[None]:
    with outbox.with_name(outbox.name + ".lock").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _locked_by_sqlite(outbox: Path) -> Iterator[None]:
    database = sqlite3.connect(outbox, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


@contextmanager
def _locked_by_a_collector(outbox: Path) -> Iterator[None]:
    with outbox.with_name("lock").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("lock", [_locked_by_flock, _locked_by_sqlite, _locked_by_a_collector])
def test_a_locked_outbox_holds_no_push_up_and_loses_nothing(site: Site, lock: object) -> None:
    server, work = _pushed_once(site)
    assert callable(lock)
    with lock(server.outbox):
        started = time.monotonic()
        result = work.push_ssh(server)
        assert time.monotonic() - started < _IN_TIME_SECONDS
        assert "sourcepulse" not in result.stderr + result.stdout
        assert server.first_copies() == ["r"]
    assert _published(server) == work.nodes()[:1]
    work.hg("update", "--rev", "tip")
    work.commit()
    work.push(server)
    assert _published(server) == work.nodes()
    assert server.first_copies() == []


@pytest.mark.parametrize("damage", ["truncated", "foreign", "text"])
def test_a_damaged_outbox_is_reported_and_the_event_stays_pending(each_site: Site, damage: str) -> None:
    server, work = _pushed_once(each_site)
    good = server.outbox.read_bytes()
    if damage == "truncated":
        server.outbox.write_bytes(good[: len(good) // 2 + 100])
    elif damage == "text":
        server.outbox.write_text("not a database\n" * 1000, encoding="utf-8")
    else:
        server.outbox.unlink()
        with sqlite3.connect(server.outbox) as database:
            database.execute("CREATE TABLE theirs (a)")
        database.close()
    for side in ("-wal", "-shm"):
        Path(str(server.outbox) + side).unlink(missing_ok=True)
    result = work.push_ssh(server)
    assert "remote: sourcepulse: events are saved" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert server.nodes() == work.nodes()
    assert server.first_copies() == ["r"]
    server.outbox.write_bytes(good)
    server.hg("sourcepulse-recover")
    assert _published(server)[-1] == work.nodes()[1]


def test_a_missing_folder_of_the_outbox_is_named(each_site: Site) -> None:
    server = each_site.server(keys="outbox = ../nowhere/outbox.db")
    work = each_site.repository("work")
    work.commit()
    # This user pushes on the server's own machine; a remote one learns no path.
    result = work.push(server)
    assert "nowhere" in result.stdout + result.stderr
    assert server.nodes() == work.nodes()
    assert server.first_copies() == ["r"]
    (server.path / "nowhere").mkdir()
    server.hg("sourcepulse-recover")
    assert len(server.events(server.path / "nowhere" / "outbox.db")) == 1


def test_bad_values_are_reported_with_key_and_file_and_the_defaults_hold(each_site: Site) -> None:
    server = each_site.server(
        keys="detail = everything\nmax_changesets = many\nrelay = perhaps\non_error = panic\n"
        "commits = sometimes\nsource = http://x\nvisibility = hidden\ncolour = blue\n"
    )
    work = each_site.repository("work")
    work.commit()
    result = work.push(server)
    text = result.stdout + result.stderr
    for key in ("detail", "max_changesets", "relay", "on_error", "commits", "source", "visibility", "colour"):
        assert f"[sourcepulse] {key} is " in text
    assert text.count(str(server.path / ".hg" / "hgrc") + ":") == 8
    data = server.event().data
    assert data["changesets"][0]["files"] == ["file"]


@pytest.mark.parametrize("value", [b"+5", b"-5", b"1_0", b"1001", b"5.0", b"9" * 5_000])
def test_a_number_of_another_form_is_reported_and_the_default_holds(value: bytes) -> None:
    ui = hg_ui.ui()
    ui.setconfig(b"sourcepulse", b"max_changesets", value, b"hgrc:7")
    reader = SettingsReader(ui)
    assert reader.value(b"max_changesets") == 100
    sentence = f"hgrc:7: [sourcepulse] max_changesets is {value.decode()!r}, must be 0 to 1000; using 100"
    assert reader.problems == [sentence]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("on_error", ["refuse", "lose"])
def test_a_disk_that_is_full_refuses_the_push_or_loses_the_event_as_configured(each_site: Site, on_error: str) -> None:
    server = each_site.server(keys=f"on_error = {on_error}")
    extension = each_site.folder / "fulldisk.py"
    extension.write_text(
        "import os\n"
        "def reposetup(ui, repo):\n"
        "    folder = repo.svfs.join(b'sourcepulse')\n"
        "    class full(type(repo.svfs)):\n"
        "        def __call__(self, path, mode=b'r', *args, **kwargs):\n"
        "            if path.startswith(b'sourcepulse/p-') and b'w' in mode:\n"
        "                super().__call__(path, mode, *args, **kwargs).close()\n"
        "                return open('/dev/full', 'wb')\n"
        "            return super().__call__(path, mode, *args, **kwargs)\n"
        "    repo.svfs.__class__ = full\n",
        encoding="utf-8",
    )
    with (server.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"\n[extensions]\nfulldisk = {extension}\n")
    work = each_site.repository("work")
    work.commit()
    result = work.push_ssh(server, check=False)
    assert "No space left on device" in result.stdout + result.stderr
    lost = server.path / ".hg" / "sourcepulse" / "lost"
    if on_error == "refuse":
        assert result.returncode == 255
        assert server.nodes() == []
        assert not lost.exists()
    else:
        assert result.returncode == 0
        assert server.nodes() == work.nodes()
        (line,) = lost.read_text(encoding="utf-8").splitlines()
        assert "TXN:" in line
    assert server.first_copies() == []
    assert server.events() == []


def test_several_repositories_share_an_outbox(site: Site) -> None:
    shared = f"outbox = {site.folder}/shared.db\nsource = hg://host"
    one, two = site.server("one", shared), site.server("two", shared)
    work = site.repository("work")
    work.commit()
    work.push(one)
    work.push(two)
    events = one.events(site.folder / "shared.db")
    assert [event.source for event in events] == ["hg://host/one", "hg://host/two"]
    assert [event.numbers.sequence for event in events if event.numbers] == [2, 2]


def test_a_changeset_that_cannot_be_mapped_is_published_in_short(site: Site) -> None:
    server = site.server()
    extension = site.folder / "broken.py"
    extension.write_text(
        "def reposetup(ui, repo):\n"
        "    import sourcepulse_hg.mapping.events\n"
        "    def fail(*args, **kwargs):\n"
        "        raise ValueError('a changeset like no other')\n"
        "    sourcepulse_hg.mapping.events._changeset = fail\n",
        encoding="utf-8",
    )
    with (server.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"\n[extensions]\nbroken = {extension}\n")
    work = site.repository("work")
    work.build("+3")
    result = work.push_ssh(server)
    assert "a changeset like no other" in result.stdout + result.stderr
    data = server.event().data
    assert (data["count"], data["changesets"]) == (3, [])
    assert server.nodes(data["query"]) == work.nodes()
