# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever is wrong with the outbox or the broker, the master builds; afterwards nothing is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse_buildbot import writer as writer_module
from sourcepulse_buildbot.mapping.emitter import Emitter
from sourcepulse_buildbot.mapping.redaction import Redactor
from sourcepulse_buildbot.writer import Writer
from support.brokers.embedded_log import wait_until
from support.buildbot.masters import REPORTER, MakeMaster, Master
from support.buildbot.oracle import assert_exact
from support.events.outbox_contents import stored_events

BUILDER = 'builder("b", "echo one", "echo two")\n'


def _settled(master: Master) -> bool:
    """Return whether all that was built was published."""
    try:
        assert_exact(master)
    except AssertionError:
        return False
    return True


def test_an_outbox_that_cannot_be_opened_harms_no_build_and_gets_everything_later(make_master: MakeMaster) -> None:
    master = make_master(REPORTER.replace("outbox.db", "later/outbox.db") + BUILDER)
    # A file where the folder should be.
    (master.folder / "later").write_text("", encoding="utf-8")
    master.start()
    master.build("b")
    assert "events wait" in master.log()
    (master.folder / "later").unlink()
    (master.folder / "later").mkdir()
    master.outbox_name = "later/outbox.db"
    master.wait_for(lambda: _settled(master))
    master.build("b")
    master.wait_for(lambda: _settled(master))
    assert not any(event.data["recovered"] for event in master.events())


def test_an_outbox_that_never_opens_does_not_keep_the_master_from_ending(make_master: MakeMaster) -> None:
    master = make_master(REPORTER.replace("outbox.db", "never/outbox.db") + BUILDER)
    (master.folder / "never").write_text("", encoding="utf-8")
    master.start()
    master.build("b")
    master.stop()
    (master.folder / "never").unlink()
    (master.folder / "never").mkdir()
    master.outbox_name = "never/outbox.db"
    master.start()
    # The first start of an outbox is where its history begins.
    master.build("b")
    master.wait_for_events(1, "build.finished")
    assert len(master.events("build.finished")) == 1


def test_the_relay_in_the_master_delivers_and_ends_with_it(make_master: MakeMaster, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/log.db"
    reporter = REPORTER.replace('"outbox.db"', f'"outbox.db", broker="{url}"')
    master = make_master(reporter + BUILDER)
    with Consumer(url, "build.finished.#", timeout=30) as consumer:
        master.start()
        master.build("b")
        event = consumer.receive(30)
    assert event is not None
    assert event.data["buildername"] == "b"
    master.stop()
    assert "Traceback" not in master.log()


def test_a_broker_that_is_nowhere_is_said_without_its_password_and_holds_up_nothing(make_master: MakeMaster) -> None:
    broker = "amqp://relay:s3cret@127.0.0.1:1/"
    reporter = REPORTER.replace('"outbox.db"', f'"outbox.db", broker="{broker}"')
    master = make_master(reporter + BUILDER)
    master.start()
    master.build("b")
    master.wait_for(lambda: _settled(master))
    master.stop()
    assert "s3cret" not in master.log()


# The writer alone.


def _emitter() -> Emitter:
    return Emitter(source="buildbot://ci", scope="buildbot://ci", url="", redactor=Redactor())


def _writer(path: Path, said: list[str]) -> Writer:
    return Writer(lambda: Outbox.open(path, lock_wait_s=0.1), _emitter(), warn=said.append)


def _fact(number: int) -> Callable[[Emitter], Event]:
    def make(emitter: Emitter) -> Event:
        return Event.of(
            "build.master.started.v1",
            source=emitter.source,
            key=[str(number)],
            subject="master/m",
            time=number,
            data={"masterid": number, "name": "m", "recovered": False, "truncated": [], "raw": []},
        )

    return make


def test_a_fact_that_cannot_become_an_event_is_said_and_the_next_ones_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    writer = _writer(tmp_path / "outbox.db", said)
    writer.start()

    def broken(_: Emitter) -> Event:
        raise ValueError("no such time")

    writer.put(_fact(1))
    writer.put(broken)
    writer.put(_fact(2))
    writer.stop()
    assert [event.data["masterid"] for event in stored_events(tmp_path / "outbox.db")] == [1, 2]
    assert (writer.stored, writer.unmapped) == (2, 1)
    assert said == ["no event could be made by broken: no such time"]
    with Outbox.open(tmp_path / "outbox.db") as outbox:
        assert figures(outbox)["collect_errors"] == {"buildbot": 1}


def test_an_event_that_cannot_be_stored_is_logged_and_the_others_of_its_commit_are_stored(tmp_path: Path) -> None:
    said: list[str] = []
    writer = _writer(tmp_path / "outbox.db", said)

    def unwritable(emitter: Emitter) -> Event:
        return _fact(2)(emitter)._replace(data={"masterid": float("nan")})

    for fact in (_fact(1), unwritable, _fact(3)):
        writer.put(fact)
    writer.start()
    writer.run(lambda outbox: len(stored_events(outbox.path)), lambda _: None)
    writer.put(_fact(4))
    writer.stop()
    assert [event.data["masterid"] for event in stored_events(tmp_path / "outbox.db")] == [1, 3, 4]
    assert (writer.stored, writer.unmapped) == (3, 1)
    assert [sentence.partition(" cannot be stored: ")[0].split(" ")[0] for sentence in said] == [
        "build.master.started.v1"
    ]


def test_an_error_that_was_not_foreseen_is_logged_and_the_events_are_stored_later(tmp_path: Path) -> None:
    said: list[str] = []
    errors: list[Exception] = [MemoryError(), RuntimeError("with a secret")]

    def opening() -> Outbox:
        if errors:
            raise errors.pop(0)
        return Outbox.open(tmp_path / "outbox.db")

    writer = Writer(opening, _emitter(), warn=said.append)
    writer.put(_fact(1))
    writer.start()
    stored = threading.Event()
    writer.run(lambda _: None, lambda _: stored.set())
    assert stored.wait(30)
    writer.stop()
    assert [event.data["masterid"] for event in stored_events(tmp_path / "outbox.db")] == [1]
    assert said == [
        "events cannot be stored: MemoryError; events wait",
        "events cannot be stored: RuntimeError; events wait",
        "the outbox can be written again",
    ]


def test_one_fact_may_have_more_events_than_a_commit(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "outbox.db", [])
    writer.start()
    count = 2 * writer_module.BATCH_EVENTS + 7

    def many(emitter: Emitter) -> Any:
        return (_fact(number)(emitter) for number in range(count))

    asked: list[Any] = []
    writer.put(many)
    writer.put(_fact(count))
    writer.run(lambda outbox: len(stored_events(outbox.path)), asked.append)
    writer.stop()
    assert asked == [count + 1]
    assert [event.data["masterid"] for event in stored_events(tmp_path / "outbox.db")] == list(range(count + 1))


def test_an_outbox_that_is_replaced_meanwhile_is_opened_again(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "outbox.db"
    writer = _writer(path, said)
    writer.start()
    writer.put(_fact(1))
    wait_until(lambda: writer.stored == 1)
    for file in tmp_path.iterdir():
        file.unlink()
    writer.put(_fact(2))
    wait_until(lambda: writer.stored == 2)
    writer.stop()
    assert [event.data["masterid"] for event in stored_events(path)] == [2]


def test_what_does_not_fit_is_refused_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "QUEUE_MOST_FACTS", 3)
    writer = _writer(tmp_path / "outbox.db", [])
    assert [writer.put(_fact(number)) for number in range(5)] == [True, True, True, False, False]
    writer.start()
    writer.stop()
    assert (writer.stored, writer.refused) == (3, 2)


def test_an_errand_of_a_writer_that_ends_without_an_outbox_is_answered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    writer = _writer(tmp_path / "file" / "outbox.db", [])
    writer.start()
    answers: list[object] = []
    writer.run(lambda _: "never", answers.append)
    writer.stop()
    assert [str(answer) for answer in answers] == ["the reporter ended before the outbox could be used"]


def test_an_errand_that_fails_is_answered_and_the_next_facts_go_on(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "outbox.db", [])
    writer.start()
    answers: list[object] = []
    writer.run(lambda _: 1 // 0, answers.append)
    writer.put(_fact(1))
    writer.stop()
    assert isinstance(answers[0], ZeroDivisionError)
    assert writer.stored == 1


def test_facts_in_a_row_share_a_commit_every_tenth_of_a_second(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "outbox.db", [])
    writer.start()
    writer.put(_fact(0))
    wait_until(lambda: writer.stored == 1)
    began = time.monotonic()
    for number in range(1, 60):
        writer.put(_fact(number))
        time.sleep(0.01)
    writer.stop()
    took = time.monotonic() - began
    with Outbox.open(tmp_path / "outbox.db") as outbox:
        commits = {row["stored_at"] for row in rows(outbox, Selection())}
    assert writer.stored == 60
    # The first one, and the one that stopping does not wait for.
    assert len(commits) <= took / writer_module.BETWEEN_COMMITS_SECONDS + 3
