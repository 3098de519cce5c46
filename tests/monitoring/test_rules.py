# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The alert rules and the dashboard that come with the package are sound and speak of metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.cli.main import build_parser
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.health.best_effort.metrics_file import current_metrics
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until
from support.fenced_blocks import ROOT
from support.promtool import check_rules, run_rule_tests
from support.web.gateway import Gateway

RULES = ROOT / "shared" / "deploy" / "prometheus-rules.yml"
DASHBOARD = ROOT / "shared" / "deploy" / "grafana-dashboard.json"
TESTS = Path(__file__).with_name("prometheus-rules.test.yml")
#: The gateway answers with more than has an alert or a panel; its page lists all.
WEB = "sourcepulse_web_"
#: But of webhooks each metric has a panel.
HOOKS = "sourcepulse_web_hook"
METRIC = re.compile(r"\b(?:sourcepulse|node)_\w+")
#: A metric with what selects its series, and the function that it is in.
SELECTED = re.compile(r"(?:(\w+)\()?\b((?:sourcepulse|node)_\w+)(?:\{([^}]*)\})?")
OF_COUNTERS = ("rate", "increase")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The metrics that there are, with their labels."""
    with Outbox.open(tmp_path_factory.mktemp("known") / "o.db") as outbox:
        outbox.append([system_event(1)])
        text = current_metrics(outbox, per_source=True)
    # With a bridge, which finds no broker, and with webhooks.
    with closing(
        Gateway(tmp_path_factory.mktemp("gateway"), broker="amqp://127.0.0.1:1/", configuration="[webhooks]\n")
    ) as gateway:
        gateway.launch()
        wait_until(lambda: answers(gateway))
        text += gateway.get("/metrics").text
    found = {
        match[1]: {*re.findall(r"(\w+)=", match[2] or ""), *(["instance"] if match[1].startswith(WEB) else [])}
        for match in re.finditer(r"(?m)^(sourcepulse_\w+)(?:\{(.*)\}|) ", text)
    }
    return found | {"node_textfile_mtime_seconds": {"file"}}


def answers(gateway: Gateway) -> bool:
    gateway.check_runs()
    try:
        return gateway.get("/live").status == 200
    except OSError:
        return False


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_promtool_accepts_the_rules() -> None:
    assert check_rules(RULES) == ""


def test_each_alert_fires_when_its_part_is_stopped_and_not_otherwise() -> None:
    assert run_rule_tests(TESTS) == ""
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))
    cases = TESTS.read_text(encoding="utf-8")
    fire = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", cases))
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", cases))
    assert fire == silent == set(alerts)
    assert len(alerts) == len(set(alerts))


def test_rules_use_metrics_and_labels_that_there_are(known: dict[str, set[str]]) -> None:
    text = RULES.read_text(encoding="utf-8")
    used = set(METRIC.findall("\n".join(line for line in text.splitlines() if "summary" not in line)))
    assert used - {"node_exporter"} <= known.keys()
    assert len(used) > 8


def test_each_alert_names_a_command_that_there_is() -> None:
    repairs = re.findall(r'repair: "(.*)"', RULES.read_text(encoding="utf-8"))
    assert len(repairs) == RULES.read_text(encoding="utf-8").count("- alert:")
    commands = {word for repair in repairs for word in re.findall(r"(?<!hg )\bsourcepulse ([a-z-]+)", repair)}
    help_text = build_parser().format_help()
    assert {command for command in commands if f"\n    {command} " not in help_text} == set()


def test_the_dashboard_is_one_that_every_grafana_reads() -> None:
    board = dashboard()
    assert 39 <= board["schemaVersion"] <= 42
    names = {variable["name"]: variable["type"] for variable in board["templating"]["list"]}
    assert names == {"datasource": "datasource", "outbox": "query"}
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert "alert" not in panel
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))


def test_every_expression_of_the_dashboard_can_be_evaluated(known: dict[str, set[str]], tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    used: set[str] = set()
    for number, expression in enumerate(expressions()):
        used |= set(METRIC.findall(expression))
        plain = expression.replace("$__rate_interval", "5m").replace("$outbox", ".*")
        assert "$" not in plain
        lines += [f"      - record: panel:{number}", f"        expr: {json.dumps(plain)}"]
    rules.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert check_rules(rules) == ""
    for target in (target for panel in dashboard()["panels"] for target in panel["targets"]):
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        found = SELECTED.findall(target["expr"])
        assert found, target["expr"]
        for function, metric, selectors in found:
            # A gateway prints a metric also while nothing of it happened, so that no panel is empty for a wrong name.
            assert metric in known, target["expr"]
            assert labels | set(re.findall(r"(\w+)\s*[=!]", selectors)) <= known[metric], target["expr"]
            assert (function in OF_COUNTERS) == metric.endswith("_total"), target["expr"]
    # A metric without a panel or a rule is either missing here or not worth its series.
    of_relays = {name for name in known if not name.startswith(WEB)}
    assert of_relays - used - set(METRIC.findall(RULES.read_text(encoding="utf-8"))) == {
        "sourcepulse_source_oldest_pending_age_seconds",
        "sourcepulse_source_buried_events",
    }
    assert {name for name in known if name.startswith(HOOKS)} <= used
