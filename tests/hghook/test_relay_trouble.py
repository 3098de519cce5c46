# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pusher hears why events wait, a relay that could not start is remembered, a corrected hgrc takes effect."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sourcepulse.cli.main import main
from support.brokers.embedded_log import wait_until
from support.hg.sites import Repository, Site
from support.streams.relays import relay_of, relays

LIMIT_SECONDS = 40.0


def all_delivered(server: Repository) -> bool:
    with sqlite3.connect(server.outbox) as database:
        states = {state for (state,) in database.execute("SELECT state FROM events")}
    database.close()
    return states == {"delivered"}


def let_wait(server: Repository, seconds: float) -> None:
    """Make the events of an outbox older than they are."""
    with sqlite3.connect(server.outbox) as database:
        database.execute("UPDATE events SET stored_at = stored_at - ?", (seconds,))
    database.close()


def failed(server: Repository) -> bool:
    with sqlite3.connect(server.outbox) as database:
        row = database.execute("SELECT failures FROM deliveries").fetchone()
    database.close()
    return row is not None and row[0] > 0


def set_keys(server: Repository, **keys: str) -> None:
    hgrc = server.path / ".hg" / "hgrc"
    lines = [line for line in hgrc.read_text().splitlines() if line.split("=")[0].strip() not in keys]
    lines += ["[sourcepulse]", *(f"{name} = {value}" for name, value in keys.items())]
    hgrc.write_text("\n".join(lines) + "\n")


def test_a_mistyped_broker_in_the_hgrc_is_reported_to_the_pusher_and_corrected_there(site: Site) -> None:
    server = site.server(keys="broker = amqp://guest:s3cret@127.0.0.1:1/")
    work = site.repository("work")
    work.commit()
    first = work.push(server)
    assert "wait" not in first.stderr
    with relay_of(server.outbox) as old:
        wait_until(lambda: failed(server), LIMIT_SECONDS)
        let_wait(server, 60)
        work.commit()
        second = work.push_ssh(server)
        talk = second.stdout + second.stderr
        assert talk.count("events wait to be published") == 1
        assert "127.0.0.1:1 cannot be reached" in talk
        assert "s3cret" not in talk
        assert relays(server.outbox) == [old]
        set_keys(server, broker=f"file://{site.folder}/log.db")
        work.commit()
        work.push(server)
        # Nothing was confirmed at the first broker, so nothing needs to be said twice.
        wait_until(lambda: all_delivered(server), LIMIT_SECONDS)
        # It released the outbox, but need not have ended.
        wait_until(lambda: old not in relays(server.outbox), LIMIT_SECONDS)


def test_a_broker_file_is_read_again_by_the_relay_on_demand(site: Site) -> None:
    secret = site.folder / "broker-url"
    secret.write_text(f"file://{site.folder}/nowhere/log.db")
    secret.chmod(0o600)
    server = site.server(keys=f"broker_file = {secret}")
    work = site.repository("work")
    work.commit()
    work.push(server)
    with relay_of(server.outbox) as relay:
        wait_until(lambda: failed(server), LIMIT_SECONDS)
        let_wait(server, 60)
        work.commit()
        pushed = work.push_ssh(server)
        (talk,) = [line for line in (pushed.stdout + pushed.stderr).splitlines() if "sourcepulse:" in line]
        assert str(site.folder) not in talk, "a path of the server"
        assert "folder of the log <path>" in talk
        secret.write_text(f"file://{site.folder}/log.db")
        wait_until(lambda: all_delivered(server), LIMIT_SECONDS)
        assert relays(server.outbox) == [relay]


def _not_executable(program: Path) -> None:
    program.write_text("#!/nowhere/python\n")


def _dies(program: Path) -> None:
    program.write_text("#!/bin/sh\necho 'ImportError: no module of that name' >&2\nexit 1\n")


def _silent(program: Path) -> None:
    program.write_text("#!/bin/sh\nexit 3\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [(_not_executable, "not found"), (_dies, "ImportError: no module"), (_silent, "without a message")],
)
def test_a_relay_that_did_not_start_is_reported_at_the_next_push_and_in_status(
    site: Site, make: Callable[[Path], None], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = site.server(keys=f"broker = file://{site.folder}/log.db")
    work = site.repository("work")
    work.commit()
    program = site.folder / "sourcepulse"
    make(program)
    program.chmod(0o755)
    # The program of this installation is found beside the interpreter: an extension of this repository's names another.
    finder = site.folder / "finder.py"
    finder.write_text(
        f"from sourcepulse_hg.pending import relay_start\nrelay_start.find_program = lambda: {str(program)!r}\n"
    )
    with (server.path / ".hg" / "hgrc").open("a") as hgrc:
        hgrc.write(f"[extensions]\nfinder = {finder}\n")
    first = work.push(server)
    assert "did not start" not in first.stderr
    time.sleep(1.2)
    work.commit()
    second = work.push(server)
    assert second.stderr.count("did not start after an earlier push") == 1
    assert words in second.stderr
    time.sleep(1.2)
    assert main(["status", "--outbox", str(server.outbox)]) == 0
    assert words in capsys.readouterr().out
    finder.write_text("")
    work.commit()
    work.push(server)
    with relay_of(server.outbox):
        wait_until(lambda: all_delivered(server), LIMIT_SECONDS)
        work.commit()
        assert "did not start" not in work.push(server).stderr
