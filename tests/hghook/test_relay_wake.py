# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Where a relay collects, a push only wakes it; whatever happens to relay or socket, no event is lost or misplaced."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from sourcepulse.errors import SourcePulseError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.wake.send import send_wake
from sourcepulse_hg.pending.collect import collect_repository
from support.brokers.embedded_log import wait_until
from support.hg.relayed import LIMIT_SECONDS, RelayedSite, relaying
from support.hg.sites import Repository, Site, copy_repository


def test_a_push_wakes_the_relay_and_opens_no_database(each_site: Site) -> None:
    shop = RelayedSite(each_site)
    with shop.relay():
        for _ in range(2):
            shop.push()
            wait_until(shop.are_collected, LIMIT_SECONDS)
        assert shop.server.first_copies() == []
    assert shop.ways() == ["woke", "woke"]


def _as_mere_owner(site: Site) -> str:
    """Return an hg that may not read what the mode of a file forbids, although root runs it."""
    if os.geteuid() != 0:
        return str(site.program.path)
    program = site.folder / "hg-without-rights"
    drop = "setpriv --bounding-set=-dac_override,-dac_read_search"
    program.write_text(f'#!/bin/sh\nexec {drop} {site.program.path} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def test_a_pusher_needs_no_right_on_the_outbox(site: Site) -> None:
    shop = RelayedSite(site)
    with shop.relay():
        # The relay has it open.
        shop.outbox.chmod(0)
        try:
            assert "sourcepulse" not in shop.push(f"ui.remotecmd={_as_mere_owner(site)}")
            asked = [_as_mere_owner(site), "-R", str(shop.server.path), "sourcepulse-check"]
            checked = subprocess.run(asked, env=site.environ, capture_output=True, text=True, check=False)
            assert "needs no right: the relay collects here" in checked.stdout
            shop.proof.unlink()
            assert "unable to open database file" in shop.push(f"ui.remotecmd={_as_mere_owner(site)}")
        finally:
            shop.outbox.chmod(0o600)
        wait_until(shop.are_collected, LIMIT_SECONDS)


def _remove(shop: RelayedSite) -> None:
    shop.socket.unlink()


def _replace_by_file(shop: RelayedSite) -> None:
    shop.socket.unlink()
    shop.socket.write_text("a file", encoding="utf-8")


@pytest.mark.parametrize("damage", [_remove, _replace_by_file])
def test_without_a_socket_the_push_collects_itself(site: Site, damage: object) -> None:
    assert callable(damage)
    shop = RelayedSite(site)
    with shop.relay() as relay:
        # Otherwise the relay puts it right within a second.
        shop.freeze(relay)
        damage(shop)
        shop.push()
        assert shop.are_collected()
    assert shop.ways() == ["collected"]


def test_a_relay_that_hangs_is_noticed_by_the_copies_that_wait(site: Site) -> None:
    shop = RelayedSite(site)
    with shop.relay() as relay:
        shop.freeze(relay)
        shop.push()
        assert not shop.are_collected()
        time.sleep(2.5)
        shop.push()
        assert shop.are_collected()
        relay.send_signal(signal.SIGCONT)
        shop.push()
        wait_until(shop.are_collected, LIMIT_SECONDS)
    assert shop.ways() == ["woke", "collected", "woke"]


def test_a_relay_that_is_killed_after_the_wake_loses_nothing(site: Site) -> None:
    shop = RelayedSite(site)
    with shop.relay() as relay:
        shop.freeze(relay)
        shop.push()
        relay.kill()
        relay.wait(LIMIT_SECONDS)
        assert shop.server.first_copies() == ["r"]
    with relaying(shop.outbox, shop.log):
        wait_until(shop.are_collected, LIMIT_SECONDS)
    shop.push()
    assert shop.are_collected()
    assert shop.ways() == ["woke", "collected"]


def test_simultaneous_pushes_stay_in_order(site: Site) -> None:
    shop = RelayedSite(site)
    works = [site.repository(f"work{number}") for number in range(3)]
    for number, work in enumerate(works):
        for _ in range(3):
            work.commit(name=f"file{number}")

    def push_all(work: Repository) -> None:
        for node in work.nodes():
            work.push_ssh(shop.server, "--rev", node)

    with shop.relay():
        threads = [threading.Thread(target=push_all, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(shop.are_collected, LIMIT_SECONDS)
        assert len(shop.server.nodes()) == 10
        assert shop.server.first_copies() == []
    assert "woke" in shop.ways()


def test_the_proof_is_not_that_of_a_copy_or_of_another_outbox(site: Site) -> None:
    shop = RelayedSite(site)
    with shop.relay() as relay:
        # Otherwise it notices the other outbox and serves that.
        shop.freeze(relay)
        copied = copy_repository(shop.server, "copied")
        shop.work.commit()
        shop.work.push_ssh(copied)
        # The other outbox is a copy as well, at the same place.
        other = shop.outbox.with_name("other.db")
        other.write_bytes(shop.outbox.read_bytes())
        other.rename(shop.outbox)
        shop.push()
    assert shop.ways() == ["collected", "collected"]


def test_the_proof_is_there_while_events_reach_the_broker(site: Site) -> None:
    shop = RelayedSite(site)
    place = str(shop.server.path)

    def state(failures: int, pending: str) -> bool:
        with sqlite3.connect(shop.outbox) as database:
            database.execute("INSERT OR REPLACE INTO deliveries (stream, failures) VALUES ('public', ?)", (failures,))
            database.execute("UPDATE events SET state = ?", (pending,))
        database.close()
        collect_repository(place, outbox, deadline_s=LIMIT_SECONDS)
        return shop.proof.exists()

    with Outbox.open(shop.outbox) as outbox:
        # Other collectors leave none, because no relay may run.
        assert not state(0, "delivered")
        outbox.relayed_streams = frozenset({"public"})
        assert not state(0, "pending")
        assert state(0, "delivered")
        assert state(0, "pending")
        # The next push collects, and the pusher hears why events wait.
        assert not state(1, "pending")
        # Events of a stream that this relay does not publish wait for ever.
        with outbox.writing() as database:
            database.execute("UPDATE events SET stream = 'restricted'")
        assert state(0, "pending")


def test_a_push_to_a_repository_that_was_moved_collects_itself(site: Site) -> None:
    shop = RelayedSite(site)
    with shop.relay():
        moved = shop.server.path.with_name("moved")
        shop.server.path.rename(moved)
        shop.server = Repository(site, moved)
        shop.push()
        assert shop.are_collected()
    assert shop.ways() == ["collected"]


def test_a_relay_that_cannot_collect_any_more_withdraws_its_proof_or_lets_it_age(site: Site) -> None:
    shop = RelayedSite(site)
    with shop.relay() as relay:
        shop.freeze(relay)
        # As a relay leaves it that fails at each sweep and may not remove it.
        long_ago = time.time() - 60
        os.utime(shop.proof, (long_ago, long_ago))
        shop.push()
        assert shop.are_collected()
        relay.send_signal(signal.SIGCONT)
        with Outbox.open(shop.outbox) as outbox:
            outbox.relayed_streams = frozenset({"public"})
            place = str(shop.server.path)
            collect_repository(place, outbox, deadline_s=LIMIT_SECONDS)
            assert time.time() - shop.proof.stat().st_mtime < 45
            lock = shop.proof.with_name("lock")
            lock.unlink()
            lock.mkdir()
            with pytest.raises(SourcePulseError):
                collect_repository(place, outbox, deadline_s=LIMIT_SECONDS)
            lock.rmdir()
            assert not shop.proof.exists()
    assert shop.ways() == ["collected"]


def test_a_repository_whose_lock_is_held_delays_no_other(site: Site) -> None:
    shop = RelayedSite(site)
    with shop.relay():
        with Outbox.open(shop.outbox) as outbox:
            outbox.remember_origin("hg", str(site.repository("held").path / ".hg"))
        held = site.folder / "held" / ".hg" / "sourcepulse"
        held.mkdir()
        (held / "r-00000000000000000001-00").write_bytes(b"")
        with (held / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for _ in range(3):
                assert send_wake(str(shop.socket), b"hg\0" + os.fsencode(held.parent))
            begun = time.monotonic()
            shop.push()
            wait_until(shop.are_collected, LIMIT_SECONDS)
            assert time.monotonic() - begun < 15
    assert shop.ways() == ["woke"]


def test_the_proof_holds_where_a_link_leads_to_the_outbox(site: Site) -> None:
    folder = site.folder / "real"
    folder.mkdir()
    (site.folder / "linked").symlink_to(folder)
    shop = RelayedSite(site, site.folder / "linked" / "outbox.db")
    with shop.relay():
        shop.push()
        wait_until(shop.are_collected, LIMIT_SECONDS)
    assert shop.ways() == ["woke"]


def test_a_pipe_in_the_place_of_the_proof_keeps_no_push_waiting(site: Site) -> None:
    shop = RelayedSite(site)
    os.mkfifo(shop.proof)
    shop.push()
    assert shop.are_collected()
