# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The page on monitoring lists exactly the metrics that there are, and every reason of a failure."""

from __future__ import annotations

import re
from pathlib import Path

from sourcepulse.operations.status.check import LIMIT_SECONDS
from sourcepulse.operations.status.verdict import CRITICAL_SECONDS, START_PATIENCE_SECONDS, WARNING_SECONDS
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.health.best_effort.metrics_file import WRITE_SECONDS, current_metrics
from sourcepulse.relay.health.metrics import SOURCES_MAX, failure_reasons
from sourcepulse.testing import system_event
from support.fenced_blocks import ROOT

PAGE = (ROOT / "shared" / "docs" / "monitoring.md").read_text(encoding="utf-8")


def test_the_table_of_metrics_is_that_of_the_output(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
        text = current_metrics(outbox, per_source=True)
    written = []
    for name, type_ in re.findall(r"(?m)^# TYPE (\w+) (\w+)$", text):
        labels = re.findall(r"(\w+)=", re.findall(rf"(?m)^{name}\{{(.*)\}} ", text)[0])
        written.append((name, type_, [label for label in labels if label != "outbox"]))
    table = [
        (name, type_, re.findall(r"`(\w+)`", labels))
        for name, type_, labels in re.findall(r"(?m)^\| `(sourcepulse_\w+)` \| (\w+) \| ([^|]*) ?\|", PAGE)
    ]
    assert table == written


def test_each_reason_of_a_failure_has_its_remedy() -> None:
    table = PAGE.partition("| `reason` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", table.replace("`status`", ""))) == set(failure_reasons())


def test_the_limits_are_those_of_the_program() -> None:
    assert f"({WARNING_SECONDS:.0f})" in PAGE
    assert f"({CRITICAL_SECONDS:.0f})" in PAGE
    assert f"for more than {START_PATIENCE_SECONDS:.0f} s" in PAGE
    assert f"within {LIMIT_SECONDS:.0f} s" in PAGE
    assert f"every {WRITE_SECONDS:.0f} seconds" in PAGE
    assert f"At most {SOURCES_MAX} sources" in PAGE
    rules = (ROOT / "shared" / "deploy" / "prometheus-rules.yml").read_text(encoding="utf-8")
    assert rules.count("- alert:") == 23
    assert "has twenty-three alerts, eleven of them" in PAGE
    web = re.findall(r"- alert: (SourcepulseWeb\w+)", rules)
    assert re.findall(r"(?m)^\| `(SourcepulseWeb\w+)` \|", PAGE) == web
    assert len(web) == 11
