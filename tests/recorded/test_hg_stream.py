# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every type of event of Mercurial comes out of real transactions as it was recorded, with its id and every byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from sourcepulse.catalogue import known_types
from support.events.recorded import assert_as_recorded, recorded_types
from support.hg.sites import VENV_HG, Repository, Site, require

RECORD = "hg"
FROZEN = Path(__file__).parent.parent / "support" / "hg" / "frozen.py"
#: The time of the first command; each one comes a minute later.
BEGIN_SECONDS = 1_795_345_170
STEP_SECONDS = 60


class Frozen:
    """Runs hg commands in repositories, each at its own minute."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._now = BEGIN_SECONDS

    def __call__(self, repository: Repository, *arguments: str | Path, refused: bool = False) -> None:
        """Run a command; `refused` is one that the server does not allow."""
        self._now += STEP_SECONDS
        self._site.environ["FROZEN_SECONDS"] = str(self._now)
        done = self._site.hg("--cwd", repository.path, *arguments, check=not refused)
        assert (done.returncode != 0) is refused, done.stdout + done.stderr


def _write(repository: Repository, name: str, text: str) -> None:
    path = repository.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def server(tmp_path: Path) -> Repository:
    """A server that has seen a transaction of every kind."""
    site = Site(tmp_path / "site", require(VENV_HG))
    # Loaded first, because what is imported later keeps the clock that it finds.
    frozen_first = f"[extensions]\na_frozen = {FROZEN}\n"
    site.environ["FROZEN_SECONDS"] = str(BEGIN_SECONDS)
    server = site.repository(
        "server",
        f"{frozen_first}sourcepulse_hg = {site.program.extension}\nstrip =\n"
        "[sourcepulse]\nsource = hg://hg.example.org\nrepo = integration/inbound\ndetail = files\n"
        "repo_url = https://hg.example.org/integration/inbound\nobsolete = yes\n"
        "[experimental]\nevolution = all\n[phases]\npublish = no\n",
    )
    work = site.repository("work", frozen_first)
    hg = Frozen(site)
    _write(work, "src/parse.c", "int parse();\n")
    hg(work, "commit", "--addremove", "--message", "Bug 1234 - handle empty input")
    hg(work, "push", server.path)
    hg(server, "update")
    hg(server, "bookmark", "release")
    hg(server, "tag", "v1")
    hg(server, "tag", "--force", "--rev", "1", "v1")
    hg(server, "tag", "--remove", "v1")
    hg(server, "bookmark", "--force", "release")
    hg(server, "bookmark", "--delete", "release")
    _write(server, "src/Grüße.txt", "grüß Gott\n")
    hg(server, "branch", "stable")
    hg(server, "copy", "src/parse.c", "src/read.c")
    hg(server, "commit", "--addremove", "--message", "copy")
    hg(server, "update", "0")
    hg(server, "rename", "src/parse.c", "src/scan.c")
    hg(server, "commit", "--message", "rename")
    _write(server, "src/scan.c", "int scan();\n")
    hg(server, "commit", "--amend", "--message", "rename and change")
    hg(server, "phase", "--public", "--rev", "tip")
    hg(server, "update", "stable")
    hg(server, "commit", "--close-branch", "--message", "done")
    hg(server, "treestatus", "--close", "build bustage")
    _write(work, "src/more.c", "int more();\n")
    hg(work, "commit", "--addremove", "--message", "more")
    hg(work, "push", "--force", server.path, refused=True)
    hg(server, "treestatus", "--approval", "beta")
    hg(server, "treestatus", "--open")
    hg(work, "push", "--force", server.path)
    hg(server, "update", "null")
    hg(server, "strip", "--no-backup", "--rev", "tip")
    return server


def test_events_of_mercurial_are_as_recorded_byte_for_byte(server: Repository) -> None:
    assert_as_recorded(RECORD, server.every_event())
    assert recorded_types(RECORD) == {type_ for type_ in known_types() if type_.startswith("hg.")}
