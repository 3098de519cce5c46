# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The earlier version itself, from the history, beside this one: hook, relay and consumer in any mixture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.catalogue import example_of, known_types
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse.outbox.repair import problems
from sourcepulse.outbox.retention import Keep, prune
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until
from support.in_process import run_command
from support.old_version import OldVersion, in_history, take_out

pytestmark = pytest.mark.skipif(not in_history(), reason="a clone without the history; test_old_files has the files")

HGRC = """
[extensions]
sourcepulse_hg =
[sourcepulse]
source = hg://hg.example.org/repo
repository = repo
start_relay = no
outbox = """


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> OldVersion:
    return take_out(tmp_path_factory.mktemp("old"))


def commit(old: OldVersion, folder: Path, text: str) -> None:
    """Commit with the hook of the earlier version."""
    repository, hgrc = folder / "repo", folder / "hgrc"
    if not repository.exists():
        hgrc.write_text(f"{HGRC}{folder}/outbox.db\n", encoding="utf-8")
        old.run("hg", "init", repository, HGRCPATH=str(hgrc))
    (repository / "file").write_text(text)
    old.run("hg", "--cwd", repository, "commit", "-qAm", text, "-u", "alice", HGRCPATH=str(hgrc))


@contextmanager
def running(folder: Path, environ: dict[str, str] | None = None) -> Iterator[None]:
    """Run a relay of this version, or in an environment of the earlier one."""
    arguments = ["relay", "--outbox", f"{folder}/outbox.db", "--broker", f"file://{folder}/log.db"]
    with subprocess.Popen(
        [sys.executable, "-m", "sourcepulse.cli", *arguments], env=environ, stderr=subprocess.DEVNULL
    ) as relay:
        try:
            yield
        finally:
            relay.terminate()
            relay.wait(30)


def test_an_old_hook_writes_for_a_new_relay_and_a_new_consumer(old: OldVersion, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    commit(old, tmp_path, "before")
    reports: list[object] = []
    with (
        Consumer(
            f"file://{tmp_path}/log.db",
            topics=["hg.#"],
            queue="q",
            durable=True,
            state=":memory:",
            on_gap=reports.append,
            on_reset=reports.append,
        ) as consumer,
        running(tmp_path),
    ):
        wait_until(lambda: not _pending(path))
        commit(old, tmp_path, "after")
        received = []
        while len(received) < 2 and (event := consumer.receive(30)) is not None:
            if event.type == "hg.push.v1":
                received.append(event.data["changesets"][0]["desc"])
            consumer.acknowledge()
    assert (received, reports, consumer.stats.bad) == (["before", "after"], [], 0)
    with Outbox.open(path) as outbox:
        found = rows(outbox, Selection())
        assert problems(outbox) == []
        # What the hook wrote behind the relay's back is counted as well.
        shown = figures(outbox)
        assert shown["payloads_kept"] == len(found)
        assert shown["payload_bytes_kept"] == sum(row["bytes"] for row in found)


def test_what_an_old_hook_writes_counts_for_what_a_new_relay_keeps(old: OldVersion, tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "outbox.db") as outbox:
        outbox.append([system_event(number, message="x" * 1_000) for number in range(5)])
        program = (
            "import sys\nfrom sourcepulse import Outbox\nfrom sourcepulse.testing import system_event\n"
            "with Outbox.open(sys.argv[1]) as o: o.append([system_event(n, message='x' * 1_000) for n in range(5, 20)])"
        )
        old.python(program, outbox.path)
        outbox.acknowledge("public", range(1, 21))
        prune(outbox, Keep(days=30, bytes=10_000))
        kept = [row["bytes"] for row in rows(outbox, Selection()) if row["bytes"] is not None]
        assert 8_000 < sum(kept) <= 10_000


def test_a_consumer_is_upgraded_with_the_relay_of_its_log(old: OldVersion, tmp_path: Path) -> None:
    log = f"file://{tmp_path}/log.db"
    program = (
        "import sys, json\nfrom sourcepulse import Consumer\n"
        "with Consumer(sys.argv[1], topics=['#'], queue='q', durable=True, state=sys.argv[2], timeout=1) as c:\n"
        "    for event in c: print(json.dumps([event.type, event.id, c.stats.bad]))\n"
        "    print(c.stats)\n"
    )
    # It subscribes before anything is published.
    old.python(program, log, tmp_path / "state.db")
    with Outbox.open(tmp_path / "outbox.db") as outbox:
        # Without a Bugzilla it is unknown whether its events are public.
        types = [type_ for type_ in known_types() if not type_.startswith(("bugzilla.", "system."))]
        outbox.append([example_of(type_)._replace(numbers=None) for type_ in types])
        ids = [row["id"] for row in rows(outbox, Selection())]
    ran = run_command("relay", "--once", "--outbox", str(tmp_path / "outbox.db"), "--broker", log)
    assert ran.returncode == 0, ran.stderr
    with pytest.raises(AssertionError, match=r"has format 2, .* up to 1: upgrade sourcepulse"):
        old.python(program, log, tmp_path / "state.db")
    received = subprocess.run(
        [sys.executable, "-c", program, log, tmp_path / "state.db"], capture_output=True, text=True, check=True
    )
    *lines, stats = received.stdout.splitlines()
    assert [json.loads(line)[1] for line in lines] == ids
    assert "bad=0" in stats


def test_an_old_relay_goes_on_with_an_outbox_that_a_new_one_had(old: OldVersion, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    commit(old, tmp_path, "first")
    assert (
        run_command("relay", "--once", "--outbox", str(path), "--broker", f"file://{tmp_path}/log.db").returncode == 0
    )
    with Outbox.open(path) as outbox:
        outbox.append([system_event(1)])
    commit(old, tmp_path, "second")
    # The log has a new format, which the earlier version refuses: it begins a new one.
    for each in tmp_path.glob("log.db*"):
        each.unlink()
    old.sourcepulse("relay", "--once", "--outbox", path, "--broker", f"file://{tmp_path}/log.db")
    assert not _pending(path)
    with Outbox.open(path) as outbox:
        assert problems(outbox) == []
    old.sourcepulse("outbox", "check", "--outbox", path)


def _pending(path: Path) -> int:
    with Outbox.open(path) as outbox:
        return outbox.pending("public")
