# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishers wait for no hook: what is done for hooks while the log is locked does not grow with what they hold."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.brokers.file.admin import log_statistics
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse_web.webhooks.store.queues import HookQueues
from support.brokers.embedded_log import as_message, log_url, push_event
from support.webhooks.log import EXCHANGE, all_of, hook, send_pushes
from support.webhooks.write_meter import WriteMeter

HELD = 500


def _held_by(folder: Path, hooks: int) -> HookQueues:
    """Return the queues of hooks of which each holds as many events."""
    queues = HookQueues(folder / "log.db", EXCHANGE, private=True)
    names = [f"hook-{number}" for number in range(hooks)]
    for name in names:
        queues.declare(hook(name))
    send_pushes(folder, range(1, HELD + 1))
    assert [len(all_of(queues, name)) for name in names] == [HELD] * hooks
    return queues


def test_a_sender_that_ends_or_shows_that_it_lives_locks_the_log_no_longer_with_many_hooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = WriteMeter(monkeypatch)
    largest = {}
    for hooks in (2, 20):
        folder = tmp_path / str(hooks)
        folder.mkdir()
        with monkeypatch.context() as patch, _held_by(folder, hooks) as queues:
            patch.setattr("sourcepulse_web.webhooks.store.log.leasing.TOUCH_SECONDS", 0.0)
            meter.steps.clear()
            queues.look("hook-0", 1)
            touched = max(meter.steps)
            meter.steps.clear()
            queues.close()
        largest[hooks] = touched, max(meter.steps)
        assert len(meter.steps) >= hooks, "one transaction for each hook"
    assert largest[20][0] < 20 * HELD, "not all leases are read"
    assert largest[20][1] < 1.2 * largest[2][1]


def test_what_is_sent_again_is_looked_for_while_publishers_can_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = WriteMeter(monkeypatch)
    largest = []
    for others in (100, 4_000):
        folder = tmp_path / str(others)
        folder.mkdir()
        with HookQueues(folder / "log.db", EXCHANGE, private=True) as queues:
            queues.declare(hook("idle", "bugzilla.#"))
            send_pushes(folder, range(1, others + 1), repo="other")
            send_pushes(folder, range(1, 6))
            queues.rebind(hook("idle", "hg.push.repo"))
            meter.steps.clear()
            assert queues.since("idle", 0.0) == 5
            largest.append(max(meter.steps))
    assert largest[1] < 1.2 * largest[0] + 100


def test_a_publisher_that_trims_reads_the_leases_of_what_it_trims_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = WriteMeter(monkeypatch)
    with _held_by(tmp_path, 20) as queues:
        size = log_statistics(log_url(tmp_path)).bytes
        with closing(LocalPublisher(log_url(tmp_path), exchange=EXCHANGE, keep_bytes=size)) as publisher:
            publisher.open()
            publisher.send(as_message(push_event(HELD + 1)))
            meter.steps.clear()
            publisher.settle(5)
        figures = queues.figures_of([f"hook-{number}" for number in range(20)])
        assert {each.lost for each in figures.values()} == {2}
    assert max(meter.steps) < 20 * HELD
