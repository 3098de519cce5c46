# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run the doctor, and the commands that it prints as they are printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from sourcepulse.catalogue import schema_for
from sourcepulse.operations.doctor.table import table
from support.in_process import run_command

COMMAND_LIMIT_SECONDS = 120.0
BAD = ("broken", "warning")


@dataclass(frozen=True)
class Examined:
    """What one run of the doctor found."""

    returncode: int
    findings: Sequence[dict[str, Any]]

    @property
    def bad(self) -> list[str]:
        """The ids of what is broken or doubtful."""
        return [finding["id"] for finding in self.findings if finding["state"] in BAD]

    def one(self, id_: str) -> dict[str, Any]:
        """Return the finding with this id that is broken or doubtful."""
        found = [finding for finding in self.findings if finding["id"] == id_ and finding["state"] in BAD]
        assert found, self.findings
        assert found[0]["cause"] == table()[id_].cause
        assert found[0]["consequence"]
        return found[0]

    def repair(self, id_: str) -> list[str]:
        """Return the commands printed for an id."""
        commands: list[str] = self.one(id_)["repair"]
        return commands


def examine(*arguments: str | Path) -> Examined:
    """Run `sourcepulse doctor --json` in this process, and check the document against its schema."""
    ran = run_command("doctor", "--json", *map(str, arguments))
    document = json.loads(ran.stdout)
    jsonschema.validate(document, schema_for("doctor.v1"))
    assert document["exit_code"] == ran.returncode
    return Examined(ran.returncode, document["findings"])


def is_well(examined: Examined) -> bool:
    """Return whether nothing is broken, nor doubtful; what cannot be checked here is no matter."""
    return not examined.bad


def paste(*commands: str, path: Sequence[Path] = (), env: dict[str, str] | None = None, check: bool = True) -> str:
    """Run commands as they were printed, in bash, with our programs and those of `path` first."""
    folders = [*map(str, path), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    done = subprocess.run(
        ["bash", "-c", "set -e\n" + "\n".join(commands)],
        env={**os.environ, **(env or {}), "PATH": os.pathsep.join(folders)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_SECONDS,
        check=False,
    )
    assert not check or done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout
