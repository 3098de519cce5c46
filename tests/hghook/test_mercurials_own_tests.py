# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Mercurial's own tests give with us what they give without us.

They are neither here nor downloaded: the environment variable MERCURIAL_TESTS names the folder `tests` of Mercurial's
source distribution, of the version that is in the venv. A test that passes with us needs no run without us.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.hg import EXTENSION_FOLDER, VENV_HG

ONE_TEST_LIMIT_SECONDS = 1800
PART_LIMIT_SECONDS = 3 * 3600

_FOLDER = os.environ.get("MERCURIAL_TESTS", "")
_EXTENSION = f"extensions.sourcepulse_hg={EXTENSION_FOLDER}"
_HOOK = f"hooks.changegroup.sourcepulse=python:{EXTENSION_FOLDER}/__init__.py:changegroup"
_PARTS = {
    "hook": "test-hook*.t",
    "push": "test-push*.t",
    "bundle2": "test-bundle2*.t",
    "phases": "test-phase*.t",
    "bookmarks": "test-bookmark*.t",
    "obsolete": "test-obs*.t",
    "strip": "test-strip*.t test-rollback.t",
    "subrepo": "test-subrepo*.t",
    "largefiles": "test-largefiles*.t",
    "share": "test-share*.t",
    "transaction": "test-transaction*.t",
    "servers": "test-acl.t test-ssh*.t test-http*.t test-clone*.t test-pull*.t test-unbundle*.t",
    "tags": "test-tag*.t",
}
#: Lines that differ and may, each with the reason.
_BENIGN = {
    "the list of what is loaded names every extension": r"\*\* Extensions loaded:",
    "the list of the configuration has the line that enables us": r"\s+extensions\.sourcepulse_hg=",
    "what Mercurial lists of .hg names our folder": r"\s+(\./)?(\.hg/)?sourcepulse(/.*)?$",
    "with --debug Mercurial names each hook that it calls": r"\s+.*calling hook changegroup\.sourcepulse:",
}
_IS_BENIGN = re.compile("|".join(f"(?:{pattern})" for pattern in _BENIGN.values()))
#: Mercurial's runner moves the optional lines of a test when it prints a difference.
_IS_OPTIONAL = re.compile(r" \([\w.-]+ !\)$")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(2 * PART_LIMIT_SECONDS),
    pytest.mark.skipif(not _FOLDER, reason="MERCURIAL_TESTS names no folder of Mercurial's tests"),
]


@dataclass(frozen=True)
class _Run:
    """What Mercurial's runner reported: the lines that differ from what each test expects."""

    passed: int
    differences: dict[str, Counter[str]]


def _run(tests: list[str], folder: Path, *options: str) -> _Run:
    folder.mkdir()
    site_packages = sysconfig.get_path("purelib")
    # The tests expect standard output to be buffered.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environ |= {"PATH": f"{VENV_HG.path.parent}:{os.environ['PATH']}", "PYTHONPATH": site_packages}
    # The tests start `hg serve` at ports of which each worker takes its own.
    command = [sys.executable, "run-tests.py", f"--with-hg={VENV_HG.path}", f"-j{os.cpu_count()}", "--json"]
    command += [f"--outputdir={folder}", f"--tmpdir={folder}/repositories", f"--timeout={ONE_TEST_LIMIT_SECONDS}"]
    command += [word for option in options for word in ("--extra-config-opt", option)]
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [*command, *tests],
            cwd=_FOLDER,
            env=environ,
            stdout=log,
            stderr=log,
            timeout=PART_LIMIT_SECONDS,
            check=False,
        )
    report = json.loads((folder / "report.json").read_text(encoding="utf-8").removeprefix("testreport ="))
    results = Counter(one["result"] for one in report.values())
    failed = {name: one for name, one in report.items() if one["result"] == "failure"}
    return _Run(results["success"], {name: _changed_lines(one.get("diff", "")) for name, one in failed.items()})


def _changed_lines(diff: str) -> Counter[str]:
    body = [line for line in diff.splitlines() if line[:1] in ("+", "-") and line[:4] not in ("+++ ", "--- ")]
    return Counter(line for line in body if not _IS_OPTIONAL.search(line)) or Counter(["no difference was reported"])


def _is_benign(changed_line: str) -> bool:
    return _IS_BENIGN.match(changed_line[1:]) is not None


def _names(part: str) -> list[str]:
    return sorted({path.name for pattern in _PARTS[part].split() for path in Path(_FOLDER).glob(pattern)})


@pytest.mark.parametrize(
    ("part", "options"),
    [(part, [_EXTENSION]) for part in _PARTS] + [("hook", [_HOOK]), ("push", [_HOOK])],
    ids=[*_PARTS, "hook-without-extension", "push-without-extension"],
)
def test_mercurials_own_tests_give_no_other_lines_than_without_us(
    part: str, options: list[str], tmp_path: Path
) -> None:
    names = _names(part)
    assert names
    with_us = _run(names, tmp_path / "with-us", *options)
    failed = sorted({name.partition("#")[0] for name in with_us.differences})
    without_us = _run(failed, tmp_path / "without-us") if failed else _Run(0, {})
    assert with_us.passed + len(with_us.differences) > 0
    ours = {
        name: [line for line in (lines - without_us.differences.get(name, Counter())) if not _is_benign(line)]
        for name, lines in with_us.differences.items()
    }
    assert {name: lines for name, lines in ours.items() if lines} == {}
    assert [path.read_text() for path in tmp_path.rglob("sourcepulse/lost")] == []
