# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor names what keeps a repository from publishing, and its commands repair it with a real hg."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.cli.main import main
from sourcepulse.config import load
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_hg.doctor import checks
from support.doctor import Examined, examine, paste
from support.hg.prepared import PreparedSite, as_own, prepared_site
from support.hg.sites import EXTENSION_FOLDER, SYSTEM_HG, Repository, Site, copy_repository, require

#: A relay on demand is no matter of these tests.
RELAY = {"SP401", "SP402", "SP409"}
#: A user that every Debian has.
OTHER = pwd.getpwnam("daemon")

needs_root = pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")


@pytest.fixture(scope="module")
def prepared() -> Iterator[PreparedSite]:
    """A repository that has published a push to an outbox of the site, in a folder that other users can enter."""

    def prepare(site: Site) -> None:
        keys = f"outbox = {site.folder}/outbox.db\nrelay = off\nbroker = file://{site.folder}/log.db"
        server, work = site.server(keys=keys), site.repository("work")
        work.commit()
        work.push(server)

    # pytest closes its own folders again and again.
    with tempfile.TemporaryDirectory(prefix="sourcepulse-test-") as name:
        os.chmod(name, 0o755)
        yield prepared_site(Path(os.path.realpath(name)), prepare)


@pytest.fixture
def site(prepared: PreparedSite) -> Iterator[Site]:
    with as_own(prepared.restored()) as made:
        yield made


@pytest.fixture
def server(site: Site) -> Repository:
    return Repository(site, site.folder / "server")


def looked_at(server: Repository, *options: str | Path) -> Examined:
    """Run the doctor on the outbox, which knows the repository, with the broker that the hgrc has."""
    folder = server.site.folder
    found = examine("--outbox", folder / "outbox.db", "--broker", f"file://{folder}/log.db", *options)
    return Examined(found.returncode, [each for each in found.findings if each["id"] not in RELAY])


def belongs_to_another(server: Repository) -> None:
    """Make all files of the repository those of another user."""
    for path in (server.path, *server.path.rglob("*")):
        os.chown(path, OTHER.pw_uid, OTHER.pw_gid, follow_symlinks=False)


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
    # Only a person can know which of the two commands is right, so the one that is printed decides nothing.
    (command,) = found.repair("SP503")
    assert "hg.push.v1" in paste(command, check=False)
    assert copy.first_copies() == ["r"]
    paste(f"{command} --discard")
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
    assert not list(folder.glob("outbox.db.lock")) + list(folder.glob("outbox.db-*"))
    after = examine("--outbox", folder / "new.db", "--broker", f"file://{folder}/log.db")
    assert set(after.bad) <= RELAY


def test_an_outbox_with_events_that_its_relay_may_not_send_stays_where_it_is(server: Repository) -> None:
    former, folder = server.site.folder / "outbox.db", server.site.folder
    work = Repository(server.site, folder / "work")
    hgrc(server).write_text(hgrc(server).read_text() + "visibility = restricted\n")
    work.commit()
    work.push(server)
    hgrc(server).write_text(hgrc(server).read_text().replace("outbox.db", "new.db"))
    found = looked_at(server)
    assert found.bad == ["SP504"]
    paste(*found.repair("SP504"), check=False)
    with Outbox.open(former, create=False) as outbox:
        assert outbox.pending("public") == 0
        assert outbox.pending("restricted") == 1


def test_what_an_hgrc_says_is_quoted_in_the_commands(server: Repository) -> None:
    folder = server.site.folder
    traps = [folder / f"trap{number}" for number in range(3)]
    said = f"file://{folder}/a b';touch${{IFS}}{traps[0]};'\"$(touch {traps[1]})`touch {traps[2]}`"
    text = hgrc(server).read_text().replace("outbox.db", "new.db")
    for key, word in (("broker", said), ("broker_file", str(server.path / ".hg" / said))):
        hgrc(server).write_text(re.sub("(?m)^broker.*", lambda _, key=key: f"{key} = {said}", text))
        found = examine("--outbox", folder / "outbox.db", "--repository", server.path)
        (command,) = [each for each in found.repair("SP504") if " relay --once " in each]
        assert shlex.split(command)[-1] == word
        paste(*found.repair("SP504"), check=False)
    assert not [trap for trap in traps if trap.exists()]


def test_commands_append_to_an_hgrc_without_a_last_newline_and_change_no_other_section(server: Repository) -> None:
    hgrc(server).write_text(f"[sourcepulse]\noutbox = {server.site.folder}/outbox.db\nrelay = off")
    paste(*looked_at(server).repair("SP501"))
    assert looked_at(server).bad == []
    hook = "[hooks]\nsourcepulse_hg = true"
    text = hgrc(server).read_text().replace(str(EXTENSION_FOLDER), "/nowhere")
    hgrc(server).write_text(f"{hook}\n{text}{hook}")
    paste(*looked_at(server).repair("SP502"))
    assert hgrc(server).read_text().count(hook) == 2
    assert looked_at(server).bad == []


@needs_root
def test_root_runs_what_an_hgrc_names_as_its_owner_and_never_as_root(server: Repository) -> None:
    require(SYSTEM_HG)
    witness, evil = server.site.folder / "witness", server.site.folder / "evil.py"
    witness.touch()
    witness.chmod(0o666)
    evil.write_text(f"import os\nopen({str(witness)!r}, 'a').write(f'{{os.getuid()}} {{os.geteuid()}}\\n')\n")
    hgrc(server).write_text(f"[extensions]\nevil = {evil}\n" + hgrc(server).read_text())
    # Root's own hg would trust everyone.
    user_hgrc = server.site.folder / "hgrc"
    user_hgrc.write_text(user_hgrc.read_text() + "[trusted]\nusers = *\ngroups = *\n")
    os.chown(hgrc(server), OTHER.pw_uid, OTHER.pw_gid)
    for options in ((), ("--repository", server.path)):
        assert looked_at(server, *options).bad == ["SP510"]
    assert witness.read_text() == ""
    # Here an hgrc of another user may appear at any time.
    hgrc(server).unlink()
    server.path.joinpath(".hg").chmod(0o777)
    assert "SP501" in looked_at(server).bad
    hgrc(server).write_text(f"[extensions]\nevil = {evil}\n")
    looked_at(server)
    assert set(witness.read_text().splitlines()) == {"65534 65534"}
    witness.write_text("")
    belongs_to_another(server)
    looked_at(server, "--repository", server.path)
    assert set(witness.read_text().splitlines()) == {f"{OTHER.pw_uid} {OTHER.pw_uid}"}


@needs_root
def test_an_hgrc_that_those_who_push_do_not_trust_is_named_and_belongs_to_the_owner_after_the_command(
    server: Repository,
) -> None:
    require(SYSTEM_HG)
    belongs_to_another(server)
    assert looked_at(server).bad == []
    os.chown(hgrc(server), 0, 0)
    found = looked_at(server)
    assert found.bad == ["SP510"], found.findings
    assert "untrusted user root" in found.one("SP510")["found"]
    paste(*found.repair("SP510"))
    assert looked_at(server).bad == []


@needs_root
def test_root_is_shown_commands_that_run_as_the_owner_of_the_repository(server: Repository) -> None:
    require(SYSTEM_HG)
    belongs_to_another(server)
    hgrc(server).unlink()
    paste(*looked_at(server).repair("SP501"))
    assert hgrc(server).stat().st_uid == OTHER.pw_uid
    assert "SP501" not in looked_at(server).bad
    hgrc(server).write_text(hgrc(server).read_text() + "[sourcepulse]\npublish = no\n")
    (command,) = looked_at(server).repair("SP505")
    assert command == f"runuser -u {OTHER.pw_name} -- hg -R {server.path} sourcepulse-check"
    assert "publish" in paste(command, path=[SYSTEM_HG.path.parent], check=False)
    os.chown(hgrc(server).parent, 54_321, 54_321)
    os.chown(hgrc(server), 54_321, 54_321)
    (command,) = looked_at(server).repair("SP505")
    assert command.startswith("setpriv --reuid=54321 --regid=54321 --clear-groups -- hg ")
    assert "publish" in paste(command, path=[SYSTEM_HG.path.parent], check=False)


@needs_root
def test_a_user_whose_hg_does_not_trust_the_hgrc_sees_that(server: Repository) -> None:
    require(SYSTEM_HG)
    belongs_to_another(server)
    examine("--repository", server.path)
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgid(54_321)
            os.setuid(54_321)
            found = examine("--repository", server.path)
            os.write(write, json.dumps([[each["id"], each["repair"]] for each in found.findings]).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with open(read, encoding="utf-8") as answer:
        seen = dict(json.load(answer))
    assert OTHER.pw_name in seen["SP511"][0]
    assert "SP501" not in seen


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
    assert sum(int(number) for number in re.findall(r"hgrc of (\d+)", " ".join(unread))) == 201
    situation = Situation(config=load({}, environ={}), repositories=[server.path])
    assert [[each.counts for each in job.run()] for job in checks(situation)] == [[True]]


def test_the_hgrc_of_all_repositories_of_a_server_are_read_if_they_say_the_same(server: Repository) -> None:
    with Outbox.open(server.site.folder / "outbox.db") as outbox:
        for number in range(40):
            copy = copy_repository(server, f"many{number}")
            outbox.remember_origin("hg", str(copy.path / ".hg"))
            hgrc(copy).write_text(f"{hgrc(copy).read_text()}\n[web]\ndescription = {number}\n")
    hgrc(copy).write_text(hgrc(copy).read_text().replace("sourcepulse_hg =", "# sourcepulse_hg ="))
    found = looked_at(server)
    assert found.bad == ["SP501"]
    assert found.one("SP501")["about"] == str(copy.path)
    well = [each["found"] for each in found.findings if (each["id"], each["state"]) == ("SP501", "ok")]
    assert sum(int(number) for text in well for number in re.findall(r"enabled in (\d+)", text)) == 40


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
