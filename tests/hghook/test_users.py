# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Several users of one group push to one repository; users without rights on the outbox push too, or only read."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hg.forked_hg import FORK_SERVER
from support.hg.sites import DUMMY_SSH, SYSTEM_HG, Repository, Site, require, serve

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root to become two users"
)

#: They exist on every Debian and own nothing.
_USERS = ("games", "news")
_GROUP = "users"
_WAIT_SECONDS = 20.0


@pytest.fixture
def open_site() -> Iterator[Site]:
    """A site in a folder that every user reaches, with the code where every user can read it."""
    require(SYSTEM_HG)
    folder = Path("/tmp") / f"sourcepulse-users-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        packages = folder / "packages"
        shutil.copytree(Path(__file__).parents[2] / "hghook" / "sourcepulse_hg", packages / "sourcepulse_hg")
        shutil.copytree(Path(__file__).parents[2] / "shared" / "sourcepulse", packages / "sourcepulse")
        subprocess.run(["chmod", "-R", "a+rX", packages], check=True)
        yield Site(folder, SYSTEM_HG)
    finally:
        shutil.rmtree(folder)


def _group_repository(site: Site, keys: str = "") -> Repository:
    server = site.repository(
        "server",
        f"[extensions]\nsourcepulse_hg = {site.folder}/packages/sourcepulse_hg\n[sourcepulse]\n{keys}\n"
        "[trusted]\nusers = *\n",
    )
    with (site.folder / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write("[trusted]\nusers = *\n")
    group = grp.getgrnam(_GROUP).gr_gid
    for path in [server.path, *server.path.rglob("*")]:
        os.chown(path, 0, group)
        path.chmod(0o2775 if path.is_dir() else 0o664)
    return server


def _as_user(user: str, *, of_group: bool = True) -> list[str]:
    """Return the words before a command that this user runs."""
    account = pwd.getpwnam(user)
    groups = f"--groups={grp.getgrnam(_GROUP).gr_gid}" if of_group else "--clear-groups"
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", groups]


def _push_as(user: str, work: Repository, server: Repository, *options: str) -> subprocess.CompletedProcess[str]:
    return _hg_as(user, work.site, "-R", work.path, "push", "--force", server.path, *options)


def _hg_as(user: str, site: Site, *arguments: str | Path, of_group: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_as_user(user, of_group=of_group), SYSTEM_HG.path, *arguments],
        env={**site.environ, "USER": user, FORK_SERVER: ""},
        cwd="/",
        umask=0o077,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _work_of(user: str, site: Site) -> Repository:
    work = site.repository(f"work-{user}")
    work.commit(f"by {user}", name=user)
    account = pwd.getpwnam(user)
    for path in [work.path, *work.path.rglob("*")]:
        os.chown(path, account.pw_uid, account.pw_gid)
    return work


def test_two_users_of_a_group_share_repository_and_outbox_whatever_their_umask(open_site: Site) -> None:
    server = _group_repository(open_site)
    for user in _USERS:
        result = _push_as(user, _work_of(user, open_site), server)
        assert result.returncode == 0, result.stderr
        assert "sourcepulse: " not in result.stdout + result.stderr
    assert [event.data["user"] for event in server.events()] == list(_USERS)
    assert server.first_copies() == []
    group = grp.getgrnam(_GROUP).gr_gid
    folder = server.path / ".hg" / "sourcepulse"
    assert folder.stat().st_mode & stat.S_ISGID
    for path in [folder, *folder.iterdir()]:
        status = path.stat()
        assert status.st_gid == group, path
        assert status.st_mode & stat.S_IRWXG >= (stat.S_IRGRP | stat.S_IWGRP), path
        assert not status.st_mode & stat.S_IWOTH, path


def test_the_push_of_a_user_who_may_not_write_the_outbox_is_published_by_the_next_collector(open_site: Site) -> None:
    box = open_site.folder / "box"
    box.mkdir(mode=0o755)
    server = _group_repository(open_site, f"outbox = {box}/outbox.db")
    root_work = open_site.repository("root-work")
    root_work.commit("by root", name="root")
    root_work.push(server)
    result = _push_as("games", _work_of("games", open_site), server)
    assert result.returncode == 0
    assert "events are saved" in result.stderr
    assert str(box / "outbox.db") in result.stderr
    assert server.first_copies() == ["r"]
    server.hg("sourcepulse-recover")
    assert [event.data["changesets"][0]["desc"] for event in server.events(box / "outbox.db")] == [
        "by root",
        "by games",
    ]


def test_what_the_dead_push_of_one_user_left_another_one_settles(open_site: Site) -> None:
    server = _group_repository(open_site)
    one, other = _USERS
    work = _work_of(one, open_site)
    # Before the commit: the journal stays. After it, with the locks released: the first copy waits.
    for hook, settle in (("pretxnclose", "recover"), ("txnclose", "sourcepulse-recover")):
        _push_as(one, work, server, "--config", f"hooks.{hook}=kill -9 $PPID")
        settled = _hg_as(other, open_site, "-R", server.path, settle)
        assert settled.returncode == 0, settled.stderr
        assert server.first_copies() == []
    assert _push_as(other, _work_of(other, open_site), server).returncode == 0
    assert [event.data["user"] for event in server.events()] == [one, other]


def test_who_may_only_read_notices_nothing_and_writes_nothing(open_site: Site) -> None:
    server = _group_repository(open_site)
    ssh = open_site.folder / "ssh.py"
    shutil.copy(DUMMY_SSH, ssh)
    work = open_site.repository("root-work")
    work.commit()
    work.push(server)
    server.hg("treestatus", "--close", "why", "--until", f"{int(time.time()) + 2} 0")
    home = open_site.folder / "home"
    home.mkdir()
    os.chown(home, pwd.getpwnam("games").pw_uid, -1)
    (node,) = server.nodes()
    before = _state(server)

    def read(*arguments: str | Path) -> str:
        result = _hg_as("games", open_site, *arguments, of_group=False)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    ssh_command = ("--config", f"ui.ssh=/usr/bin/python3 -S {ssh}")
    read("clone", *ssh_command, f"ssh://host/{server.path}", home / "by-ssh")
    with serve(server, prefix=_as_user("games", of_group=False)) as url:
        read("clone", url, home / "by-http")
    assert read("-R", server.path, "log", "--template", "{node}") == node
    # The time to open comes, and its event is left to a user with the right to write it.
    deadline = time.monotonic() + _WAIT_SECONDS
    while not read("-R", server.path, "treestatus").startswith("open"):
        assert time.monotonic() < deadline
    read("-R", home / "by-ssh", "bookmark", "mine")
    refused = _hg_as(
        "games", open_site, "-R", home / "by-ssh", "push", "--bookmark", "mine", server.path, of_group=False
    )
    assert refused.returncode == 255
    assert "sourcepulse: " not in refused.stderr
    assert _state(server) == before


def test_an_untrusted_hgrc_may_make_a_repository_restricted_and_nothing_else(open_site: Site) -> None:
    server = open_site.repository("server")
    with (open_site.folder / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"[extensions]\nsourcepulse_hg = {open_site.folder}/packages/sourcepulse_hg\n")
    closing = "visibility = restricted"
    for values in ("repository = stolen\npublish = no", closing, "visibility = public\n[web]\ndeny_read = mallory"):
        server.configure(f"[sourcepulse]\n{values}\n")
        os.chown(server.path / ".hg" / "hgrc", pwd.getpwnam("games").pw_uid, -1)
        server.commit()
    (public,), restricted = server.events(), server.events(stream="restricted")
    assert [event.subject for event in (public, *restricted)] == ["server"] * 3
    assert [event.data["last"] for event in (public, *restricted)] == server.nodes()


def _state(repository: Repository) -> list[tuple[str, int, int]]:
    """Return name, mode and time of change of every file."""
    paths = sorted(repository.path.rglob("*"))
    return [(str(path), path.stat().st_mode, path.stat().st_mtime_ns) for path in paths]
