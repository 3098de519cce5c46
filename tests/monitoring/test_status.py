# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The first line of `status` says whether events flow and why not, and the plug-in form says so to a monitor."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from sourcepulse.catalogue import schema_for
from sourcepulse.cli.main import main
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.operations.status.check import head, limited
from sourcepulse.operations.status.state import read_state
from sourcepulse.operations.status.text import SOURCES_MAX, lines
from sourcepulse.operations.status.verdict import Level, duration
from sourcepulse.outbox.delivery_state import bind_broker, record_failure
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.problems import set_problem
from sourcepulse.relay.health.liveness import LOOP_MAX_SECONDS, lock_path
from sourcepulse.relay.on_demand import identity, start_path, write_settings
from sourcepulse.relay.relay import relay_lock
from sourcepulse.testing import system_event
from support.brokers.embedded_log import log_url, wait_until
from support.streams.freeze import freeze

SOURCEPULSE = str(Path(sys.executable).with_name("sourcepulse"))
#: The form of the guidelines: service, status, text, and performance data with label=value[unit];warn;crit;min.
PLUG_IN = re.compile(
    r"SOURCEPULSE (OK|WARNING|CRITICAL|UNKNOWN): [^|\n]+( \|( '?[\w ]+'?=\d+[sc]?;[\d.]*;[\d.]*;\d*)+)?"
)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


def stored(path: Path, *, ago_s: float, number: int = 1, source: str = "system://test") -> None:
    """Store events as they were that long ago."""
    with Outbox.open(path, clock=lambda: time.time() - ago_s) as opened:
        opened.append([system_event(int(ago_s) * 1000 + each, source=source) for each in range(number)])


def check(capsys: pytest.CaptureFixture[str], outbox: Path, *options: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["status", "--check", "--outbox", str(outbox), *options])
    (line,) = capsys.readouterr().out.splitlines()
    assert PLUG_IN.fullmatch(line), line
    return code, line


# -- the first line


def test_nothing_pending_is_well_and_the_last_confirmation_is_named(outbox: Outbox) -> None:
    assert lines(read_state(outbox))[0] == "well: nothing waits"
    outbox.append([system_event(1)])
    assert lines(read_state(outbox))[0] == "well: 1 event on the way"
    outbox.acknowledge("public", [1])
    assert re.fullmatch(r"well: nothing waits, the last event was confirmed \d s ago", lines(read_state(outbox))[0])


def test_events_that_wait_are_named_with_their_age_and_the_cause(outbox: Outbox) -> None:
    stored(outbox.path, ago_s=200, number=12)
    assert lines(read_state(outbox))[0] == "degraded: 12 public events wait for 3 min because no relay runs"
    record_failure(outbox, "public", BrokerUnavailableError("mq:5672 cannot be reached"), retry_in=lambda _: 9.0)
    with relay_lock(outbox.path):
        shown = lines(read_state(outbox))
        assert shown[0] == ("degraded: 12 public events wait for 3 min because mq:5672 cannot be reached (unreachable)")
        assert any(
            re.fullmatch(r" +trouble: 1 failure since then, the last 0 s ago: mq:.*; next attempt in [89] s", line)
            for line in shown
        )
        old = time.time() - LOOP_MAX_SECONDS - 100
        os.utime(lock_path(outbox.path), (old, old))
        assert "because the relay hangs: its loop has not turned for 3 min; restart it" in lines(read_state(outbox))[0]
    assert "because no relay runs; the last one failed: mq:5672" in lines(read_state(outbox))[0]


def test_an_attempt_that_just_failed_is_named_before_any_limit_is_reached(outbox: Outbox) -> None:
    outbox.append([system_event(1)])
    record_failure(outbox, "public", BrokerUnavailableError("away"), retry_in=lambda _: 9.0)
    with relay_lock(outbox.path):
        assert lines(read_state(outbox))[0] == "degraded: 1 public event waits for 0 s because away (unreachable)"


def test_several_troubles_are_listed_the_worst_first(outbox: Outbox) -> None:
    stored(outbox.path, ago_s=400, number=2)
    outbox.bury(1, "because")
    set_problem(outbox, "bugzilla-silent", "no row since then")
    shown = lines(read_state(outbox))
    assert shown[0] == ("degraded: 1 public event waits for 7 min because no relay runs (and 2 more, see below)")
    assert [line.split("  ")[0] for line in shown[1:5]] == ["trouble", "trouble", "trouble", "outbox"]
    command = f"`sourcepulse outbox list --state buried --outbox {outbox.path}`"
    assert any(f"1 public event is buried; {command} shows why" in line for line in shown)
    assert any("bugzilla-silent: no row since then" in line for line in shown)


def test_restricted_events_that_no_relay_has_a_broker_for_are_kept_not_late(outbox: Outbox) -> None:
    stored(outbox.path, ago_s=4000, source="system://s?restricted")
    assert lines(read_state(outbox))[0] == "well: nothing waits"
    assert "restricted 1 event kept; no relay has a broker for them" in lines(read_state(outbox))


def test_broker_exchange_rate_and_confirmed_numbers_are_labelled(outbox: Outbox) -> None:
    outbox.append([system_event(number) for number in range(60)])
    bind_broker(outbox, "public", "amqps://user@mq.example.org/hg sourcepulse")
    outbox.acknowledge("public", range(1, 31))
    text = "\n".join(lines(read_state(outbox)))
    assert "public     broker amqps://user@mq.example.org/hg, exchange sourcepulse\n" in text
    assert "30 pending, oldest 0 s; 30 delivered, 0 of them to no queue; 0 buried\n" in text
    assert "0.50/s in the last minute, 0.10/s in the last 5; last confirmed 0 s ago\n" in text
    assert "source     system://test: 30 of 60 confirmed, 30 pending, oldest 0 s" in text


def test_of_many_sources_those_that_wait_are_shown_and_the_others_counted(outbox: Outbox) -> None:
    outbox.append([system_event(1, source=f"system://{number:03}") for number in range(SOURCES_MAX + 20)])
    outbox.acknowledge("public", range(1, SOURCES_MAX + 20))
    sources = [line for line in lines(read_state(outbox)) if line.startswith("source ")]
    assert sources[0] == f"source     system://{SOURCES_MAX + 19:03}: 0 of 1 confirmed, 1 pending, oldest 0 s"
    assert sources[-1] == "source     and 20 more; --json lists all"
    assert len(sources) == SOURCES_MAX + 1


def test_json_has_the_same_figures_and_fits_its_schema(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    outbox.append([system_event(1)])
    write_settings(str(outbox.path), identity(broker="amqp://127.0.0.1:1", broker_file=None))
    assert main(["status", "--json", "--outbox", str(outbox.path)]) == 0
    state = json.loads(capsys.readouterr().out)
    jsonschema.validate(state, schema_for("status.v1"))
    assert (state["relay_on_demand"], state["relay_failed_start"]) == (True, None)
    assert state["streams"]["public"]["rate_60s"] == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")],
)  # fmt: skip
def test_a_duration_is_in_a_unit_that_people_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- the plug-in


@pytest.mark.parametrize(
    ("ago_s", "options", "level"),
    [
        (0, (), Level.OK),
        (59, (), Level.OK),
        (62, (), Level.WARNING),
        (302, (), Level.CRITICAL),
        (62, ("--warning", "100"), Level.OK),
        (62, ("--warning", "10", "--critical", "20"), Level.CRITICAL),
    ],
)
def test_the_age_of_the_oldest_pending_event_decides_not_their_number(
    outbox: Outbox, capsys: pytest.CaptureFixture[str], ago_s: float, options: tuple[str, ...], level: Level
) -> None:
    stored(outbox.path, ago_s=ago_s, number=500)
    with relay_lock(outbox.path):
        code, line = check(capsys, outbox.path, *options)
    assert (code, line.split(":")[0]) == (level, f"SOURCEPULSE {level.name}")
    limits = dict(zip(options[::2], options[1::2], strict=True))
    warning, critical = limits.get("--warning", "60"), limits.get("--critical", "300")
    age = re.search(rf" public_age=(\d+)s;{warning};{critical};0 ", line)
    assert age is not None
    assert int(age[1]) == pytest.approx(ago_s, abs=2)
    assert " public_pending=500;;;0 public_buried=0;0;;0 public_delivered=0c;;;0" in line


def test_a_missing_or_hung_relay_with_events_that_wait_is_critical_whatever_their_age(
    outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(capsys, outbox.path)[0] == Level.OK
    stored(outbox.path, ago_s=20)
    code, line = check(capsys, outbox.path)
    assert code == Level.CRITICAL
    assert re.fullmatch(
        r"SOURCEPULSE CRITICAL: 1 public event waits for 2\d s because no relay runs \| public_age=.*", line
    )
    with relay_lock(outbox.path):
        assert check(capsys, outbox.path)[0] == Level.OK
        old = time.time() - LOOP_MAX_SECONDS - 10
        os.utime(lock_path(outbox.path), (old, old))
        code, line = check(capsys, outbox.path)
        assert (code, "the relay hangs" in line) == (Level.CRITICAL, True)
        outbox.acknowledge("public", [1])
        assert check(capsys, outbox.path)[0] == Level.WARNING


def test_buried_events_and_problems_are_a_warning(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    outbox.append([system_event(1)])
    outbox.bury(1, "because")
    code, line = check(capsys, outbox.path)
    assert (code, "public_buried=1;0;;0" in line) == (Level.WARNING, True)
    outbox.retry(1)
    outbox.acknowledge("public", [1])
    set_problem(outbox, "bugzilla-silent", "a | b\nc")
    assert check(capsys, outbox.path)[1].startswith("SOURCEPULSE WARNING: bugzilla-silent: a / b\\nc | ")


def test_a_relay_that_failed_to_start_is_the_cause(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    start = Path(start_path(str(outbox.path)))
    start.write_text("sourcepulse: no module named amqp\n")
    old = time.time() - 20
    os.utime(start, (old, old))
    assert check(capsys, outbox.path)[0] == Level.WARNING
    stored(outbox.path, ago_s=30)
    code, line = check(capsys, outbox.path)
    assert code == Level.CRITICAL
    assert "1 public event waits for 30 s because the last relay failed to start: no module named amqp" in line


def test_what_cannot_be_found_out_is_unknown_and_never_a_stack_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(capsys, tmp_path / "gone.db")[0] == Level.UNKNOWN
    (tmp_path / "bad.db").write_bytes(b"rubbish" * 1000)
    code, line = check(capsys, tmp_path / "bad.db")
    assert (code, "bad.db" in line) == (Level.UNKNOWN, True)
    assert check(capsys, tmp_path / "bad.db", "--warning", "9", "--critical", "8")[0] == Level.UNKNOWN
    monkeypatch.chdir(tmp_path)
    assert main(["status", "--check"]) == Level.UNKNOWN
    assert capsys.readouterr().out.startswith("SOURCEPULSE UNKNOWN: no outbox is set; ")


@pytest.mark.parametrize(
    "options", [("--warning", "soon"), ("--nonsense",), ("--critical",), ("--json",), ("--outbox",), ("and", "more")]
)
def test_wrong_usage_of_the_plug_in_is_unknown_too(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for spelling in ("--check", "--chec"):
        assert main(["status", spelling, *options]) == Level.UNKNOWN
        assert capsys.readouterr().out == "SOURCEPULSE UNKNOWN: wrong usage, see sourcepulse status --help\n"
    with pytest.raises(SystemExit, match="2"):
        main(["status", "--nonsense"])


def test_a_check_that_hangs_ends_as_unknown() -> None:
    script = (
        "import time\nfrom sourcepulse.operations.status.check import limited\nwith limited(0.1):\n    time.sleep(60)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stdout) == (
        Level.UNKNOWN,
        "SOURCEPULSE UNKNOWN: the outbox could not be read within 0.1 s\n",
    )
    with limited(0.1):
        pass
    time.sleep(0.2)


def test_a_line_stays_a_line_whatever_an_error_contains() -> None:
    assert head(Level.OK, "a|b\n\x1b[2J" + "c" * 5000) == "SOURCEPULSE OK: a/b\\n\\x1b[2J" + "c" * 788 + "..."


def test_a_broker_that_is_away_turns_the_check_critical_by_age_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "o.db"
    broker = tmp_path / "broker"
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker.write_text(f"amqp://127.0.0.1:{server.getsockname()[1]}\n")
    broker.chmod(0o600)
    stored(box, ago_s=400, number=3)
    assert main(["relay", "--once", "--outbox", str(box), "--broker-file", str(broker)]) == 4
    code, line = check(capsys, box)
    assert code == Level.CRITICAL
    assert "(unreachable)" in line
    broker.write_text(f"{log_url(tmp_path)}\n")
    assert main(["relay", "--once", "--outbox", str(box), "--broker-file", str(broker)]) == 0
    code, line = check(capsys, box)
    assert (code, "public_delivered=3c" in line) == (Level.OK, True)


def test_prometheus_gets_the_same_from_the_command(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    outbox.append([system_event(1)])
    assert main(["status", "--prometheus", "--outbox", str(outbox.path)]) == 0
    text = capsys.readouterr().out
    assert f'sourcepulse_outbox_pending_events{{outbox="{outbox.path}",stream="public"}} 1\n' in text
    assert "sourcepulse_source" not in text
    assert main(["status", "--prometheus", "--per-source", "--outbox", str(outbox.path)]) == 0
    assert 'source="system://test"} 1\n' in capsys.readouterr().out
    assert main(["relay", "--once", "--outbox", str(outbox.path), "--broker", str(log_url(outbox.path.parent))]) == 0


def test_a_real_relay_that_hangs_or_is_killed_turns_the_check_critical(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "o.db"
    with Outbox.open(box) as opened:
        opened.append([system_event(1)])
    command = [SOURCEPULSE, "relay", "--outbox", str(box), "--broker", str(log_url(tmp_path))]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as relay:
        try:
            wait_until(lambda: "public_delivered=1c" in check(capsys, box)[1])
            freeze(relay, box)
            stored(box, ago_s=30)
            assert check(capsys, box)[0] == Level.OK
            old = time.time() - LOOP_MAX_SECONDS - 10
            os.utime(lock_path(box), (old, old))
            code, line = check(capsys, box)
            assert (code, "because the relay hangs" in line) == (Level.CRITICAL, True)
        finally:
            relay.kill()
    code, line = check(capsys, box)
    assert (code, "because no relay runs" in line) == (Level.CRITICAL, True)
    assert main(["relay", "--once", "--outbox", str(box), "--broker", str(log_url(tmp_path))]) == 0
    assert check(capsys, box)[0] == Level.OK
