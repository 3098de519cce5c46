# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Each part is killed or stopped in turn: an alert fires on the metrics it leaves, and a real consumer hears of it."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event
from sourcepulse.cli.main import main
from sourcepulse.gaps import Silence
from sourcepulse.operations.status.verdict import MISSED_SECONDS
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.relay import is_relayed, lock_path
from sourcepulse.testing import system_event
from support.brokers.amqp import new_name
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import RabbitNode
from support.bugzilla.standin import StandIn
from support.buildbot.masters import Master, make_template, require_buildbot
from support.fenced_blocks import ROOT
from support.promtool import run_rule_tests
from support.streams.processes import Program, write_secret

RULES = ROOT / "shared" / "deploy" / "prometheus-rules.yml"
RELAY = f"system://{socket.gethostname()}"
HEARTBEAT_SECONDS = 1
SILENT_SECONDS = 3.0
LIMIT_SECONDS = 60.0
#: What Prometheus sees after the part was stopped.
MINUTES = 15
SAMPLE = re.compile(r"(?m)^(\w+\{.*\}) (\S+)$")


def series(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in SAMPLE.findall(text)}


def firing(folder: Path, values: Mapping[str, str]) -> set[str]:
    """Return the alerts of the rules that fire a quarter of an hour later; promtool evaluates them."""
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": row} for name, row in values.items()],
        "alert_rule_test": [{"eval_time": f"{MINUTES}m", "alertname": name, "exp_alerts": []} for name in alerts],
    }
    path = folder / "rules.test.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
    return set(re.findall(r"alertname: *(\w+)", run_rule_tests(path)))


def frozen(text: str, now: float) -> dict[str, str]:
    """Return the series of a file that nothing writes any more; in promtool's tests the time begins at 0."""
    return {
        name: f"{value - now if '_timestamp_' in name and value else value}x{MINUTES}"
        for name, value in series(text).items()
    }


def going_on(first: str, second: str, now: float) -> dict[str, str]:
    """Return the series of a file that is still written, each figure moving as it did between two samples."""
    before, after = series(first), series(second)
    found = {}
    for name, value in after.items():
        moves = value > before.get(name, value)
        start = value - now if "_timestamp_" in name and value else value
        found[name] = f"{start}+60x{MINUTES}" if moves else f"{start}x{MINUTES}"
    return found


class Listener:
    """A consumer of the parts, and what it heard of them."""

    def __init__(self, url: str, exchange: str, folder: Path, *, seconds: float = SILENT_SECONDS) -> None:
        self.silent: list[Silence] = []
        self.heard: list[Silence] = []
        self.events: list[Event] = []
        self.consumer = Consumer(
            url,
            ["system.#", "build.#"],
            exchange=exchange,
            expect={RELAY: seconds},
            on_silent=self.silent.append,
            on_heard=self.heard.append,
            state=":memory:",
        )

    def until(self, condition: Callable[[], object]) -> None:
        """Receive until it holds."""
        limit = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < limit, [event.type for event in self.events]
            event = self.consumer.receive(0.2)
            if event is not None:
                self.events.append(event)
                self.consumer.acknowledge()

    def has(self, type_: str) -> bool:
        return any(event.type == type_ for event in self.events)


@contextmanager
def listener(url: str, exchange: str, folder: Path, *, seconds: float = SILENT_SECONDS) -> Iterator[Listener]:
    made = Listener(url, exchange, folder, seconds=seconds)
    with made.consumer:
        yield made


class Site:
    """An outbox, and a relay of it that runs as a service and writes its metrics."""

    def __init__(self, folder: Path, url: str, exchange: str) -> None:
        self.outbox = folder / "outbox.db"
        self.metrics = folder / "sourcepulse.prom"
        with Outbox.open(self.outbox) as outbox:
            outbox.append([system_event(1)])
        config = folder / "config.toml"
        config.write_text(
            f'outbox = "{self.outbox}"\nbroker_file = "{write_secret(folder / "url", url)}"\nexchange = "{exchange}"\n'
            f'heartbeat_s = {HEARTBEAT_SECONDS}\nmetrics_file = "{self.metrics}"\n'
        )
        command = [sys.executable, "-m", "sourcepulse.cli", "relay", "--config", str(config)]
        self.relay = Program(command, folder / "relay.log")

    def pending(self) -> int:
        with Outbox.open(self.outbox) as outbox:
            return outbox.pending("public")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, f"file://{tmp_path}/log.db", "sourcepulse")
    made.relay.start()
    yield made
    made.relay.kill()


def metrics_now(outbox: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `status --prometheus` prints."""
    capsys.readouterr()
    assert main(["status", "--prometheus", "--outbox", str(outbox)]) == 0
    return capsys.readouterr().out


def test_while_all_parts_run_no_alert_fires_and_nothing_is_silent(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with listener(f"file://{tmp_path}/log.db", "sourcepulse", tmp_path) as heard:
        heard.until(lambda: heard.has("system.relay.heartbeat.v1"))
        before = metrics_now(site.outbox, capsys)
        until = time.monotonic() + 2 * SILENT_SECONDS
        heard.until(lambda: time.monotonic() > until)
        after = metrics_now(site.outbox, capsys)
        assert heard.silent == []
    assert firing(tmp_path, going_on(before, after, time.time())) == set()


def test_a_killed_relay_is_missed_by_prometheus_and_by_a_consumer(site: Site, tmp_path: Path) -> None:
    with listener(f"file://{tmp_path}/log.db", "sourcepulse", tmp_path) as heard:
        heard.until(lambda: heard.has("system.relay.heartbeat.v1") and site.metrics.exists() and not site.pending())
        site.relay.kill()
        heard.until(lambda: heard.silent)
        assert [silence.source for silence in heard.silent] == [RELAY]
        # Nothing waits, and it has only just gone; minutes later a monitor that has no Prometheus is warned as well.
        assert main(["status", "--check", "--outbox", str(site.outbox)]) == 0
        long_ago = time.time() - 2 * MISSED_SECONDS
        os.utime(lock_path(site.outbox), (long_ago, long_ago))
        assert main(["status", "--check", "--outbox", str(site.outbox)]) == 1
        site.relay.start()
        heard.until(lambda: heard.heard)
        site.relay.kill()
    assert "SourcepulseRelaySilent" in firing(tmp_path, frozen(site.metrics.read_text(), time.time()))


def test_a_relay_that_hangs_is_missed_by_prometheus_and_by_a_consumer(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with listener(f"file://{tmp_path}/log.db", "sourcepulse", tmp_path) as heard:
        heard.until(lambda: heard.has("system.relay.heartbeat.v1"))
        site.relay.freeze()
        heard.until(lambda: heard.silent)
        assert is_relayed(site.outbox)
        text = metrics_now(site.outbox, capsys)
        # The file says nothing new, and what another process reads now shows that its loop does not turn.
        assert "SourcepulseRelaySilent" in firing(tmp_path, frozen(text, time.time()))
        site.relay.thaw()
        heard.until(lambda: heard.heard)


def test_a_relay_that_ends_in_good_order_says_so(site: Site, tmp_path: Path) -> None:
    with listener(f"file://{tmp_path}/log.db", "sourcepulse", tmp_path) as heard:
        heard.until(lambda: heard.has("system.relay.started.v1"))
        site.relay.end()
        heard.until(lambda: heard.has("system.relay.stopped.v1"))


def test_a_broker_that_is_away_shows_in_the_metrics_and_a_consumer_misses_the_relay(
    rabbitmq: RabbitNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = new_name("stopped-parts")
    with Proxy(rabbitmq.port) as way, listener(rabbitmq.url(), exchange, tmp_path) as heard:
        site = Site(tmp_path, rabbitmq.url(port=way.port), exchange)
        site.relay.start()
        try:
            heard.until(lambda: heard.has("system.relay.heartbeat.v1"))
            way.close()
            with Outbox.open(site.outbox) as outbox:
                outbox.append([system_event(2)])
            heard.until(lambda: heard.silent)
            before = metrics_now(site.outbox, capsys)
            until = time.monotonic() + 3
            heard.until(lambda: time.monotonic() > until)
            after = metrics_now(site.outbox, capsys)
        finally:
            site.relay.kill()
    alerts = firing(tmp_path, going_on(before, after, time.time()))
    assert {"SourcepulseEventsWait", "SourcepulseEventsWaitLong"} <= alerts
    assert "SourcepulseRelaySilent" not in alerts


def test_a_killed_sidecar_is_missed_by_prometheus_and_by_a_consumer(tmp_path: Path) -> None:
    bugzilla, log, metrics = StandIn(tmp_path / "bugzilla"), f"file://{tmp_path}/log.db", tmp_path / "sidecar.prom"
    command = [*(sys.executable, "-m", "sourcepulse.cli", "bugzilla-sidecar"), "--bugzilla", str(bugzilla.folder)]
    command += ["--outbox", str(tmp_path / "outbox.db"), "--broker", log]
    settings = {"SOURCEPULSE_HEARTBEAT_S": str(HEARTBEAT_SECONDS), "SOURCEPULSE_METRICS_FILE": str(metrics)}
    sidecar = Program(command, tmp_path / "sidecar.log", settings)
    with listener(log, "sourcepulse", tmp_path) as heard:
        sidecar.start()
        try:
            heard.until(lambda: heard.has("system.relay.heartbeat.v1") and metrics.exists())
        finally:
            sidecar.kill()
        heard.until(lambda: heard.silent)
    assert "SourcepulseRelaySilent" in firing(tmp_path, frozen(metrics.read_text(), time.time()))


def test_a_master_that_is_stopped_says_so(tmp_path: Path) -> None:
    require_buildbot()
    log = f"file://{tmp_path}/log.db"
    config = f'c["services"].append(reporters.PulseStatusPush(name="ci", outbox="outbox.db", broker="{log}"))\n'
    config += 'builder("fast", "true")\n'
    master = Master(make_template(tmp_path / "template"), tmp_path / "master", config)
    with listener(log, "sourcepulse", tmp_path, seconds=90) as heard:
        try:
            master.start()
            heard.until(lambda: heard.has("build.master.started.v1") and heard.has("system.relay.started.v1"))
            master.stop()
            # Its last event of its own may wait in the outbox until it starts again.
            heard.until(lambda: heard.has("system.relay.stopped.v1"))
            master.start()
            heard.until(lambda: heard.has("build.master.stopped.v1"))
        finally:
            master.close()
