# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Behind Apache: a pusher reads that events are pending, an admin sees why, a corrected program publishes them."""

from __future__ import annotations

import sqlite3

import pytest

from sourcepulse.cli.main import main
from support.brokers.embedded_log import wait_until
from support.hg.apache import Apache, apache
from support.hg.sites import Site
from support.streams.relays import relay_of, relays

LIMIT_SECONDS = 40.0
#: The program of the test's installation, by the Python of the web server.
_WORKS = '#!/bin/sh\nPYTHONPATH={site} exec /usr/bin/python3 -m sourcepulse.cli "$@"\n'


def all_delivered(server: Apache) -> bool:
    with sqlite3.connect(server.outbox) as database:
        states = {state for (state,) in database.execute("SELECT state FROM events")}
    database.close()
    return states == {"delivered"}


def status(server: Apache, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["status", "--outbox", str(server.outbox)]) == 0
    return capsys.readouterr().out


def test_a_program_that_the_web_server_may_not_execute_is_reported_to_the_pusher_and_in_status(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    work = site.repository("work")

    def push() -> str:
        work.commit()
        done = work.hg("push", server.url)
        talk = done.stdout + done.stderr
        assert str(server.folder) not in talk, "a path of the server"
        return talk

    with apache() as server:
        # A program that is not executable: found when the hook looks for it.
        server.program.write_text(_WORKS.format(site=server.folder / "venv" / "lib" / "python3" / "site-packages"))
        server.program.chmod(0o600)
        talk = push()
        assert talk.count("remote: sourcepulse: no relay was started: the user ") == 1
        assert "may not execute the program" in talk
        assert "the events wait until" in talk
        wait_until(lambda: "the last relay failed to start" in status(server, capsys), LIMIT_SECONDS)
        said = status(server, capsys)
        assert "pending, oldest" in said
        assert f"may not execute the program {server.program}" in said
        # One whose interpreter is closed to the web server: found by the shell, whose stderr is not read.
        works = server.program.read_text()
        private = server.folder / "private"
        private.mkdir(mode=0o000)
        server.program.write_text(f"#!{private}/python\n")
        server.program.chmod(0o755)
        push()
        wait_until(lambda: str(server.program) in status(server, capsys), LIMIT_SECONDS)
        assert "the last relay failed to start" in status(server, capsys)
        server.program.write_text(works)
        # It starts a relay, and is the first to hear of the one before.
        assert "did not start after an earlier push: " in push()
        with relay_of(server.outbox):
            wait_until(lambda: all_delivered(server), LIMIT_SECONDS)
            assert "the last relay failed to start" not in status(server, capsys)
        assert relays(server.outbox) == []
