# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The embedded log under kill -9, several processes, a full disk, locks and damage."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.brokers import QueueLimits
from sourcepulse.brokers.file.subscription import LocalPublisher, LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerError, BrokerRefusedUsError, BrokerUnavailableError
from support.brokers.embedded_log import EXCHANGE, drain, log_url, message, publish, publisher, spec, subscribe
from support.streams.freeze import stop_threads

#: Publishes numbers in batches and prints each number once it is settled.
PUBLISH = """
import sys
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import message, publisher
url, name, batch, batches = BrokerUrl.parse(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
opened = publisher(url)
for start in range(0, batch * batches, batch):
    for number in range(start, start + batch):
        opened.send(message(number, f"hg.push.{name}", b"%s %d" % (name.encode(), number)))
    for each in opened.settle(5):
        print(name, each.tag, flush=False)
    sys.stdout.flush()
"""

#: Receives, prints what it got, and acknowledges all but what it shall keep.
CONSUME = """
import sys, time
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import spec, subscribe
url, shared, keep = BrokerUrl.parse(sys.argv[1]), sys.argv[2] == "shared", int(sys.argv[3])
queue = subscribe(url, spec(queue="me", shared=shared, prefetch=10))
print("ready", flush=True)
while True:
    delivery = queue.receive(10)
    if delivery is None:
        break
    print(delivery.body.decode(), flush=True)
    keep -= 1
    if keep < 0:
        queue.acknowledge(delivery)
"""


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def run(processes: list[subprocess.Popen[str]], program: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{root / 'shared'}:{root / 'tests'}"},
    )
    processes.append(process)
    return process


def as_user(user: int, *groups: int) -> str:
    """Return the lines that turn a process that has loaded all it needs into one of another user."""
    return (
        "import os\nfrom support.brokers.embedded_log import publisher, subscribe\n"
        f"os.setgroups({list(groups)})\nos.setgid({groups[0]})\nos.setuid({user})\nos.umask(0o077)\n"
    )


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def test_a_killed_consumer_s_messages_go_to_the_other_at_once(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    subscribe(url, spec(queue="me", shared=True)).close()
    victim = run(processes, CONSUME, str(url), "shared", "1000")
    assert lines(victim, 1) == ["ready"]
    publish(url, [message(number) for number in range(10)])
    assert lines(victim, 10) == [str(number) for number in range(10)]
    other = subscribe(url, spec(queue="me", shared=True))
    assert other.receive(0.3) is None, "the living one keeps what it has"
    victim.kill()
    victim.wait(10)
    deliveries: list[tuple[bytes, bool]] = []
    while (delivery := other.receive(5 if len(deliveries) < 10 else 0.1)) is not None:
        deliveries.append((delivery.body, delivery.redelivered))
        other.acknowledge(delivery)
    assert deliveries == [(b"%d" % number, True) for number in range(10)]


def test_the_waiting_consumer_takes_over_when_the_active_one_is_killed(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    active = run(processes, CONSUME, str(url), "alone", "3")
    assert lines(active, 1) == ["ready"]
    waiting = run(processes, CONSUME, str(url), "alone", "0")
    assert lines(waiting, 1) == ["ready"]
    publish(url, [message(number) for number in range(3)])
    assert lines(active, 3) == ["0", "1", "2"]
    active.kill()
    active.wait(10)
    publish(url, [message(3)])
    assert lines(waiting, 4) == ["0", "1", "2", "3"]


def test_a_stopped_process_is_alive_and_keeps_its_messages(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    victim = run(processes, CONSUME, str(url), "shared", "1000")
    assert lines(victim, 1) == ["ready"]
    publish(url, [message(1)])
    assert lines(victim, 1) == ["1"]
    stop_threads(victim.pid)
    other = subscribe(url, spec(queue="me", shared=True))
    assert other.receive(0.7) is None
    victim.send_signal(signal.SIGCONT)


def test_several_publishers_and_consumers_lose_and_invent_nothing(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    everything = subscribe(url, spec(queue="everything"))
    split = [subscribe(url, spec("hg.push.#", queue="split", shared=True)) for _ in range(2)]
    publishers = [run(processes, PUBLISH, str(url), name, "20", "50") for name in ("a", "b", "c")]
    got: list[list[bytes]] = [[], [], []]

    def consume(place: int, subscription: LocalSubscription) -> None:
        got[place] = drain(subscription, 3)

    threads = [threading.Thread(target=consume, args=pair) for pair in enumerate([everything, *split])]
    for thread in threads:
        thread.start()
    for process in publishers:
        assert process.stdout is not None
        assert len(process.stdout.read().splitlines()) == 1_000
        assert process.wait(30) == 0
    for thread in threads:
        thread.join(60)
    expected = [b"%s %d" % (name, number) for name in (b"a", b"b", b"c") for number in range(1_000)]
    assert sorted(got[0]) == sorted(expected)
    for name in (b"a", b"b", b"c"):
        mine = [body for body in got[0] if body.startswith(name)]
        assert mine == [b"%s %d" % (name, number) for number in range(1_000)], "each publisher's order stands"
    assert sorted(got[1] + got[2]) == sorted(expected)


@pytest.mark.skipif(os.getuid() != 0, reason="other users can only be played by root")
def test_users_of_one_group_share_a_log_and_another_user_gets_the_reason_why_not(
    processes: list[subprocess.Popen[str]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.chown(directory, 0, 23_000)
        directory.chmod(0o2770)
        url = log_url(directory)
        readers = [
            run(processes, as_user(user, 23_000) + CONSUME, str(url), "shared", "0") for user in (23_001, 23_002)
        ]
        for reader in readers:
            assert lines(reader, 1) == ["ready"]
        writer = run(processes, as_user(23_003, 23_004, 23_000) + PUBLISH, str(url), "w", "5", "4")
        assert len(lines(writer, 20)) == 20
        assert writer.wait(10) == 0
        readers[0].kill()
        readers[0].wait(10)
        publish(url, [message(1, body=b"last")])
        assert readers[1].stdout is not None
        while readers[1].stdout.readline().strip() != "last":
            assert readers[1].poll() is None
        stranger = run(processes, as_user(23_009, 23_009) + PUBLISH, str(url), "s", "1", "1")
        _, talk = stranger.communicate(timeout=20)
        assert "BrokerRefusedUsError" in talk
        assert "may not read and write" in talk


def test_where_the_file_system_cannot_share_memory_a_rollback_journal_serves_as_well(
    url: BrokerUrl, processes: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sourcepulse.outbox import sqlite_setup

    monkeypatch.setattr(sqlite_setup, "_file_system", lambda path: "nfs")
    queue = subscribe(url, spec(queue="me"))
    with sqlite3.connect(url.path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    db.close()
    writers = [run(processes, PUBLISH, str(url), name, "10", "10") for name in ("a", "b")]
    bodies = drain(queue, 5, limit=200)
    assert [writer.wait(20) for writer in writers] == [0, 0]
    for name in (b"a", b"b"):
        assert [body for body in bodies if body.startswith(name)] == [b"%s %d" % (name, n) for n in range(100)]


def test_publishers_killed_while_they_append_lose_nothing_settled(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    subscribe(url, spec(queue="me")).close()
    settled: list[str] = []
    for round_ in range(8):
        process = run(processes, PUBLISH, str(url), f"r{round_}", "7", "100000")
        first = lines(process, 1)
        time.sleep(0.02 * round_)
        process.kill()
        assert process.stdout is not None
        rest = process.stdout.read()
        process.wait(10)
        # The last line may be cut in the middle by the kill.
        settled += first + rest.rpartition("\n")[0].splitlines()
    stored = drain(subscribe(url, spec(queue="me")), 0.5)
    assert set(settled) <= {body.decode() for body in stored}
    assert len(stored) == len(set(stored))
    for round_ in range(8):
        mine = [body.decode() for body in stored if body.startswith(b"r%d " % round_)]
        assert mine == [f"r{round_} {number}" for number in range(len(mine))]
        assert len(mine) % 7 == 0, "a batch is stored whole or not at all"
    with sqlite3.connect(url.path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_consumers_killed_at_random_lose_nothing_and_repeat_only_what_was_not_acknowledged(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    total = 600
    subscribe(url, spec(queue="me")).close()
    got: list[str] = []
    for round_ in range(6):
        # Enough for this round, however far the consumer of the last one ran ahead of this test.
        publish(url, [message(number) for number in range(100 * round_, 100 * (round_ + 1))])
        process = run(processes, CONSUME, str(url), "alone", "0")
        got += lines(process, 30 + 7 * round_)[1:]
        process.kill()
        assert process.stdout is not None
        got += process.stdout.read().rpartition("\n")[0].splitlines()
        process.wait(10)
    got += [body.decode() for body in drain(subscribe(url, spec(queue="me")), 1)]
    assert set(got) == {str(number) for number in range(total)}
    # The acknowledgements of one batch at most are lost with a process.
    assert len(got) <= total + 6 * 60


def test_a_log_locked_for_too_long_is_try_later(url: BrokerUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    from sourcepulse.brokers.file import tables as local_schema

    monkeypatch.setattr(local_schema, "LOCK_WAIT_SECONDS", 0.2)
    opened = publisher(url)
    queue = subscribe(url, spec())
    with Path(f"{url.path}.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        opened.send(message(1))
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailableError, match="locked by another process"):
            opened.settle(1)
        assert time.monotonic() - begun < 5
    opened.abandon()
    opened.open()
    opened.send(message(2))
    opened.settle(1)
    assert drain(queue) == [b"2"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "sourcepulse-test", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"no small disk: {made.stderr.decode()}")
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_try_later_and_nothing_settled_is_lost(small_disk: Path) -> None:
    url = log_url(small_disk)
    subscribe(url, spec(queue="me")).close()
    opened = publisher(url)
    settled = 0

    def fill() -> None:
        nonlocal settled
        while True:
            opened.send(message(settled, body=b"%d " % settled + b"x" * 20_000))
            settled += len(opened.settle(1))

    with pytest.raises(BrokerUnavailableError, match="full"):
        fill()
    opened.close()
    assert settled > 5
    ballast = [path for path in small_disk.iterdir() if path.name.startswith("log.db.consumer")]
    assert ballast == []
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert [int(body.split()[0]) for body in drain(subscribe(url, spec(queue="me")))] == list(range(settled))
    assert publish(url, [message(1)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"this is no database at all, but text" * 200, "damaged"), (b"SQLite format 3\0" + b"\xff" * 5_000, "damaged")],
)
def test_a_damaged_file_is_a_clear_error_that_names_the_repair(url: BrokerUrl, content: bytes, reason: str) -> None:
    Path(url.path).write_bytes(content)
    for opening in (LocalPublisher(url, exchange=EXCHANGE), LocalSubscription(url, spec())):
        with pytest.raises(BrokerError, match=rf"log\.db {reason}|log\.db is {reason}") as caught:
            opening.open()
        assert not isinstance(caught.value, BrokerUnavailableError)
        assert "move it aside" in str(caught.value)
    assert Path(url.path).read_bytes() == content


def test_a_page_damaged_later_is_a_clear_error(url: BrokerUrl) -> None:
    subscribe(url, spec(queue="me")).close()
    publish(url, [message(number, body=b"x" * 3_000) for number in range(200)])
    size = Path(url.path).stat().st_size
    with Path(url.path).open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))
    with pytest.raises(BrokerError, match="move it aside") as caught:
        drain(subscribe(url, spec(queue="me")))
    assert not isinstance(caught.value, BrokerUnavailableError)


def test_another_program_s_database_is_left_alone(url: BrokerUrl) -> None:
    with sqlite3.connect(url.path) as db:
        db.execute("CREATE TABLE bookmarks (title TEXT)")
    db.close()
    with pytest.raises(BrokerError, match="another program"):
        publisher(url)
    with sqlite3.connect(url.path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    db.close()


def test_a_log_of_a_newer_version_asks_for_an_upgrade(url: BrokerUrl) -> None:
    publisher(url).close()
    with sqlite3.connect(url.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(BrokerError, match="upgrade sourcepulse"):
        publisher(url)


def test_a_missing_directory_and_a_directory_in_its_place_are_refusals(tmp_path: Path) -> None:
    with pytest.raises(BrokerRefusedUsError, match="does not exist; create it"):
        publisher(log_url(tmp_path / "nowhere"))
    (tmp_path / "log.db").mkdir()
    with pytest.raises(BrokerRefusedUsError, match="is a directory"):
        publisher(log_url(tmp_path))


def test_a_log_removed_under_its_users_is_noticed_and_made_again(url: BrokerUrl) -> None:
    opened, queue = publisher(url), subscribe(url, spec(queue="me"))
    for path in Path(url.path).parent.glob("log.db*"):
        path.unlink()
    opened.send(message(1))
    with pytest.raises(BrokerUnavailableError, match="removed or replaced"):
        opened.settle(1)
    with pytest.raises(BrokerUnavailableError, match="removed or replaced"):
        queue.receive(5)
    queue.open()
    opened.open()
    opened.send(message(2))
    opened.settle(1)
    assert drain(queue) == [b"2"]


def test_a_lock_file_left_by_a_crash_is_removed(url: BrokerUrl) -> None:
    publisher(url).close()
    orphan = Path(f"{url.path}.consumer-0123")
    orphan.touch()
    subscribe(url, spec()).close()
    assert orphan.exists(), "it may belong to a consumer that is just beginning"
    os.utime(orphan, (1, 1))
    subscribe(url, spec()).close()
    assert not orphan.exists()


def test_a_temporary_queue_survives_its_lost_connection_if_it_is_quick(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(limits=QueueLimits(expires_s=60)))
    queue.abandon()
    publish(url, [message(1)])
    queue.open()
    assert not queue.interrupted
    assert drain(queue) == [b"1"]


def test_a_temporary_queue_that_expired_meanwhile_is_reported(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(limits=QueueLimits(expires_s=0)))
    queue.abandon()
    time.sleep(0.01)
    subscribe(url, spec(queue="other")).close()
    queue.open()
    assert queue.interrupted
