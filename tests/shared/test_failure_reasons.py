# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every failure has a stable word, and an outbox counts failures by it for ever."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import config, errors
from sourcepulse.errors import (
    BrokerError,
    BrokerUnavailableError,
    ConfigError,
    DestinationError,
    OutboxLockedError,
    SourcePulseError,
)
from sourcepulse.outbox.delivery_state import record_failure
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.outbox.repair import repair
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.collect import collectors, sweep
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event
from sourcepulse_hg.pending.first_copy import base_name
from support.brokers.embedded_log import log_url, wait_until


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        opened.append([system_event(1)])
        yield opened


def public(outbox: Outbox) -> dict[str, Any]:
    found: dict[str, Any] = figures(outbox)["streams"]["public"]
    return found


@contextmanager
def relay(outbox: Outbox, broker_file: Path) -> Iterator[None]:
    settings = config.load({"broker_file": str(broker_file)}, environ={})
    with open_relay(outbox.path, settings, stop := threading.Event()) as relayed:
        thread = threading.Thread(target=relayed.run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def test_each_kind_of_failure_has_a_word_of_its_own() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SourcePulseError)]
    # Wrong settings are one kind, whether a command or a running relay meets them.
    assert DestinationError.reason == ConfigError.reason
    words = [kind.reason for kind in kinds if kind is not DestinationError]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", word) for word in words)


def test_a_real_relay_counts_its_failures_by_reason_and_a_success_does_not_clear_them(
    outbox: Outbox, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    broker = tmp_path / "broker"
    broker.write_text(f"amqp://127.0.0.1:{port}\n")
    broker.chmod(0o600)
    with relay(outbox, broker):
        wait_until(lambda: public(outbox)["failures_by_reason"].get("unreachable"))
        assert public(outbox)["last_error_reason"] == "unreachable"
        # A folder cannot be a log, and only an admin can change that.
        broker.write_text(f"file://{tmp_path}\n")
        wait_until(lambda: public(outbox)["failures_by_reason"].get("refused"))
        broker.write_text("no URL\n")
        wait_until(lambda: public(outbox)["failures_by_reason"].get("configuration"))
        broker.write_text(f"{log_url(tmp_path)}\n")
        wait_until(lambda: not public(outbox)["pending"])
    state = public(outbox)
    assert (state["failures"], state["last_error_reason"]) == (0, "configuration")
    assert state["failures_by_reason"].keys() == {"unreachable", "refused", "configuration"}


def test_counts_survive_a_repair_of_the_outbox(outbox: Outbox) -> None:
    for error in (BrokerUnavailableError("a"), BrokerUnavailableError("b"), BrokerError("c")):
        record_failure(outbox, "public", error, retry_in=lambda _: 0.0)
    outbox.close()
    repair(outbox.path)
    with Outbox.open(outbox.path) as repaired:
        assert public(repaired)["failures_by_reason"] == {"broker": 1, "unreachable": 2}
        assert figures(repaired)["streams"]["restricted"]["failures_by_reason"] == {}


def test_a_locked_outbox_is_a_counted_failure_of_its_stream(outbox: Outbox) -> None:
    delivery = Delivery(outbox, "public", MemoryBroker().publisher, exchange="x", clock=lambda: 0.0)
    delivery.count_failure(OutboxLockedError("it is locked"))
    assert public(outbox)["failures_by_reason"] == {"outbox-locked": 1}


def test_a_place_that_cannot_be_collected_is_a_counted_error_of_its_kind(outbox: Outbox, tmp_path: Path) -> None:
    outbox.remember_origin("hg", str(tmp_path / "gone"))
    outbox.remember_origin("cvs", "where")
    sweep(outbox, collectors())
    sweep(outbox, collectors())
    assert figures(outbox)["collect_errors"] == {"cvs": 2, "hg": 2}


def test_quarantined_first_copies_are_counted(outbox: Outbox, tmp_path: Path) -> None:
    dot_hg = tmp_path / "repo" / ".hg"
    (dot_hg / "store" / "sourcepulse").mkdir(parents=True)
    (dot_hg / "requires").write_text("share-safe\n")
    (dot_hg / "sourcepulse").mkdir()
    (dot_hg / "sourcepulse" / ("r" + base_name(1, "TXN:" + "0" * 40))).write_text("nonsense\n")
    outbox.remember_origin("hg", str(dot_hg))
    sweep(outbox, collectors())
    sweep(outbox, collectors())
    assert figures(outbox)["collect_errors"] == {"hg": 1}
