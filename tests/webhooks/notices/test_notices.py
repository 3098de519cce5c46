# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the bus hears of hooks: once for each change, over an embedded log, also after a kill and a locked file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.catalogue import check
from sourcepulse.config import load
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.events import DELIVERED, GONE, OWNER, REFUSALS, STATUS, Circumstances
from sourcepulse_web.webhooks.notices.notices import Notices
from sourcepulse_web.webhooks.post.url import may_be_internal
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.brokers.embedded_log import wait_until

LIMIT_SECONDS = 30.0
QUIET_SECONDS = 2.0
NOW = 1_795_345_200.0
HOUR = 3_600.0
HOOK = Hook(name="chat-room", url="https://chat.example.org/in/s3cret?key=s3cret", topics=("#",), owner="alice@x.org")
OTHER = Hook(name="dashboard", url="https://wall.example.org/", topics=("#",))


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> float:
        return self.at


@contextmanager
def running(folder: Path, broker: str = "", **options: Any) -> Iterator[Notices]:
    config = load({"broker": broker or f"file://{folder}/log.db"}, environ={})
    notices = Notices(folder / "webhooks-outbox.db", config, options.pop("clock", Clock()), "tree", **options)
    notices.start()
    try:
        yield notices
    finally:
        notices.close()


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[Consumer]:
    """What hears all of the log."""
    with Consumer(BrokerUrl.parse(f"file://{tmp_path}/log.db"), ["#"], state=":memory:") as made:
        yield made


def heard(consumer: Consumer, count: int) -> list[Event]:
    """Return so many events, each as its schema has it."""
    events = []
    for _ in range(count):
        event = consumer.receive(LIMIT_SECONDS)
        assert event is not None
        check(event.type, event.data)
        consumer.acknowledge()
        events.append(event)
    return events


def stored(folder: Path) -> list[str]:
    """Return the state of each event that is stored, and its hook."""
    with Outbox.open(folder / "webhooks-outbox.db", create=False) as outbox:
        keys = [str(row["routing_key"]) for row in rows(outbox, Selection())]
    return [key.removeprefix("system.webhook.") for key in keys]


def about(reason: str = STATUS, status: int | None = 503, since: float | None = NOW - 70, **more: int) -> Circumstances:
    return Circumstances(reason=reason, status=status, since=since, **more)


def test_each_change_is_one_numbered_event_on_the_bus_and_nothing_else_is(
    tmp_path: Path, consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path) as notices:
        notices.failing(HOOK, about(waiting=3), at=NOW)
        notices.refused(HOOK, about(REFUSALS, 422, None, set_aside=1), at=NOW, type_="hg.push.v1")
        notices.parked(HOOK, about(waiting=1887), at=NOW)
        notices.resumed(HOOK, about(OWNER), at=NOW + 1)
        notices.disabled(OTHER, about(GONE, 410), at=NOW + 2)
        events = heard(consumer, 5)
        assert notices.problem == ""
    keys = ["failing.chat-room", "refused.chat-room", "parked.chat-room", "resumed.chat-room", "disabled.dashboard"]
    assert [event.routing_key for event in events] == [f"system.webhook.{key}" for key in keys]
    assert {event.source for event in events} == {"system://tree/webhooks"}
    assert [event.numbers and event.numbers.sequence for event in events] == [1, 2, 3, 4, 5]
    assert [event.subject for event in events][3:] == ["webhook/chat-room", "webhook/dashboard"]
    of_one = "the webhook chat-room of alice@x.org set 1 event aside of the type hg.push.v1: "
    assert events[1].data["message"].startswith(of_one)
    assert events[1].data["message"].endswith("; 1 is set aside now, and the others go on")
    parked = events[2].data
    assert (parked["owner"], parked["host"], parked["waiting"]) == ("alice@x.org", "chat.example.org", 1887)
    assert events[4].data["owner"] == ""
    # No heartbeat and no state of the relay, which would pass for those of another relay of the machine.
    assert consumer.receive(QUIET_SECONDS) is None
    assert notices.failures == 0
    outbox = tmp_path / "webhooks-outbox.db"
    assert stat.S_IMODE(outbox.stat().st_mode) == 0o600
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"chat.example.org" in written
    assert b"s3cret" not in written
    assert "s3cret" not in caplog.text


def test_the_name_of_a_host_inside_of_the_network_is_in_no_event(tmp_path: Path, consumer: Consumer) -> None:
    settings = WebhookSettings(allow=("chat.example.org",))
    with running(tmp_path, is_internal=lambda url: may_be_internal(url, settings)) as notices:
        for each in (HOOK, OTHER):
            notices.failing(each, about(), at=NOW)
            notices.refused(each, about(REFUSALS, 422, None, set_aside=1), at=NOW, type_="hg.push.v1")
            notices.parked(each, about(STATUS, None), at=NOW)
            notices.resumed(each, about(OWNER), at=NOW + 1)
            notices.disabled(each, about(GONE, 410), at=NOW + 2)
        events = heard(consumer, 10)
    assert {event.data["host"] for event in events[:5]} == {""}
    assert "chat.example.org" not in str(events)
    assert "its receiver answered 410" in str(events[4].data["message"])
    assert "" not in {event.data["host"] for event in events[5:]}
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("webhooks-outbox"))
    assert b"chat.example.org" not in written


def test_a_trouble_is_reported_once_when_it_lasts_and_its_end_if_its_begin_was(tmp_path: Path) -> None:
    with running(tmp_path) as notices:
        short = about(since=NOW)
        notices.failing(HOOK, short, at=NOW)
        notices.failing(HOOK, short, at=NOW + 59)
        notices.resumed(HOOK, about(DELIVERED, 204, NOW), at=NOW + 59.5)
        assert stored(tmp_path) == []
        long = about(since=NOW + 100)
        for after in range(160, 1000, 60):
            notices.failing(HOOK, long, at=NOW + 100 + after)
        assert stored(tmp_path) == ["failing.chat-room"]
    with running(tmp_path) as notices:
        # A sender that was killed reports what it finds in its store.
        notices.failing(HOOK, long, at=NOW + 1200)
        notices.failing(OTHER, long, at=NOW + 1200)
        notices.resumed(HOOK, about(DELIVERED, 204, NOW + 100), at=NOW + 1300)
        assert stored(tmp_path) == ["failing.chat-room", "failing.dashboard", "resumed.chat-room"]
        # The next trouble is another one; without its failing being reported its end is no news.
        notices.resumed(HOOK, about(DELIVERED, 204, NOW + 1400), at=NOW + 1401)
        notices.failing(HOOK, about(since=NOW + 1500), at=NOW + 1600)
        assert stored(tmp_path)[3:] == ["failing.chat-room"]


def test_refusals_are_reported_at_most_once_an_hour_with_their_number(tmp_path: Path, consumer: Consumer) -> None:
    clock = Clock()
    # In the middle of an hour, and of the hour of the clock.
    began = clock.at = NOW // HOUR * HOUR + HOUR / 2
    with running(tmp_path, clock=clock) as notices:
        for number in range(1, 6):
            notices.refused(HOOK, about(REFUSALS, 422, None, set_aside=number), at=clock.at, type_="hg.push.v1")
        notices.refused(OTHER, about(REFUSALS, 400, None, set_aside=1), at=clock.at, type_="hg.push.v1")
        assert stored(tmp_path) == ["refused.chat-room", "refused.dashboard"]
        clock.at = began + HOUR + 1
        # Without a further refusal, because the last ones are to be reported all the same.
        events = heard(consumer, 3)
        assert [(event.data["hook"], event.data["refused"]) for event in events] == [
            ("chat-room", 1), ("dashboard", 1), ("chat-room", 4),
        ]  # fmt: skip
        assert events[2].data["set_aside"] == 5
        assert "set 4 events aside, the last one of the type hg.push.v1: " in events[2].data["message"]
    with running(tmp_path, clock=clock) as notices:
        for _ in range(3):
            notices.refused(HOOK, about(REFUSALS, 422, None, set_aside=8), at=clock.at, type_="hg.push.v1")
        assert len(stored(tmp_path)) == 3
        clock.at = began + 2 * HOUR
        (event,) = heard(consumer, 1)
        assert event.data["refused"] == 3
        clock.at = began - 10 * HOUR
        notices.refused(HOOK, about(REFUSALS, 422, None, set_aside=9), at=clock.at, type_="hg.push.v1")
        (event,) = heard(consumer, 1)
        assert event.data["refused"] == 1
    with running(tmp_path, clock=clock, refused_s=0.0) as notices:
        for number in range(3):
            notices.refused(HOOK, about(REFUSALS, 422, None), at=clock.at + number, type_="hg.push.v1")
        assert [event.data["refused"] for event in heard(consumer, 3)] == [1, 1, 1]


def test_an_outbox_that_cannot_be_written_delays_nothing_and_goes_on_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "missing"
    with running(folder, f"file://{tmp_path}/log.db") as notices:
        notices.parked(HOOK, about(), at=NOW)
        wait_until(lambda: "wait in memory" in notices.problem, LIMIT_SECONDS)
        assert notices.failures
        folder.mkdir()
        wait_until(lambda: not notices.problem and stored(folder) == ["parked.chat-room"], LIMIT_SECONDS)
        with closing(sqlite3.connect(folder / "webhooks-outbox.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            notices.disabled(HOOK, about(), at=NOW)
            assert time.monotonic() - began < 10
            assert "locked" in notices.problem
            other.execute("ROLLBACK")
        wait_until(lambda: not notices.problem and len(stored(folder)) == 2, LIMIT_SECONDS)
    assert caplog.text.count("wait in memory") == 2


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


def test_on_a_full_disk_events_wait_in_memory_and_are_published_in_order_when_there_is_room(
    tmp_path: Path, small_disk: Path, consumer: Consumer
) -> None:
    with running(small_disk, f"file://{tmp_path}/log.db") as notices:
        notices.parked(HOOK, about(waiting=0), at=NOW)
        assert [event.data["waiting"] for event in heard(consumer, 1)] == [0]
        fill = small_disk / "fill"
        with suppress(OSError), fill.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        for number in range(1, 200):
            notices.parked(HOOK, about(waiting=number), at=NOW + number)
            if notices.problem:
                break
        assert "full" in notices.problem
        fill.unlink()
        wait_until(lambda: not notices.problem, LIMIT_SECONDS)
        assert [event.data["waiting"] for event in heard(consumer, number)] == list(range(1, number + 1))


def test_an_event_that_cannot_be_made_is_dropped_counted_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path) as notices:
        notices.parked(HOOK, about(since=1e15), at=NOW)
        notices.refused(HOOK, about(REFUSALS, 422), at=float("nan"), type_="hg.push.v1")
        notices.disabled(HOOK, about("half of a pair: \ud800"), at=NOW)
        notices.parked(HOOK, about(), at=NOW)
        assert stored(tmp_path) == ["parked.chat-room"]
        assert notices.failures == 3
    assert "cannot be made and is dropped" in caplog.text


def test_a_corrected_broker_gets_everything_in_order_without_a_restart(tmp_path: Path, consumer: Consumer) -> None:
    file, first = tmp_path / "broker", tmp_path / "first"
    file.touch(0o600)
    file.write_text(f"file://{first}/log.db")
    with running(tmp_path, "amqp://127.0.0.1:1/x", broker_file=file) as notices:
        for number in range(5):
            notices.parked(HOOK, about(waiting=number), at=NOW + number)
        wait_until(lambda: str(first) in notices.problem, LIMIT_SECONDS)
        assert "that wait to be sent: 5," in notices.problem
        file.write_text(f"file://{tmp_path}/log.db")
        assert [event.data["waiting"] for event in heard(consumer, 5)] == [0, 1, 2, 3, 4]
        wait_until(lambda: not notices.problem, LIMIT_SECONDS)


def test_the_broker_that_takes_the_place_of_a_lost_one_needs_no_rebind(tmp_path: Path, consumer: Consumer) -> None:
    file, lost = tmp_path / "broker", tmp_path / "lost"
    lost.mkdir()
    file.touch(0o600)
    file.write_text(f"file://{lost}/log.db")
    with running(tmp_path, "amqp://127.0.0.1:1/x", broker_file=file) as notices:
        with Consumer(BrokerUrl.parse(f"file://{lost}/log.db"), ["#"], state=":memory:") as former:
            notices.parked(HOOK, about(waiting=0), at=NOW)
            assert [event.data["waiting"] for event in heard(former, 1)] == [0]
        shutil.rmtree(lost)
        file.write_text(f"file://{tmp_path}/log.db")
        notices.parked(HOOK, about(waiting=1), at=NOW + 1)
        assert [event.data["waiting"] for event in heard(consumer, 1)] == [1]
        wait_until(lambda: not notices.problem, LIMIT_SECONDS)


_CHILD = """
import sys, time
from pathlib import Path
from sourcepulse.config import load
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.notices.events import Circumstances
from sourcepulse_web.webhooks.notices.notices import Notices
from sourcepulse_web.webhooks.post.url import may_be_internal
from sourcepulse_web.webhooks.settings import WebhookSettings
folder, at = sys.argv[1], float(sys.argv[2])
config = load({"broker": "amqp://127.0.0.1:1/x"}, environ={})
notices = Notices(Path(folder) / "webhooks-outbox.db", config, host="tree")
notices.start()
hook = Hook(name="chat-room", url="https://chat.example.org/", topics=("#",))
for number in range(1000):
    notices.parked(hook, Circumstances(reason="status", status=503, waiting=number), at=at + number)
    print(number, flush=True)
time.sleep(1000)
"""


def test_what_was_stored_before_a_kill_is_published_by_the_next_sender_each_once(
    tmp_path: Path, consumer: Consumer
) -> None:
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path), str(NOW)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        done = [int(child.stdout.readline()) for _ in range(20)]
        child.send_signal(signal.SIGKILL)
        done += [int(line) for line in child.stdout.read().split()]
    finally:
        child.kill()
        child.wait(LIMIT_SECONDS)
        child.stdout.close()
    with running(tmp_path, failing_after_s=0.0) as notices:
        # The sender finds the last change in its store and reports it once more.
        last = done[-1]
        hook = Hook(name="chat-room", url="https://chat.example.org/", topics=("#",))
        notices.parked(hook, Circumstances(reason=STATUS, status=503, waiting=last), at=NOW + last)
        notices.disabled(hook, about(), at=NOW)
        events = []
        while not events or events[-1].type != "system.webhook.disabled.v1":
            events += heard(consumer, 1)
    numbers = [event.data["waiting"] for event in events[:-1]]
    # One more may have been stored than was printed.
    assert numbers == list(range(len(numbers)))
    assert len(numbers) in (last + 1, last + 2)
    assert json.loads(json.dumps(events[-1].data))["status"] == 503
