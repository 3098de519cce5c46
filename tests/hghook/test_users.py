# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Several users of one group push to one repository; a user who may not write the outbox still pushes."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hg import SYSTEM_HG, Repository, Site, require

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root to become two users"
)

#: They exist on every Debian and own nothing.
_USERS = ("games", "news")
_GROUP = "users"


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


def _push_as(user: str, work: Repository, server: Repository) -> subprocess.CompletedProcess[str]:
    account = pwd.getpwnam(user)
    return subprocess.run(
        [
            *("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"),
            f"--groups={grp.getgrnam(_GROUP).gr_gid}",
            *(SYSTEM_HG.path, "-R", work.path, "push", "--force", server.path),
        ],
        env={**work.site.environ, "USER": user},
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


def test_a_user_who_may_not_write_the_outbox_pushes_and_the_next_collector_tells_it(open_site: Site) -> None:
    box = open_site.folder / "box"
    box.mkdir(mode=0o755)
    server = _group_repository(open_site, f"outbox = {box}/outbox.db")
    root_work = open_site.repository("root-work")
    root_work.commit("by root", name="root")
    root_work.push(server)
    result = _push_as("games", _work_of("games", open_site), server)
    assert result.returncode == 0
    assert "the first copy waits" in result.stderr
    assert str(box / "outbox.db") in result.stderr
    assert server.first_copies() == ["r"]
    server.hg("sourcepulse-recover")
    assert [event.data["changesets"][0]["desc"] for event in server.events(box / "outbox.db")] == [
        "by root",
        "by games",
    ]
