# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Prometheus's own judgement of our metrics, rules and expressions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.component import require

LIMIT_SECONDS = 60.0


def require_promtool() -> None:
    """Skip the test where it is not installed; with CI set, fail it."""
    require(shutil.which("promtool") is not None, "promtool is not installed (Debian: apt-get install prometheus)")


def check_metrics(text: str) -> str:
    """Return what promtool says of an exposition; empty if it is sound in form and style."""
    return _said(["check", "metrics"], text)


def check_rules(path: Path) -> str:
    """Return what promtool says of a file of rules, empty if it has no complaint."""
    said = _said(["check", "rules", str(path)])
    return "" if "SUCCESS" in said else said


def run_rule_tests(path: Path) -> str:
    """Return what promtool says of a file of tests of rules, empty if all pass."""
    said = _said(["test", "rules", str(path)])
    return "" if "SUCCESS" in said and "FAILED" not in said else said


def _said(command: list[str], text: str = "") -> str:
    require_promtool()
    done = subprocess.run(
        ["promtool", *command], input=text, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    said = done.stdout + done.stderr
    return said if said.strip() or not done.returncode else f"exit code {done.returncode}"
