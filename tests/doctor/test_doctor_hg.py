# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor names what keeps a repository from publishing, and its commands repair it with a real hg."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sourcepulse.cli.main import main
from sourcepulse.outbox.outbox import Outbox
from support.doctor import Examined, examine, paste
from support.hg.sites import EXTENSION_FOLDER, SYSTEM_HG, VENV_HG, Repository, Site, copy_repository, require

#: A relay on demand is no matter of these tests.
RELAY = {"SP401", "SP402", "SP409"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    # By its path, as for the hg of another Python.
    made = Site(tmp_path / "site", replace(require(VENV_HG), extension=str(EXTENSION_FOLDER)))
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{VENV_HG.path.parent}:{made.environ['PATH']}")
    return made


@pytest.fixture
def server(site: Site) -> Repository:
    """A repository that has published a push to an outbox of the site."""
    made = site.server(keys=f"outbox = {site.folder}/outbox.db\nrelay = off\nbroker = file://{site.folder}/log.db")
    work = site.repository("work")
    work.commit()
    work.push(made)
    return made


def looked_at(server: Repository, *options: str | Path) -> Examined:
    """Run the doctor on the outbox, which knows the repository, with the broker that the hgrc has."""
    folder = server.site.folder
    found = examine("--outbox", folder / "outbox.db", "--broker", f"file://{folder}/log.db", *options)
    return Examined(found.returncode, [each for each in found.findings if each["id"] not in RELAY])


def hgrc(server: Repository) -> Path:
    return server.path / ".hg" / "hgrc"


def test_a_repository_that_publishes_is_found_by_its_outbox_and_is_well(server: Repository) -> None:
    found = looked_at(server)
    assert found.bad == []
    assert [each["state"] for each in found.findings if each["id"] == "SP501"] == ["ok"]
    named = looked_at(server, "--repository", server.path)
    assert named.bad == []
    assert [each["id"] for each in named.findings] == [each["id"] for each in found.findings]


def test_a_line_that_was_removed_from_the_hgrc_is_named_and_added(server: Repository) -> None:
    hgrc(server).write_text(hgrc(server).read_text().replace("sourcepulse_hg =", "# sourcepulse_hg ="))
    found = looked_at(server)
    assert found.bad == ["SP501"]
    paste(*found.repair("SP501"))
    assert looked_at(server).bad == []


@pytest.mark.parametrize("line", ["broker {}", "password {}", "\n broker = {}"])
def test_a_line_that_mercurial_cannot_read_is_named_without_the_password_in_it(server: Repository, line: str) -> None:
    secret = "S3C RET"
    text = line.format(f"amqp://relay:{secret}@h/" if "broker" in line else secret)
    hgrc(server).write_text(f"{hgrc(server).read_text()}\n{text}\n")
    found = looked_at(server)
    assert found.bad == ["SP509"]
    assert f"{hgrc(server)}:" in found.one("SP509")["found"]
    assert "S3C" not in str(found.findings)


def test_an_extension_that_cannot_be_imported_is_named_and_its_line_corrected(server: Repository) -> None:
    hgrc(server).write_text(hgrc(server).read_text().replace(str(EXTENSION_FOLDER), "/nowhere/at/all"))
    found = looked_at(server)
    assert found.bad == ["SP502"]
    assert "/nowhere/at/all" in found.one("SP502")["found"]
    paste(*found.repair("SP502"))
    assert looked_at(server).bad == []


def test_an_extension_that_only_the_hg_of_another_python_cannot_import_is_named(
    server: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(SYSTEM_HG)
    monkeypatch.setenv("PATH", f"{SYSTEM_HG.path.parent}:{server.site.environ['PATH']}")
    hgrc(server).write_text(hgrc(server).read_text().replace(str(EXTENSION_FOLDER), ""))
    found = looked_at(server)
    assert found.bad == ["SP502"]
    assert found.one("SP502")["state"] == "warning"
    assert str(SYSTEM_HG.path) in found.one("SP502")["found"]
    paste(*found.repair("SP502"))
    assert looked_at(server).bad == []


def test_first_copies_of_a_copied_repository_are_named_and_discarded(server: Repository) -> None:
    hgrc(server).write_text(hgrc(server).read_text().replace("outbox.db", "none/outbox.db"))
    work = Repository(server.site, server.site.folder / "work")
    work.commit()
    work.push(server)
    copy = copy_repository(server, "copy")
    hgrc(copy).write_text(hgrc(copy).read_text().replace("none/outbox.db", "outbox.db"))
    found = looked_at(server, "--repository", copy.path)
    assert "SP503" in found.bad
    paste(found.repair("SP503")[0])
    assert looked_at(server, "--repository", copy.path).bad == ["SP504"]
    assert server.first_copies() == ["r"]
    assert copy.first_copies() == []


def test_two_outboxes_of_one_repository_are_named_and_the_former_is_sent_and_retired(server: Repository) -> None:
    former, folder = server.site.folder / "outbox.db", server.site.folder
    hgrc(server).write_text(hgrc(server).read_text().replace("outbox.db", "new.db"))
    work = Repository(server.site, folder / "work")
    work.commit()
    work.push(server)
    found = looked_at(server)
    assert found.bad == ["SP504"]
    paste(*found.repair("SP504"))
    assert not former.exists()
    with Outbox.open(former.with_name("outbox.db.retired"), create=False) as retired:
        assert retired.pending("public") == 0
    after = examine("--outbox", folder / "new.db", "--broker", f"file://{folder}/log.db")
    assert set(after.bad) <= RELAY


def test_events_that_wait_in_the_repository_and_a_repository_that_is_gone_are_named(server: Repository) -> None:
    work = Repository(server.site, server.site.folder / "work")
    hgrc(server).write_text(hgrc(server).read_text().replace("outbox.db", "none/outbox.db"))
    work.commit()
    work.push(server)
    hgrc(server).write_text(hgrc(server).read_text().replace("none/outbox.db", "outbox.db"))
    for waiting in (server.path / ".hg" / "sourcepulse").glob("r-*"):
        os.utime(waiting, (time.time() - 600,) * 2)
    found = looked_at(server)
    assert found.bad == ["SP506"]
    paste(*found.repair("SP506"))
    assert looked_at(server).bad == []
    server.path.rename(server.site.folder / "moved")
    assert looked_at(server).bad == ["SP507"]


def test_of_very_many_repositories_the_files_are_looked_at_and_as_many_hgrc_as_there_is_time_for(
    server: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox.open(server.site.folder / "outbox.db") as outbox:
        for number in range(200):
            dot_hg = server.site.folder / f"many{number}" / ".hg"
            dot_hg.mkdir(parents=True)
            (dot_hg / "requires").touch()
            outbox.remember_origin("hg", str(dot_hg))
    (dot_hg / "sourcepulse").mkdir()
    (dot_hg / "sourcepulse" / "damaged-r-1").touch()
    monkeypatch.setattr("sourcepulse_hg.doctor.START_LIMIT_SECONDS", 0.0)
    found = looked_at(server)
    assert found.bad == ["SP508"]
    unread = [each["found"] for each in found.findings if each["state"] == "not checked"]
    assert len(unread) == 3
    assert sum(int(number) for number in re.findall(r"hgrc of (\d+)", " ".join(unread))) == 201


def test_a_repository_alone_is_enough_and_its_own_outbox_and_broker_are_looked_at(
    server: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    hgrc(server).write_text(hgrc(server).read_text() + "broker = amqp://127.0.0.1:1/\n")
    found = examine("--repository", server.path)
    assert {"SP401", "SP202"} <= set(found.bad)
    monkeypatch.chdir(server.path)
    assert examine().bad == found.bad
    hgrc(server).write_text(hgrc(server).read_text() + "broker = amqq://127.0.0.1:1/\n")
    found = examine("--repository", server.path)
    assert {"SP401", "SP101"} <= set(found.bad)
    assert main(["doctor", "--repository", str(server.path / "none")]) == 1
