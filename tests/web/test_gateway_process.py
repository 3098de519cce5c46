# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The process of a gateway: whether it turns, is ready and why not, what it counts, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.testing import system_event
from sourcepulse_web.process.condition import Measure
from support.brokers.embedded_log import wait_until
from support.promtool import check_metrics
from support.web.bus import figure
from support.web.gateway import EXCHANGE, Gateway, MakeGateway, publish

LIMIT_SECONDS = 30.0


def test_a_gateway_that_works_says_so_in_three_ways(gateway: Gateway) -> None:
    gateway.append(system_event(1), system_event(2))
    wait_until(lambda: 'log_position{place="read"} 2' in gateway.get("/metrics").text, LIMIT_SECONDS)
    assert gateway.get("/live").text == "The process turns.\n"
    ready = gateway.get("/ready")
    assert ready.status == 200
    assert (ready.document["ready"], ready.document["reasons"], ready.document["connected"]) == (True, [], True)
    metrics = gateway.get("/metrics")
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert check_metrics(metrics.text) == ""
    assert figure(metrics.text, "ready") == 1
    for sample in (
        'clients{state="level"} 0',
        'streams_ended_total{reason="slow"} 0',
        'stream_resets_total{reason="older-than-kept"} 0',
        'refused_requests_total{kind="host"} 0',
        'log_position{place="end"} 2',
        "withdrawn_events_total 0",
    ):
        assert f"\nsourcepulse_web_{sample}\n" in metrics.text


def test_a_log_that_disappears_is_named_and_a_new_one_is_served(gateway: Gateway) -> None:
    gateway.append(system_event(1))
    for path in gateway.folder.glob("log.db*"):
        path.unlink()
    wait_until(lambda: gateway.get("/ready").status == 503, LIMIT_SECONDS)
    (reason,) = gateway.get("/ready").document["reasons"]
    assert str(gateway.log) in reason
    # It is not forgotten while nothing takes its place.
    time.sleep(2.0)
    assert gateway.get("/ready").status == 503
    assert gateway.get("/live").status == 200
    gateway.append(system_event(2))
    wait_until(lambda: gateway.get("/ready").status == 200, LIMIT_SECONDS)
    wait_until(lambda: 'log_position{place="read"} 1' in gateway.get("/metrics").text, LIMIT_SECONDS)


def test_a_gateway_that_reads_its_log_late_is_behind(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    publish(log, [system_event(1), system_event(2)])
    read, now = 2, time.time()
    with closing(LogReader(log, EXCHANGE)) as reader:
        measure = partial(
            Measure,
            reader,
            None,
            position=lambda: read,
            unread=lambda: "",
            problem=lambda: "",
            board=lambda: "",
            clock=lambda: now,
        )
        assert (measure()().late_s, measure()().behind) == (0.0, False)
        read, now = 1, now + 60
        assert measure()().late_s >= 60
        assert measure()().behind


def test_a_gateway_ends_with_0_for_sigterm_and_130_for_sigint_and_streams_hear_of_it(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(forked=False)
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        gateway.start()
        with closing(socket.create_connection(("127.0.0.1", gateway.port), timeout=LIMIT_SECONDS)) as stream:
            stream.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n\r\n".encode())
            received = stream.recv(65_536)
            assert received.startswith(b"HTTP/1.1 200 OK")
            os.kill(gateway.pid, number)
            while part := stream.recv(65_536):
                received += part
            assert b"event: bye" in received
            assert b'"shutdown"' in received
        assert gateway.wait() == code


def test_a_gateway_that_is_stopped_at_once_ends_as_well(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(forked=False)
    gateway.launch()
    time.sleep(0.3)
    os.kill(gateway.pid, signal.SIGTERM)
    assert gateway.wait() in (0, -signal.SIGTERM)


def test_a_service_waits_for_a_locked_log_and_reports_it_to_its_manager(tmp_path: Path) -> None:
    with (
        closing(Gateway(tmp_path / "g", forked=False)) as gateway,
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_SECONDS)
        gateway.append(system_event(1))
        holder = sqlite3.connect(gateway.log, isolation_level=None)
        holder.execute("PRAGMA user_version = 99")
        gateway.launch({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        heard = ""
        while "STATUS=waiting: " not in heard:
            heard = manager.recv(4096).decode()
        assert "has format 99" in heard
        holder.execute("PRAGMA user_version = 2")
        holder.close()
        while heard != "STATUS=serving 0 streams":
            heard = manager.recv(4096).decode()
        while heard != "WATCHDOG=1":
            heard = manager.recv(4096).decode()
        assert gateway.stop() == 0
        manager.setblocking(False)
        last = []
        while not last or last[-1] != "STOPPING=1":
            last.append(manager.recv(4096).decode())
