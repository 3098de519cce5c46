# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The hook starts a relay that outlives the push, holds none of its pipes and shows no password."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.health.liveness import lock_path
from support.events.outbox_contents import outbox_events
from support.hg.sites import Repository, Site
from support.streams.relays import relay_of, relays

_START_LIMIT_SECONDS = 30.0
_PASSWORD = "s3cr3t-w0rd"


def _delivered(server: Repository) -> bool:
    with sqlite3.connect(server.outbox) as database:
        row = database.execute("SELECT count(*) FROM events WHERE state = 'delivered'").fetchone()
    database.close()
    return bool(row[0])


def test_an_ssh_client_returns_while_the_relay_lives_and_delivers(each_site: Site) -> None:
    server = each_site.server(keys=f"broker = file://{each_site.folder}/log.db")
    work = each_site.repository("work")
    work.commit()
    # run() returns when the last holder of the pipes is gone.
    result = work.push_ssh(server)
    assert "sourcepulse" not in result.stdout + result.stderr
    with relay_of(server.outbox) as relay:
        limit = time.monotonic() + _START_LIMIT_SECONDS
        while not _delivered(server):
            assert time.monotonic() < limit, "nothing was delivered"
            time.sleep(0.05)
        process = Path("/proc") / str(relay)
        assert process.joinpath("cwd").readlink() == Path("/")
        assert os.getsid(relay) not in (os.getsid(0), relay), "it could get a terminal"
        # Its parent is gone, so no zombie of it will stay in a long-lived server.
        assert f"\nPPid:\t{os.getpid()}\n" not in process.joinpath("status").read_text(encoding="utf-8")
        descriptors = {int(entry.name): os.readlink(entry) for entry in process.joinpath("fd").iterdir()}
        assert [descriptors[fd] for fd in range(3)] == ["/dev/null"] * 3
        foreign = [target for target in descriptors.values() if str(server.path / ".hg" / "store") in target]
        assert foreign == []
        # One relay is enough.
        work.commit()
        work.push(server)
        assert relays(server.outbox) == [relay]


def test_descriptors_that_the_server_inherited_are_closed(site: Site) -> None:
    server = site.server(keys=f"broker = file://{site.folder}/log.db")
    work = site.repository("work")
    work.commit()
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    subprocess.run(
        [site.program.path, "-R", work.path, "push", server.path],
        env=site.environ,
        check=True,
        capture_output=True,
        timeout=60,
        pass_fds=[writing],
    )
    os.close(writing)
    with relay_of(server.outbox):
        # The end of the pipe shows that no other process holds its other side.
        os.set_blocking(reading, False)
        assert os.read(reading, 1) == b""
    os.close(reading)


@pytest.mark.parametrize("way", ["broker", "broker_file"])
def test_the_password_is_in_no_argument_and_local_users_are_warned_of_a_readable_one(site: Site, way: str) -> None:
    url = f"amqp://user:{_PASSWORD}@127.0.0.1:1/"
    secret = site.folder / "broker-url"
    secret.write_text(url, encoding="utf-8")
    secret.chmod(0o600)
    server = site.server(keys=f"broker = {url}" if way == "broker" else f"broker_file = {secret}")
    (server.path / ".hg" / "hgrc").chmod(0o644)
    work = site.repository("work")
    work.commit()
    local = work.push(server)
    with relay_of(server.outbox) as relay:
        assert _PASSWORD.encode() not in (Path("/proc") / str(relay) / "cmdline").read_bytes()
        variables = (Path("/proc") / str(relay) / "environ").read_bytes().split(b"\0")
        expected = f"SOURCEPULSE_BROKER={url}" if way == "broker" else f"SOURCEPULSE_BROKER_FILE={secret}"
        assert expected.encode() in variables
        assert not any(variable.startswith(b"SOURCEPULSE_OUTBOX=") for variable in variables)
    work.commit()
    with _no_relay_needed(server):
        remote = work.push_ssh(server)
    assert ("shows the broker's password" in local.stderr) == (way == "broker")
    assert "broker's password" not in remote.stdout + remote.stderr
    assert _PASSWORD not in local.stderr + remote.stderr + local.stdout + remote.stdout


@contextmanager
def _no_relay_needed(server: Repository) -> Iterator[None]:
    """Hold the relay's lock, as a relay that another user runs does."""
    with lock_path(server.outbox).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("keys", ["relay = off\nbroker = file:///nowhere/log.db", "relay = auto"])
def test_no_relay_is_started_when_it_is_off_or_no_broker_is_known(site: Site, keys: str) -> None:
    server = site.server(keys=keys)
    work = site.repository("work")
    work.commit()
    work.push(server)
    assert relays(server.outbox) == []
    assert len(server.events()) == 1


def test_no_second_relay_is_started_where_one_holds_the_lock(site: Site) -> None:
    server = site.server(keys=f"broker = file://{site.folder}/log.db")
    work = site.repository("work")
    work.commit()
    server.outbox.parent.mkdir()
    with _no_relay_needed(server):
        work.push(server)
        time.sleep(0.3)
        assert relays(server.outbox) == []


def test_the_relay_of_a_linked_outbox_is_found_where_the_file_is(site: Site) -> None:
    (site.folder / "data").mkdir()
    (site.folder / "outbox.db").symlink_to(site.folder / "data" / "outbox.db")
    Outbox.open(site.folder / "data" / "outbox.db").close()
    server = site.server(keys=f"outbox = {site.folder}/outbox.db\nbroker = file://{site.folder}/log.db")
    work = site.repository("work")
    work.commit()
    with lock_path(site.folder / "data" / "outbox.db").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        work.push(server)
        assert relays(site.folder / "outbox.db") == []
    assert outbox_events(site.folder / "data" / "outbox.db")[1].type == "hg.push.v1"


def test_many_pushes_at_once_start_one_relay(site: Site, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    Outbox.open(outbox).close()
    begun = tmp_path / "begun"
    folder = tmp_path / "bin"
    folder.mkdir()
    # Slow to begin, as on a loaded machine: it has no lock of its own yet.
    program = folder / "sourcepulse"
    program.write_text(f"#!/bin/sh\necho $$ >> {begun}\nsleep 2\n")
    program.chmod(0o755)
    script = (
        "import sys; sys.executable = sys.argv[1]\n"
        "from sourcepulse_hg.pending.relay_start import start_relay\n"
        "print(start_relay(sys.argv[2].encode(), broker='file:///nowhere', broker_file=None))\n"
    )
    root = Path(__file__).parents[2]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, folder / "python", outbox],
            env={**os.environ, "PYTHONPATH": f"{root / 'hghook'}:{root / 'shared'}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(12)
    ]
    assert [process.communicate(timeout=_START_LIMIT_SECONDS)[0].strip() for process in started] == ["None"] * 12
    limit = time.monotonic() + _START_LIMIT_SECONDS
    while not begun.exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert len(begun.read_text().split()) == 1
