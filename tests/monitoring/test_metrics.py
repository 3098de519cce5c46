# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The metrics are what Prometheus's text format asks for, whatever the names are, and a real relay writes them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.cli.main import main
from sourcepulse.config import load
from sourcepulse.errors import BrokerUnavailableError, ConfigError
from sourcepulse.outbox.delivery_state import record_failure
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.health.best_effort.metrics_file import WRITE_SECONDS, MetricsFile, current_metrics, write_aside
from sourcepulse.relay.health.best_effort.side_job import SideJob
from sourcepulse.relay.health.metrics import OTHER_SOURCES, SOURCES_MAX, RelayState, metrics
from sourcepulse.relay.relay import Relay
from sourcepulse.testing import system_event
from support.brokers.embedded_log import log_url, wait_until
from support.promtool import check_metrics

SOURCEPULSE = str(Path(sys.executable).with_name("sourcepulse"))
LIMIT_SECONDS = 30.0
RELAY = RelayState(1_795_345_200.25, on_demand=False)
#: A sample: name, labels in braces, value; a time would be a fourth part.
SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Parse an exposition strictly: every line is HELP, TYPE or a sample, and no series comes twice."""
    found = {}
    for line in text.split("\n")[:-1]:
        if line.startswith("# "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match is not None, line
        labels = tuple(
            (name, re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], quoted))
            for name, quoted in LABEL.findall(match[2])
        )
        key = match[1], labels
        assert key not in found
        found[key] = float(match[3])
    return found


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [
        number
        for (its, pairs), number in samples(text).items()
        if its == name and labels.items() <= dict(pairs).items()
    ]
    return found


def test_every_figure_has_its_sample(outbox: Outbox) -> None:
    outbox.append([system_event(number) for number in range(5)])
    outbox.append([system_event(9, source="system://s?restricted")])
    outbox.acknowledge("public", [1, 2], unroutable=1)
    outbox.bury(3, "because")
    record_failure(outbox, "public", BrokerUnavailableError("away"), retry_in=lambda _: 0.0)
    text = metrics(figures(outbox), RELAY, version="1.2.3")
    assert value(text, "sourcepulse_build_info", version="1.2.3", outbox=str(outbox.path)) == 1
    assert value(text, "sourcepulse_outbox_pending_events", stream="public") == 2
    assert value(text, "sourcepulse_outbox_pending_events", stream="restricted") == 1
    assert value(text, "sourcepulse_outbox_buried_events", stream="public") == 1
    assert value(text, "sourcepulse_relay_delivered_events_total", stream="public") == 2
    assert value(text, "sourcepulse_relay_unroutable_events_total", stream="public") == 1
    assert value(text, "sourcepulse_relay_failures_total", stream="public", reason="unreachable") == 1
    # A counter that is not there yet would hide its first increase.
    assert value(text, "sourcepulse_relay_failures_total", stream="restricted", reason="refused") == 0
    assert value(text, "sourcepulse_collect_errors_total", kind="hg") == 0
    assert value(text, "sourcepulse_relay_last_loop_timestamp_seconds") == RELAY.last_loop_at
    assert value(text, "sourcepulse_relay_last_delivery_timestamp_seconds", stream="public") == pytest.approx(
        time.time(), abs=100
    )
    assert value(text, "sourcepulse_relay_last_delivery_timestamp_seconds", stream="restricted") == 0
    assert check_metrics(text) == ""


def test_restricted_events_that_no_relay_is_to_send_do_not_grow_old(tmp_path: Path) -> None:
    now = 1_795_345_200.0
    with Outbox.open(tmp_path / "o.db", clock=lambda: now) as outbox:
        outbox.append([system_event(9, source="system://s?restricted"), system_event(1)])
        now += 1000
        age = "sourcepulse_outbox_oldest_pending_age_seconds"
        text = metrics(figures(outbox), RELAY, version="1")
        assert (value(text, age, stream="public"), value(text, age, stream="restricted")) == (1000, 0)
        record_failure(outbox, "restricted", BrokerUnavailableError("away"), retry_in=lambda _: 0.0)
        assert value(metrics(figures(outbox), RELAY, version="1"), age, stream="restricted") == 1000


@settings(max_examples=60)
@given(path=st.text(max_size=30), kind=st.text(max_size=30), reason=st.text(max_size=30), source=st.text(max_size=30))
def test_any_text_is_escaped_as_the_format_asks(path: str, kind: str, reason: str, source: str) -> None:
    text = metrics(_made_up(path, kind, reason, source), RELAY, version="1", per_source=True)
    text.encode()
    assert text.endswith("\n")
    assert value(text, "sourcepulse_relay_on_demand", outbox=path) == 0
    assert value(text, "sourcepulse_relay_failures_total", stream="public", reason=reason) == 7
    assert value(text, "sourcepulse_source_pending_events", source=source) == 3


def test_prometheus_reads_names_that_need_escapes() -> None:
    text = metrics(_made_up('/a"b\\c\nd', "h\tg", "re\\fused", 's "'), RELAY, version="1", per_source=True)
    assert check_metrics(text) == ""


def test_a_path_that_is_not_utf_8_has_a_label_all_the_same() -> None:
    text = metrics(_made_up(os.fsdecode(b"/o\xff.db"), "hg", "refused", "s"), RELAY, version="1")
    assert 'outbox="/o\ufffd.db"' in text


def _made_up(path: str, kind: str, reason: str, source: str) -> dict[str, Any]:
    stream = {
        "is_sent": True,
        "pending": 1,
        "oldest_pending_age_s": 2,
        "buried": 0,
        "delivered": 4,
        "unroutable": 0,
        "last_delivery_at": None,
    }
    return {
        "outbox": path,
        "problems": [],
        "streams": {"public": {**stream, "failures_by_reason": {reason: 7}}},
        "payload_bytes_kept": 0,
        "origins": [],
        "collect_errors": {kind: 5},
        "metrics_file_errors": 0,
        "sources": [{"source": source, "stream": "public", "pending": 3, "oldest_pending_age_s": None, "buried": 0}],
    }


def test_help_and_type_come_once_before_their_samples_and_are_the_same_in_every_file(tmp_path: Path) -> None:
    texts = []
    for name in ("a.db", "b.db"):
        with Outbox.open(tmp_path / name) as outbox:
            outbox.append([system_event(1)])
            texts.append(current_metrics(outbox, per_source=True))
    names = [line.split(" ")[2] for line in texts[0].splitlines() if line.startswith("# TYPE ")]
    assert Counter(names).most_common(1)[0][1] == 1
    blocks = re.split(r"(?m)^# HELP ", texts[0])[1:]
    for name, block in zip(names, blocks, strict=True):
        head, type_, *rest = block.splitlines()
        assert head.startswith(f"{name} ")
        assert type_.startswith(f"# TYPE {name} ")
        assert rest
        assert all(line.startswith(f"{name}{{") for line in rest)
    heads = [[line for line in text.splitlines() if line.startswith("# ")] for text in texts]
    assert heads[0] == heads[1]
    # The collector joins the files, and one series in two of them makes it drop all.
    assert samples(texts[0]).keys().isdisjoint(samples(texts[1]))


def test_many_sources_have_samples_up_to_a_limit_and_the_rest_is_summed_up(outbox: Outbox) -> None:
    outbox.append([system_event(n, source=f"system://{n:03}") for n in range(SOURCES_MAX + 5)])
    outbox.append([system_event(1000 + n, source="system://104") for n in range(3)])
    assert "sourcepulse_source" not in current_metrics(outbox, per_source=False)
    text = current_metrics(outbox, per_source=True)
    pending = {
        dict(labels)["source"]: number
        for (name, labels), number in samples(text).items()
        if name == "sourcepulse_source_pending_events"
    }
    assert len(pending) == SOURCES_MAX + 1
    assert (pending["system://104"], pending[OTHER_SOURCES]) == (4, 5)
    assert sum(pending.values()) == SOURCES_MAX + 8
    assert check_metrics(text) == ""


def test_a_real_relay_writes_them_and_a_last_time_when_it_ends(outbox: Outbox, tmp_path: Path) -> None:
    path = tmp_path / "sourcepulse.prom"
    command = [SOURCEPULSE, "relay", "--outbox", str(outbox.path), "--broker", str(log_url(tmp_path))]
    relay = subprocess.Popen([*command, "--metrics-file", str(path)], umask=0o077, stderr=subprocess.DEVNULL)
    try:
        wait_until(path.exists)
        first = path.read_text()
        outbox.append([system_event(number) for number in range(3)])
        wait_until(lambda: not outbox.has_pending("public"))
    finally:
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(30) == 0
    last = path.read_text()
    assert value(first, "sourcepulse_relay_delivered_events_total", stream="public") == 0
    assert value(last, "sourcepulse_relay_delivered_events_total", stream="public") == 3
    assert value(last, "sourcepulse_relay_last_loop_timestamp_seconds") == pytest.approx(time.time(), abs=100)
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir() if ".prom" in each.name] == ["sourcepulse.prom"]
    assert check_metrics(last) == ""


def test_the_file_is_written_at_most_every_fifteen_seconds() -> None:
    now = 0.0
    written: list[float] = []
    job = SideJob("m", lambda: written.append(now), every_s=WRITE_SECONDS, hangs=list, clock=lambda: now)
    for _ in range(100):
        job.look()
        wait_until(lambda: not job.is_running())
        now += 1
    assert written == [float(at) for at in range(0, 100, int(WRITE_SECONDS))]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_file_of_its_own_keeps_no_relay_waiting(
    outbox: Outbox, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "m.prom"
    make(path)
    job = write_aside(outbox.path, path, per_source=False)
    job.look()
    wait_until(lambda: not job.is_running())
    (problem,) = figures(outbox)["problems"]
    assert (problem["name"], figures(outbox)["metrics_file_errors"]) == ("metrics-file", 1)


def test_a_write_that_hangs_stops_nothing_and_is_counted_once(outbox: Outbox) -> None:
    answers, hung = threading.Event(), []
    runs: list[float] = []

    def write() -> None:
        runs.append(time.monotonic())
        answers.wait(LIMIT_SECONDS)

    job = SideJob("metrics", write, every_s=0.0, hangs=lambda: hung.append(time.monotonic()), hangs_s=0.1)
    sweeps: list[None] = []
    relay = Relay(
        outbox,
        [],
        sweep=lambda: len(sweeps.append(None) or ()),
        keep=Keep(days=1, bytes=2**30),
        stop=threading.Event(),
        metrics=job,
    )
    began = time.monotonic()
    try:
        relay.run(idle_exit_s=0.5)
        assert time.monotonic() - began < LIMIT_SECONDS / 2
        assert sweeps
        assert len(runs) == 1
        assert len(hung) == 1
    finally:
        answers.set()


def test_a_dead_mount_is_a_problem_in_status(outbox: Outbox, tmp_path: Path) -> None:
    job = write_aside(outbox.path, tmp_path / "m.prom", per_source=False)
    job.hangs()
    assert "its file system does not answer" in figures(outbox)["problems"][0]["message"]


def test_a_file_that_cannot_be_written_is_logged_once_and_counted_and_a_problem_until_it_can(
    outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "collector"
    file = MetricsFile(outbox, folder / "m.prom", per_source=False)
    file.write()
    file.write()
    assert len(caplog.records) == 1
    assert "cannot be written: No such file or directory" in caplog.text
    (problem,) = figures(outbox)["problems"]
    assert problem["name"] == "metrics-file"
    folder.mkdir()
    file.write()
    assert figures(outbox)["problems"] == []
    assert value((folder / "m.prom").read_text(), "sourcepulse_relay_metrics_file_errors_total") == 2


def test_a_relay_delivers_although_its_metrics_cannot_be_written(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(1)])
    command = ["relay", "--once", "--outbox", str(outbox.path), "--broker", str(log_url(tmp_path))]
    assert main([*command, "--metrics-file", str(tmp_path / "no folder" / "m.prom")]) == 0
    assert figures(outbox)["streams"]["public"]["delivered"] == 1
    assert main([*command, "--metrics-file", str(tmp_path / "m.prom")]) == 0
    assert value((tmp_path / "m.prom").read_text(), "sourcepulse_relay_delivered_events_total", stream="public") == 1


def test_two_relays_do_not_replace_the_figures_of_each_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.prom"
    with Outbox.open(tmp_path / 'the "first".db') as first, Outbox.open(tmp_path / "second.db") as second:
        for outbox in (first, second, first):
            MetricsFile(outbox, path, per_source=False).write()
        assert 'the \\"first\\".db"' in path.read_text()
        assert caplog.text.count("name a file for each outbox") == 1
        assert [problem["name"] for problem in figures(second)["problems"]] == ["metrics-file"]
        # The first one is gone for good.
        os.utime(path, (1, 1))
        MetricsFile(second, path, per_source=False).write()
        assert "second.db" in path.read_text()
        assert figures(second)["problems"] == []


def test_the_command_writes_utf_8_in_every_locale(tmp_path: Path) -> None:
    path = tmp_path / "\u00f6.db"
    Outbox.open(path).close()
    command = [SOURCEPULSE, "status", "--prometheus", "--outbox", str(path)]
    for encoding in ("latin-1", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        ran = subprocess.run(command, capture_output=True, env=environment, check=True)
        assert f'outbox="{path}"' in ran.stdout.decode()


def test_a_name_that_the_collector_would_not_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must end in \.prom"):
        load({"metrics_file": "/x/sourcepulse.txt"}, environ={"SOURCEPULSE_METRICS_FILE": "/x/sourcepulse.txt"})
