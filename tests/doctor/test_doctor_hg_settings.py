# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor reads the values in the hgrc by the code of a push, and its repairs go to the file where they are set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from support.doctor import Examined, examine, paste
from support.events.outbox_contents import outbox_events
from support.hg.prepared import PreparedSite, as_own, prepared_site
from support.hg.sites import EXTENSION_FOLDER, Repository, Site

#: A relay is no matter of these tests.
RELAY = {"SP401", "SP402", "SP409"}
#: Where the repositories lie.
SERVERS = ("srv/one", "srv/two")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSite:
    """Two repositories below `root` that have published, with all settings in the hgrc of the user alone."""

    def prepare(site: Site) -> None:
        user_hgrc(site).write_text(
            f"{site.hgrc}[extensions]\nsourcepulse_hg = {EXTENSION_FOLDER}\n[sourcepulse]\nroot = {site.folder}/srv\n"
            f"outbox = {site.folder}/outbox.db\nbroker = file://{site.folder}/log.db\nrelay = off\n"
        )
        for name in SERVERS:
            push(site.repository(name))

    return prepared_site(tmp_path_factory.mktemp("doctor"), prepare)


@pytest.fixture
def site(prepared: PreparedSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with as_own(prepared.restored()) as made:
        monkeypatch.chdir(made.folder)
        yield made


@pytest.fixture
def servers(site: Site) -> list[Repository]:
    return [Repository(site, site.folder / name) for name in SERVERS]


def user_hgrc(site: Site) -> Path:
    return site.folder / "hgrc"


def change(site: Site, old: str, new: str) -> None:
    """Change the hgrc of the user."""
    assert old in user_hgrc(site).read_text()
    user_hgrc(site).write_text(user_hgrc(site).read_text().replace(old, new))


def push(server: Repository) -> None:
    work = Repository(server.site, server.site.folder / "work" / server.path.name)
    if not work.path.exists():
        work = server.site.repository(f"work/{server.path.name}")
    work.commit()
    work.push(server)


def looked_at(*options: str | Path) -> Examined:
    found = examine(*options)
    return Examined(found.returncode, [each for each in found.findings if each["id"] not in RELAY])


def found_by_check(server: Repository) -> str:
    return server.hg("sourcepulse-check", check=False).stdout


def test_the_users_hgrc_alone_is_enough_to_find_the_outbox_and_the_broker(
    site: Site, servers: list[Repository]
) -> None:
    found = looked_at()
    assert found.bad == []
    settings = [each["found"] for each in found.findings if each["id"] == "SP101"]
    where = f"so says {user_hgrc(site)}, and the settings name none"
    assert settings == [f"public events to file://{site.folder}/log.db sourcepulse; {where}"]
    assert sorted(each["about"] for each in found.findings if each["id"] == "SP501") == sorted(
        str(server.path) for server in servers
    )
    assert looked_at("--outbox", site.folder / "outbox.db").bad == []
    # What needs a broker uses it, too.
    assert f"--broker file://{site.folder}/log.db" in examine().repair("SP401")[0]


def test_without_a_broker_anywhere_the_commands_write_one_into_a_file_that_is_read(
    site: Site, servers: list[Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    del servers
    change(site, "broker = ", "# broker = ")
    file = site.folder / "etc" / "config.toml"
    for module in ("sourcepulse.operations.doctor.situation", "sourcepulse.config"):
        monkeypatch.setattr(f"{module}.SYSTEM_FILE", file)
    monkeypatch.setattr("sourcepulse.cli.main.default_files", lambda *_: (file,), raising=False)
    found = looked_at("--outbox", site.folder / "outbox.db")
    assert found.bad == ["SP102"]
    paste(*found.repair("SP102"))
    file.with_name("broker").write_text(f"file://{site.folder}/log.db\n")
    assert file.read_text() == f'\nbroker_file = "{file.parent}/broker"\noutbox = "{site.folder}/outbox.db"\n'
    assert looked_at("--config", file).bad == []


@pytest.mark.parametrize("what", ["root", "clone", "publish"])
def test_a_repository_that_publishes_nothing_is_named_as_that(site: Site, servers: list[Repository], what: str) -> None:
    one = servers[0]
    if what == "root":
        change(site, "/srv\n", "/srvv\n")
    elif what == "clone":
        one = site.repository("elsewhere")
    else:
        (one.path / ".hg" / "hgrc").write_text("[sourcepulse]\npublish = no\n")
    found = looked_at("--repository", one.path)
    assert set(found.bad) == {"SP505"}
    (finding,) = [each for each in found.findings if each["id"] == "SP505" and each["about"] == str(one.path)]
    assert finding["state"] == ("warning" if what == "publish" else "broken")
    why = finding["found"].partition(";")[0]
    assert why in found_by_check(one)
    assert str(one.path) not in [each["about"] for each in found.findings if each["state"] == "ok"]


def test_each_value_that_a_push_warns_of_is_named_once_in_the_same_words(site: Site, servers: list[Repository]) -> None:
    lines = [
        "visibility = restrictd",
        "relay = of",
        "detail = filess",
        "max_changesets = many",
        "mirrors = perhaps",
        "source = http://x",
        "colour = blue",
        "exchange = elsewhere",
    ]
    change(site, "relay = off\n", "\n".join([*lines, ""]))
    found = looked_at()
    assert found.bad == ["SP505"] * len(lines)
    assert found.returncode == 1
    checked = found_by_check(servers[0])
    said = [each["found"] for each in found.findings if each["id"] == "SP505"]
    for line in lines:
        (sentence,) = [each for each in said if f"[sourcepulse] {line.partition(' ')[0]} is " in each]
        assert sentence in checked


def test_a_broker_in_an_hgrc_that_is_not_that_of_the_settings_is_looked_at(
    site: Site, servers: list[Repository]
) -> None:
    one = servers[0]
    options = ("--outbox", site.folder / "outbox.db", "--broker", f"file://{site.folder}/log.db")
    (one.path / ".hg" / "hgrc").write_text("[sourcepulse]\nrelay = auto\nbroker = amqp://127.0.0.1:1/\n")
    for also in ((), ("--repository", one.path)):
        assert looked_at(*options, *also).bad == ["SP202"]
    (one.path / ".hg" / "hgrc").write_text("[sourcepulse]\nrelay = auto\nbroker = http://x\n")
    found = looked_at(*options)
    assert found.bad == ["SP101"]
    assert found.one("SP101")["about"] == f"{one.path}/.hg/hgrc:3"


def test_a_line_removed_from_the_users_hgrc_is_one_fault_and_added_there_and_what_was_missed_is_published(
    site: Site, servers: list[Repository]
) -> None:
    change(site, "sourcepulse_hg = ", "# sourcepulse_hg = ")
    push(servers[0])
    found = looked_at()
    assert found.bad == ["SP501"]
    paste(*found.repair("SP501"))
    assert not (servers[0].path / ".hg" / "hgrc").read_text().strip()
    assert looked_at().bad == []
    push(servers[0])
    late = [event.data for event in outbox_events(site.folder / "outbox.db") if event.type == "hg.push.v1"][2:]
    assert [(data["recovered"], data["count"]) for data in late] == [(True, 1), (False, 1)]


def test_an_outbox_changed_in_the_users_hgrc_is_one_fault_and_repaired_there(
    site: Site, servers: list[Repository]
) -> None:
    change(site, "outbox.db", "new.db")
    for server in servers:
        push(server)
    found = looked_at("--outbox", site.folder / "outbox.db")
    assert found.bad == ["SP504"]
    assert str(user_hgrc(site)) in found.repair("SP504")[0]
    paste(*found.repair("SP504"))
    for server in servers:
        assert "outbox" not in (server.path / ".hg" / "hgrc").read_text()
    with Outbox.open(site.folder / "new.db.retired", create=False) as retired:
        assert retired.pending("public") == 0
    assert looked_at().bad == []
