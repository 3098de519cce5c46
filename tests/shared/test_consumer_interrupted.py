# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Ctrl-C in each form of a consumer: real processes, real signals, nothing lost, no noise from threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import log_url, publish_events, push_event

LIMIT_SECONDS = 30

ITERATOR = """
import sys, time
from sourcepulse import Consumer
with Consumer(sys.argv[1], ["hg.#"], queue="me", durable=True) as consumer:
    print("ready", flush=True)
    try:
        for event in consumer:
            print("begin", event.data["number"], flush=True)
            if event.data["number"] == 2:
                time.sleep(1000)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("left", flush=True)
"""

#: Begins every event, prints when it shall stop meanwhile, and ends the event when the file for it is there.
RUN = """
import os, pathlib, sys, time
from sourcepulse import Consumer
def say(*words):
    # One write, for several threads say something.
    os.write(1, (" ".join(words) + chr(10)).encode())
def handle(event):
    name = f'{event.source[5]}{event.data["number"]}'
    say("begin", name)
    noticed = False
    while not pathlib.Path(sys.argv[3], name).exists():
        if consumer.stopped and not noticed:
            noticed = True
            say("noticed", name)
        time.sleep(0.01)
    say("end", name)
with Consumer(sys.argv[1], ["hg.#"], queue="me", durable=True) as consumer:
    print("ready", flush=True)
    consumer.run(handle, workers=int(sys.argv[2]))
print("left", flush=True)
"""

ASYNC = """
import asyncio, sys
from sourcepulse import Consumer
async def main():
    async with Consumer(sys.argv[1], ["hg.#"], queue="me", durable=True) as events:
        print("ready", flush=True)
        async for event in events:
            print("begin", event.data["number"], flush=True)
            if event.data["number"] == 2:
                await asyncio.sleep(1000)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("left", flush=True)
"""


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate(timeout=LIMIT_SECONDS)


def start(processes: list[subprocess.Popen[str]], program: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "shared")},
    )
    processes.append(process)
    assert lines(process, 1) == ["ready"]
    return process


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def interrupt(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Press Ctrl-C and give the exit code and what was said on both outputs."""
    process.send_signal(signal.SIGINT)
    out, talk = process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode, out.splitlines(), talk


def left(url: BrokerUrl) -> list[str]:
    with Consumer(url, ["hg.#"], queue="me", durable=True, timeout=0.5) as consumer:
        got = [f"{event.source[5]}{event.data['number']}" for event in consumer]
        assert consumer.stats.gaps == 0
        return got


@pytest.mark.parametrize("program", [ITERATOR, ASYNC], ids=["iterator", "async"])
@pytest.mark.parametrize("waiting", [False, True], ids=["at work", "waiting"])
def test_ctrl_c_leaves_the_loop_at_once_and_the_event_in_progress_comes_again(
    url: BrokerUrl, processes: list[subprocess.Popen[str]], program: str, waiting: bool
) -> None:
    process = start(processes, program, str(url))
    publish_events(url, *(push_event(number, source="hg://a/r") for number in ([1] if waiting else [1, 2, 3])))
    assert lines(process, 1 if waiting else 2)[-1] == ("begin 1" if waiting else "begin 2")
    assert interrupt(process) == (0, ["interrupted", "left"], "")
    # In the wait for the next event the last one may have been acknowledged already, or not.
    assert left(url) in ([[], ["a1"]] if waiting else [["a2", "a3"]])


@pytest.mark.parametrize("workers", ["1", "3"])
def test_after_ctrl_c_run_finishes_the_events_in_progress_and_returns_the_others(
    url: BrokerUrl, processes: list[subprocess.Popen[str]], tmp_path: Path, workers: str
) -> None:
    process = start(processes, RUN, str(url), workers, str(tmp_path))
    publish_events(url, *(push_event(number, source=f"hg://{source}/r") for source in "ab" for number in (1, 2)))
    at_work = ["a1"] if workers == "1" else ["a1", "b1"]
    assert sorted(lines(process, len(at_work))) == [f"begin {name}" for name in at_work]
    process.send_signal(signal.SIGINT)
    assert sorted(lines(process, len(at_work))) == [f"noticed {name}" for name in at_work]
    for name in at_work:
        (tmp_path / name).touch()
    out, talk = process.communicate(timeout=LIMIT_SECONDS)
    said = out.splitlines()
    assert (process.returncode, said[-1], talk) == (0, "left", "")
    assert sorted(said[:-1]) == [f"end {name}" for name in at_work]
    assert left(url) == [name for name in ("a1", "a2", "b1", "b2") if name not in at_work]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_second_ctrl_c_leaves_run_at_once_and_what_was_in_progress_comes_again(
    url: BrokerUrl, processes: list[subprocess.Popen[str]], tmp_path: Path, workers: str
) -> None:
    process = start(processes, RUN, str(url), workers, str(tmp_path))
    publish_events(url, *(push_event(number, source=f"hg://{source}/r") for source in "ab" for number in (1, 2)))
    at_work = 1 if workers == "1" else 2
    assert len(lines(process, at_work)) == at_work
    process.send_signal(signal.SIGINT)
    assert [line.split()[0] for line in lines(process, at_work)] == ["noticed"] * at_work
    code, said, talk = interrupt(process)
    assert code not in (0, 1)
    assert said == []
    assert talk.count("Traceback") == 1, "only that of the main thread"
    assert talk.splitlines()[-1] == "KeyboardInterrupt"
    assert sorted(left(url)) == ["a1", "a2", "b1", "b2"]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_ctrl_c_ends_a_run_that_waits(
    url: BrokerUrl, processes: list[subprocess.Popen[str]], tmp_path: Path, workers: str
) -> None:
    process = start(processes, RUN, str(url), workers, str(tmp_path))
    publish_events(url, push_event(1, source="hg://a/r"))
    (tmp_path / "a1").touch()
    assert lines(process, 2) == ["begin a1", "end a1"]
    assert interrupt(process) == (0, ["left"], "")
    assert left(url) == []
