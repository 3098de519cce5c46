# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`hg sourcepulse-check` names what keeps events from being published; `collect` asks hg for the outbox."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from sourcepulse import Consumer, config
from sourcepulse.cli.main import main
from sourcepulse.outbox.delivery_state import bind_broker
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.health.liveness import lock_path
from sourcepulse.testing import system_event
from sourcepulse_hg.commands.setting_keys import KEYS, RELAY_KEYS
from support.hg.sites import Repository, Site
from support.streams.relays import relay_of


def checked(server: Repository) -> tuple[int, str]:
    done = server.hg("sourcepulse-check", check=False)
    return done.returncode, done.stdout


def test_a_repository_that_publishes_is_well(site: Site) -> None:
    server = site.server(keys=f"broker = file://{site.folder}/log.db")
    code, said = checked(server)
    assert code == 0, said
    for line in ("ok extension", "ok name", "ok outbox", "the first push creates it", "ok public broker"):
        assert line in said


def test_before_the_first_push_the_check_says_who_runs_the_relay(site: Site) -> None:
    code, said = checked(site.server(keys=f"relay = off\nbroker = file://{site.folder}/log.db"))
    assert code == 0, said
    assert "with relay = off you run it" in said


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("root = /srv/elsewhere\nbroker = file:///tmp/log.db", "nothing is published: it lies outside"),
        ("broker = amqp://guest:s3cret@127.0.0.1:1/", "127.0.0.1:1 cannot be reached"),
        ("broker = amqq://host/", "!! broker"),
        ("broker_file = /nowhere/at/all", "cannot be read"),
        ("outbox = /nowhere/at/all.db\nbroker = file:///tmp/log.db", "!! outbox"),
        ("publish = no", "publish = no"),
        ("visibility = restricted\nbroker = file:///tmp/log.db", "!! restricted broker"),
        ("", "neither broker nor broker_file is set"),
    ],
)
def test_what_keeps_events_from_being_published_is_named(site: Site, keys: str, words: str) -> None:
    code, said = checked(site.server(keys=keys))
    assert code == 1, said
    assert words in said
    assert "s3cret" not in said


def test_a_setting_of_the_relay_is_named_by_the_check_and_by_a_push(site: Site) -> None:
    server = site.server(keys=f"relay = off\nbroker = file://{site.folder}/log.db\nexchange = elsewhere\nexchang = x")
    code, said = checked(server)
    assert code == 1
    named = "[sourcepulse] exchange is a setting of the relay and has no effect here; set relay = off"
    assert named in said
    assert "[sourcepulse] exchang is an unknown setting" in said
    work = site.repository("work")
    work.commit()
    pushed = work.push(server)
    assert named in pushed.stdout + pushed.stderr


def test_the_settings_of_the_relay_are_those_of_its_configuration() -> None:
    assert {key.encode() for key in config.KEYS} - set(KEYS) == RELAY_KEYS


def test_a_relay_that_does_not_run_and_a_broker_that_was_changed_are_named(site: Site) -> None:
    server = site.server(keys=f"relay = off\nbroker = file://{site.folder}/log.db")
    work = site.repository("work")
    work.commit()
    work.push(server)
    with Outbox.open(server.outbox, create=False) as outbox:
        bind_broker(outbox, "public", "amqp://elsewhere:5672/%2F sourcepulse")
    code, said = checked(server)
    assert code == 1
    assert "!! relay             not running, and with relay = off pushes do not start one" in said
    assert f"run `sourcepulse outbox rebind --outbox {server.outbox}`" in said
    with lock_path(server.outbox).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["outbox", "rebind", "--outbox", str(server.outbox)]) == 0
        code, said = checked(server)
    assert code == 0, said
    assert "ok relay             running" in said


def test_the_program_that_sends_is_looked_at_as_well(site: Site) -> None:
    server = site.server(keys=f"broker = file://{site.folder}/log.db")
    program = site.folder / "sourcepulse"
    program.write_text("#!/nowhere/python\n")
    program.chmod(0o755)
    finder = site.folder / "finder.py"
    finder.write_text(f"from sourcepulse_hg.commands import check\ncheck.find_program = lambda: {str(program)!r}\n")
    with (server.path / ".hg" / "hgrc").open("a") as hgrc:
        hgrc.write(f"[extensions]\nfinder = {finder}\n")
    code, said = checked(server)
    assert code == 1
    assert "!! program           " in said
    assert "cannot be run" in said


def test_the_broker_is_asked_about_the_key_that_events_of_the_repository_have(site: Site) -> None:
    server = site.repository("my.repo \u00e9", f"[extensions]\nsourcepulse_hg = {site.program.extension}\n")
    program, asked = site.folder / "sourcepulse", site.folder / "asked"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {asked}\n")
    program.chmod(0o755)
    finder = site.folder / "finder.py"
    finder.write_text(f"from sourcepulse_hg.commands import check\ncheck.find_program = lambda: {str(program)!r}\n")
    with (server.path / ".hg" / "hgrc").open("a") as hgrc:
        hgrc.write(f"finder = {finder}\n[sourcepulse]\nrelay = off\nbroker = file://{site.folder}/log.db\n")
    checked(server)
    work = site.repository("work")
    work.commit()
    work.push(server)
    (event,) = server.events()
    assert event.routing_key in asked.read_text(encoding="ascii").splitlines()


def test_collect_stores_where_the_configuration_of_the_repository_says(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = tmp_path / "elsewhere.db"
    server = site.server(keys=f"outbox = {outbox}")
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)
    work = site.repository("work")
    work.commit()
    work.push(server)
    assert main(["collect", "--json", str(server.path)]) == 0
    assert json.loads(capsys.readouterr().out)["collected"] == 0
    assert not (server.path / ".hg" / "sourcepulse" / "outbox.db").exists()
    with Outbox.open(outbox, create=False) as opened:
        assert opened.claim("public")
    assert main(["collect", str(tmp_path / "nothing")]) == 3


def test_a_push_that_is_not_published_is_mentioned_with_debug_only(site: Site) -> None:
    server = site.server(keys="root = /srv/elsewhere")
    work = site.repository("work")
    work.commit()
    assert "sourcepulse" not in work.push(server).stderr
    work.commit()
    done = work.hg("push", "--debug", server.path)
    assert "nothing is published: it lies outside `root`" in done.stdout + done.stderr


def test_a_repository_that_a_link_leads_out_of_the_root_says_so(site: Site) -> None:
    (site.folder / "data").mkdir()
    (site.folder / "srv").mkdir()
    (site.folder / "srv" / "link").symlink_to(site.folder / "data" / "real")
    real = site.server("data/real", keys=f"root = {site.folder}/srv")
    linked = Repository(site, site.folder / "srv" / "link")
    work = site.repository("work")
    work.commit()
    work.push(linked)
    assert real.events() == []
    found = linked.hg("sourcepulse-check", check=False)
    recovered = linked.hg("sourcepulse-recover", check=False)
    assert found.returncode == 1
    assert "nothing is published: it lies outside `root`" in found.stdout
    assert "it publishes nothing" in recovered.stderr


def test_first_copies_that_wait_are_named_and_recover_has_them_published(site: Site) -> None:
    outbox, log = site.folder / "kept" / "outbox.db", f"file://{site.folder}/log.db"
    server = site.server(keys=f"outbox = {outbox}\nbroker = {log}")
    server.commit("one")
    server.commit("two", name="two")
    outbox.parent.mkdir()
    code, said = checked(server)
    assert code == 1
    assert "!! first copies      not in the outbox yet: 2; the next push brings them, or hg sourcepulse-recover" in said
    recovered = server.hg("sourcepulse-recover")
    with relay_of(outbox):
        assert "a relay publishes them" in recovered.stdout + recovered.stderr
        with Consumer(log, ["hg.push.#"], timeout=30, from_start=True) as consumer:
            events = iter(consumer)
            assert [next(events).data["count"] for _ in range(2)] == [1, 1]


def test_events_that_no_relay_sends_are_named(site: Site) -> None:
    server = site.server(keys=f"relay = off\nbroker = file://{site.folder}/log.db")
    server.commit()
    settings = server.path / ".hg" / "hgrc"
    settings.write_text(settings.read_text(encoding="utf-8").replace("relay = off", ""), encoding="utf-8")
    code, said = checked(server)
    assert code == 1
    assert "not running, and 4 events are pending: a push starts it" in said


def test_restricted_events_that_stay_in_a_shared_outbox_do_not_disturb_a_public_repository(site: Site) -> None:
    server = site.server(keys=f"broker = file://{site.folder}/log.db")
    server.outbox.parent.mkdir(exist_ok=True)
    with Outbox.open(server.outbox) as outbox:
        outbox.append([system_event(1, source="system://other?restricted")])
    code, said = checked(server)
    assert code == 0, said
